"""What agents tell the mesh API about themselves, and what it keeps of it."""

from __future__ import annotations

from foremesh.model.manifest import Wire


class PublicKeys(Wire, frozen=True, kw_only=True):
    """WireGuard public keys (base64) of one agent; the private ones never leave it."""

    hop: str
    """Of the interfaces that carry the gateway's links; the newest while keys change."""
    circuit: str
    """Of the inner interfaces that carry circuits end to end; the oldest while keys change."""
    attach: str
    """Of the interface between a workload and its gateways, at either side."""


class HopInterface(Wire, frozen=True, kw_only=True):
    """A hop interface that an agent has, or will have as soon as a config names it."""

    key: str
    """Public key; the interfaces of all underlays share it."""
    underlay: str = ""
    """Empty: the gateway's own network."""
    endpoint: str | None = None
    """``host:port`` where it answers; none behind address translation."""
    port: int | None = None
    """UDP port at which this key answers in place of the endpoint's, also of a declared one: while keys change, two
    interfaces need two ports. None: the endpoint's."""


class CircuitKey(Wire, frozen=True, kw_only=True):
    """A key that an agent has for the inner interfaces of circuits."""

    key: str
    """Public key, base64."""
    made_s: int
    """Unix time when it was made, never before the moment for which the mesh asked for it."""


class Registration(Wire, frozen=True, kw_only=True):
    """An agent introducing itself; bound to one MeshResource by its token."""

    resource: str
    """``namespace/name`` of its MeshResource."""
    keys: PublicKeys
    endpoint: str | None = None
    """``host:port`` where the hop interface answers; none behind address translation."""
    hops: tuple[HopInterface, ...] = ()
    """Every underlay with every hop key in use, the newest key first; empty: one key, and no underlay besides the
    gateway's own."""
    circuits: tuple[CircuitKey, ...] = ()
    """Every circuit key, the newest first; empty: an agent that has one and cannot replace it."""
    attach_endpoint: str | None = None
    """``host:port`` where workloads of the site reach the gateway."""
    metrics_endpoint: str | None = None
    """``host:port`` where Prometheus can scrape the agent."""
    version: str = ""
    own_address: str | None = None
    """IPv4 address of the host in its own network, by which others may call it; None if it has none."""


class ProbeReport(Wire, frozen=True, kw_only=True):
    """The end-to-end probe of a circuit as one end sees it."""

    answering: bool
    rtt_ms: float | None = None
    loss: float | None = None
    mtu_fits: bool | None = None


class LinkReport(Wire, frozen=True, kw_only=True):
    """A link as one of its gateways measures it; what is not known is None."""

    rtt_ms: float | None = None
    loss: float | None = None
    jitter_ms: float | None = None
    """How much one-way transit times from here to the neighbour vary from probe to probe (RFC 3550's estimate)."""
    mtu: int | None = None
    """Largest packet, in bytes, that passes its tunnel whole."""
    capacity_bps: float | None = None
    """What the tunnel carries towards the neighbour, bit/s of packets inside; only where it is measured."""


class Beacon(Wire, frozen=True, kw_only=True):
    """A sign of life with what the agent sees; renews its presence."""

    applied_revision: str = ""
    applied_epoch: int = 0
    labels: tuple[int, ...] = ()
    """Labels programmed on this gateway."""
    load: float | None = None
    """Share of the processor in use, 0 to 1."""
    peers_up: int = 0
    """Links whose probes are answered."""
    probes: dict[str, ProbeReport] = {}
    """Circuit id (or uplink gateway id) to what its end-to-end probe says; sent with every beacon."""
    links: dict[str, LinkReport] = {}
    """``gateway/underlay`` of the neighbour to what the link's probes say."""
    sending: dict[str, int] = {}
    """Circuit id to the number of the label that this end sends on under the config of ``applied_epoch``; not always
    the one it was told, see fail-over. Empty while its fail-over process has not taken that config up."""
    watching: bool = False
    """Its fail-over process runs, so what ``heard`` does not list is dead."""
    detours: dict[str, str] = {}
    """Circuit id (or uplink gateway id) that the config prefers to the one that is used in its place, for nothing
    passed it; empty while all goes as it is told."""
    heard: tuple[int, ...] = ()
    """Numbers of the labels that end here on which hellos pass in both directions, sorted."""
    tunnels_up: tuple[str, ...] = ()
    """Circuits in whose second tunnel, that of the config of ``applied_epoch``, the ends have shaken hands, sorted."""


class Acknowledgement(Wire, frozen=True, kw_only=True):
    """An agent's word on a config: applied, or refused and why; the previous one then stays."""

    gateway: str
    epoch: int
    revision: str
    applied: bool
    error: str = ""
    labels: tuple[int, ...] = ()
    """Labels programmed on the gateway after this."""
