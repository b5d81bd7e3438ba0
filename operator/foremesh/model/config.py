"""What an agent is told to set up. Pure data: the network room compiles it, the API carries it, the agent applies it.

Everything is named by what it means, not by interface or rule: the agent decides how its host shows it.
"""

from __future__ import annotations

import hashlib
from functools import cached_property

import msgspec

from foremesh.model.addresses import Blocks
from foremesh.model.circuit import FirewallRule
from foremesh.model.intent import Encryption
from foremesh.model.manifest import Wire, encode
from foremesh.model.resource import Protocol


class Hello(Wire, frozen=True, kw_only=True):
    """How the ends of circuits watch their labels."""

    interval_ms: int = 50
    """Between two hellos on a route."""
    missed: int = 3
    """Hellos in a row without which a route counts as dead."""


class HopPeer(Wire, frozen=True, kw_only=True):
    """A neighbour: the other end of a link."""

    gateway: str
    underlay: str
    public_key: str
    own_key: str = ""
    """Public key of the own hop interface that this link runs on; empty: the oldest that the gateway has, so that a
    config that knows of one key alone stays true when there is another."""
    endpoint: str | None = None
    """None: the neighbour dials in."""
    hop_address: str | None
    """Where probes of the link are answered. None where keys change and the link is probed between two others."""
    labels: tuple[str, ...] = ()
    """Label addresses that lie in this neighbour's direction, sorted."""


class Transit(Wire, frozen=True, kw_only=True):
    """A label relayed here: packets from one address to the other, both ways, and nothing else."""

    label: int
    circuit: str
    addresses: tuple[str, str]


class AttachedWorkload(Wire, frozen=True, kw_only=True):
    """A workload one WireGuard hop away."""

    resource: str
    public_key: str
    address: str
    others: bool = False
    """It attaches to other gateways too: it asks each of them whether it lives, and may come to this one with
    connections that it opened through another."""


class LabelEnd(Wire, frozen=True, kw_only=True):
    """A label as one of its ends sees it."""

    number: int
    own: str
    far: str
    """Addresses of this end and of the other."""
    route: str = ""
    """Digest of the way it runs, the same at both ends: labels of one route live and die together, so one hello speaks
    for all of them."""


class TunnelEnd(Wire, frozen=True, kw_only=True):
    """An inner WireGuard tunnel of a circuit as one of its ends sees it."""

    slot: int = 0
    """Place of its interface among those of the class, the same at both ends: one for each key in use."""
    own_key: str = ""
    """Public half of the own circuit key; empty: the oldest that the gateway has, so that a config that knows of one
    key alone stays true when there is another."""
    public_key: str
    """The far end's circuit key."""


class CircuitEnd(Wire, frozen=True, kw_only=True):
    """One end of a circuit: the inner tunnel's peer and the labels it may use."""

    circuit: str
    class_number: int
    encryption: Encryption = Encryption.END_TO_END
    local_address: str
    """Fixed circuit address of this end, the outer address of the inner tunnel."""
    remote_address: str
    public_key: str
    """The far end's circuit key, in the tunnel that this end sends through."""
    slot: int = 0
    own_key: str = ""
    """See ``TunnelEnd``."""
    second: TunnelEnd | None = None
    """A second tunnel from which packets are taken and into which none are sent: while keys change, first the next one
    and then the former one."""
    remote_gateway: str
    remote_prefixes: tuple[str, ...]
    """Mesh prefixes behind the far end."""
    labels: tuple[LabelEnd, ...] = ()
    """Every label that may arrive, sorted by number."""
    send_label: int | None = None
    """Number of the label to send on; None: send nothing."""
    standby_label: int | None = None
    """Number of the label to send on when the first is dead and this one is not; the end decides by itself."""
    firewall: tuple[FirewallRule, ...] = ()
    initiator: bool = True
    """This is the ``from`` end: the firewall's ports are destination ports of what leaves here."""
    spares: tuple[str, ...] = ()
    """Circuits of this end to or from other gateways of the same sites, sorted: what both reach goes by one of them
    while nothing passes this one."""
    probe_address: str
    """Mesh address of the far gateway, probed through the tunnel."""
    mtu: int = 1280
    police_bps: float | None = None
    """Most that this end may send into the circuit, bit/s; None: no limit."""
    dscp: int | None = None
    """Differentiated services code point that packets in the circuit carry; None leaves it as it is."""

    @property
    def tunnels(self) -> tuple[TunnelEnd, ...]:
        """The tunnel that this end sends through, and the second one if there is any; none if it is hop by hop."""
        if self.encryption is Encryption.HOP_BY_HOP:
            return ()
        used = TunnelEnd(slot=self.slot, own_key=self.own_key, public_key=self.public_key)
        return (used, self.second) if self.second else (used,)

    def label(self, number: int | None) -> LabelEnd | None:
        """The label of a number, if it may arrive here."""
        return next((label for label in self.labels if label.number == number), None)


