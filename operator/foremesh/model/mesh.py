"""The mesh as it is to be: members, links and placed circuits, with every number that was allocated.

This is what the network room compiles into configs. Values only: nothing here decides anything.
"""

from __future__ import annotations

from foremesh.model.addresses import Blocks
from foremesh.model.circuit import CircuitSpec, LabelAllocation, Tunnel
from foremesh.model.intent import Traffic
from foremesh.model.link import LinkId
from foremesh.model.manifest import Wire
from foremesh.model.registration import Registration
from foremesh.model.resource import Resource


class Member(Wire, frozen=True, kw_only=True):
    """A resource as the mesh sees it. A registration outlives presence: a gateway that falls silent keeps its links."""

    id: str
    resource: Resource
    registration: Registration | None = None
    """None: no agent has introduced itself yet, so there are no keys to set anything up with."""
    number: int | None = None
    """A gateway's number in the mesh; None for a workload, or where the address block is exhausted."""
    address: str | None = None
    """Mesh address; None while none is allocated."""
    gateways: tuple[str, ...] = ()
    """Gateways that a workload attaches to, sorted: those of its site. Empty for a gateway."""
    present: bool = False
    """A beacon came lately."""
    target: str = ""
    """Where its gateways, which translate for it, reach a member without an agent: an address or a name. Empty for
    others."""

    @property
    def is_gateway(self) -> bool:
        return self.resource.is_gateway


class SteeredPair(Wire, frozen=True, kw_only=True):
    """Two resources that an Intent lets talk, the source opening the conversation."""

    source: str
    source_address: str
    destination: str
    destination_address: str
    traffic: tuple[Traffic, ...] = ()
    """What the source may open to the destination; empty is everything. Answers pass."""
    services: tuple[str, ...] = ()
    """Services that the destination was chosen for, as ``name.namespace`` of the Intent, sorted."""
    steered: bool = True
    """False: may pass the circuit, but is sent by another, whose turn it is still or already."""
    backup: bool = False
    """Is sent by this circuit where another of the same sites lost one of its gateways."""


class Call(Wire, frozen=True, kw_only=True):
    """A source that an Intent lets call a destination by its own address, whether or not there is a path."""

    intent: str
    source: str
    destination: str
    traffic: tuple[Traffic, ...]


class LocalPair(Wire, frozen=True, kw_only=True):
    """A pair attached to one gateway, which routes between them: no link and no circuit is needed."""

    gateway: str
    pair: SteeredPair


class PlacedCircuit(Wire, frozen=True, kw_only=True):
    """A circuit with what is allocated to it. One that nobody wants any more has no pairs, and labels that drain."""

    id: str
    """``namespace/name`` of the Circuit."""
    spec: CircuitSpec
    number: int
    """Number in the block of circuit addresses."""
    class_number: int
    """Number of the inner interface, the same at both ends."""
    tunnels: tuple[Tunnel, ...] = ()
    """None: one in slot 0, by the oldest key of both ends; or it is hop by hop."""
    labels: tuple[LabelAllocation, ...] = ()
    pairs: tuple[SteeredPair, ...] = ()
    failed_over: bool = False
    """Its ends report that they went to the standby by themselves, and these labels are the first that say so."""
    path_mtu: int | None = None
    """Largest packet, in bytes, that every link of its labels carries whole; None: what links usually do."""


class MeshState(Wire, frozen=True, kw_only=True):
    """All that configs are compiled from; each tuple sorted by id, so that equal states compile to equal bytes."""

    epoch: int
    blocks: Blocks = Blocks()
    members: tuple[Member, ...] = ()
    links: tuple[LinkId, ...] = ()
    circuits: tuple[PlacedCircuit, ...] = ()
    local: tuple[LocalPair, ...] = ()
    calls: tuple[Call, ...] = ()
    """The most important one first."""
    domain: str = "mesh"
    """What names of the mesh end with."""
    policing: bool = True
    """Whether a circuit's ends may send no more than was reserved for it."""
    circuit_keys_since: int = 0
    """Unix time from which on circuit keys are to be; 0: however old they are."""
