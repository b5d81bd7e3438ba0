"""What an agent is told to set up. Pure data: the network room compiles it, the API carries it, the agent applies it.

Everything is named by what it means, not by interface or rule: the agent decides how its host shows it.
"""

from __future__ import annotations

import hashlib

import msgspec

from foremesh.model.addresses import Blocks
from foremesh.model.circuit import FirewallRule
from foremesh.model.intent import Encryption
from foremesh.model.manifest import Wire, encode
from foremesh.model.resource import Protocol


class HopPeer(Wire, frozen=True, kw_only=True):
    """A neighbour: the other end of a link."""

    gateway: str
    underlay: str
    public_key: str
    endpoint: str | None = None
    """None: the neighbour dials in."""
    hop_address: str
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


class CircuitEnd(Wire, frozen=True, kw_only=True):
    """One end of a circuit: the inner tunnel's peer and the labels it may use."""

    circuit: str
    class_number: int
    encryption: Encryption = Encryption.END_TO_END
    local_address: str
    """Fixed circuit address of this end, the outer address of the inner tunnel."""
    remote_address: str
    public_key: str
    """The far end's circuit key."""
    remote_gateway: str
    remote_prefixes: tuple[str, ...]
    """Mesh prefixes behind the far end."""
    send_label: tuple[str, str] | None
    """Own and far address of the label to send on; None: send nothing."""
    accept_labels: tuple[tuple[str, str], ...] = ()
    """Own and far addresses of every label that may arrive, the one sent on included."""
    firewall: tuple[FirewallRule, ...] = ()
    initiator: bool = True
    """This is the ``from`` end: the firewall's ports are destination ports of what leaves here."""
    probe_address: str
    """Mesh address of the far gateway, probed through the tunnel."""
    mtu: int = 1280


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


class GatewayConfig(Wire, frozen=True, kw_only=True):
    """Everything one agent has to set up; what is not in it is removed."""

    gateway: str
    """Id of the gateway or workload that this is for."""
    epoch: int
    """Grows with every change made by the owner; agents refuse an older one."""
    blocks: Blocks = Blocks()
    number: int | None = None
    """The gateway's number in the mesh; None for a workload."""
    mesh_address: str | None = None
    hop_address: str | None = None
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

    @property
    def revision(self) -> str:
        """Digest of the content, epoch aside: equal revisions need no new application."""
        return hashlib.sha256(encode(msgspec.structs.replace(self, epoch=0))).hexdigest()[:16]

    @property
    def labels(self) -> tuple[int, ...]:
        """Numbers of the labels that this config programs in transit."""
        return tuple(transit.label for transit in self.transits)