class Steer(Wire, frozen=True, kw_only=True):
    """Traffic of attached workloads that goes into a circuit, by the first rule that matches."""

    circuit: str
    sources: tuple[str, ...]
    destinations: tuple[str, ...]
    protocol: Protocol | None = None
    ports: tuple[int, ...] = ()
    """Destination ports at the ``from`` end, source ports at the ``to`` end."""
    answers: bool = False
    """True at the ``to`` end: ports are source ports."""
    backup: bool = False
    """Where another rule is about the same traffic, that one's circuit carries it."""


class OwnAddress(Wire, frozen=True, kw_only=True):
    """A destination called by an address of its own: what goes there, of this protocol, goes to its mesh address."""

    own: str
    mesh: str | None = None
    """None: the destination has no mesh address yet, and what goes there is dropped."""
    protocol: Protocol = Protocol.TCP
    ports: tuple[int, ...] = ()
    """Destination ports, none for ICMP."""


class Behind(Wire, frozen=True, kw_only=True):
    """A machine or function without an agent, for which this gateway translates in its network."""

    resource: str
    address: str
    """Its mesh address."""
    target: str
    """Where its network reaches it: an IPv4 address, or a name that the agent looks up."""
    own_addresses: tuple[OwnAddress, ...] = ()
    """Whom it calls by their own addresses."""


class Name(Wire, frozen=True, kw_only=True):
    """A name in the workload's hosts file."""

    name: str
    address: str


class Uplink(Wire, frozen=True, kw_only=True):
    """A workload's way to one of its site's gateways."""

    gateway: str
    public_key: str
    endpoint: str
    address: str
    """The workload's own mesh address."""
    gateway_address: str
    """Mesh address of the gateway, which answers probes."""
    destinations: tuple[str, ...]
    """Mesh prefixes reached through it; where two uplinks overlap, the longer prefix decides."""


class GatewayConfig(Wire, frozen=True, kw_only=True, dict=True):
    """Everything one agent has to set up; what is not in it is removed."""

    gateway: str
    """Id of the gateway or workload that this is for."""
    epoch: int
    """Grows with every change made by the owner; agents refuse an older one."""
    hello: Hello = Hello()
    uplink_hello: Hello = Hello(interval_ms=200)
    """How a workload with several uplinks watches its gateways."""
    blocks: Blocks = Blocks()
    number: int | None = None
    """The gateway's number in the mesh; None for a workload."""
    mesh_address: str | None = None
    hop_address: str | None = None
    underlay: str = ""
    """The gateway's own network; links over any other have interfaces of their own. Empty: all are over its own."""
    mesh_prefix: str | None = None
    hop_peers: tuple[HopPeer, ...] = ()
    transits: tuple[Transit, ...] = ()
    attached: tuple[AttachedWorkload, ...] = ()
    circuits: tuple[CircuitEnd, ...] = ()
    steering: tuple[Steer, ...] = ()
    local: tuple[FirewallRule, ...] = ()
    """Traffic routed here between two attached workloads, without a circuit; answers to it pass. Between attached
    workloads nothing else passes."""
    uplinks: tuple[Uplink, ...] = ()
    own_addresses: tuple[OwnAddress, ...] = ()
    """Whom applications here may call by their own addresses."""
    own_address: str | None = None
    """Address of this host that ``called`` is for."""
    called: tuple[FirewallRule, ...] = ()
    """What goes to the mesh address here and is handed to ``own_address``: others call this host by that."""
    names: tuple[Name, ...] = ()
    """Names of those that applications here may talk to."""
    behind: tuple[Behind, ...] = ()
    circuit_key: str = ""
    """The newest of this gateway's circuit keys that the writer of this config knew of."""
    circuit_keys_since: int = 0
    """Unix time: a gateway whose newest circuit key is older makes another."""

    @cached_property
    def revision(self) -> str:
        """Digest of the content, epoch aside: equal revisions need no new application."""
        return hashlib.sha256(encode(msgspec.structs.replace(self, epoch=0))).hexdigest()[:16]

    @property
    def labels(self) -> tuple[int, ...]:
        """Numbers of the labels that this config programs, in transit or at an end, sorted."""
        ending = (label.number for end in self.circuits for label in end.labels)
        return tuple(sorted({*(transit.label for transit in self.transits), *ending}))
