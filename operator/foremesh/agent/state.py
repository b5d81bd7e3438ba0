"""The state of a host as far as foremesh owns it, as values: what ``desired`` builds, ``diff`` compares and ``apply``
observes. No I/O here.

Everything that foremesh makes can be told from what others made: interfaces by their prefix, routes and rules by
their protocol number, nftables tables by their name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from foremesh.agent.failover.table import FailoverTable

ROUTE_PROTOCOL = 152
"""Origin that foremesh writes into its routes and rules; unassigned in rt_protos, so nobody else cleans it up."""

MAIN_TABLE = 254
CLASS_TABLE_BASE = 52_000
"""Class N routes by table 52000 + N; outside the range of distributions, Cilium (2004-2005) and Tailscale (52)."""

RULE_PRIORITY = 5200
"""Priority of foremesh's rules: before main (32766), so that steered traffic never asks the main table."""

MARK_SHIFT = 16
MARK_MASK = 0x0FFF0000
"""Bits of the packet mark that hold class number + 1; clear of kube-proxy's 0x4000 and 0x8000."""
MAX_CLASS = 4094
"""Highest class number that fits into the mark."""

UNREACHABLE_METRIC = 4_000_000_000
"""Metric of the routes that stop what no tunnel carries: the last to be chosen."""
UPLINK_METRIC = 100
"""Metric of routes through the first uplink; the next ones count up, so the first is preferred while it exists."""
SPARED_METRIC = 100
"""Metric of routes that the failover process may take over, with a lower one."""
LOOSE = "2"
"""Reverse path filtering that asks whether a source can be reached at all, by whatever interface."""
SEND_REDIRECTS = "send_redirects"
"""Setting of interfaces that only costs time; a host where it cannot be written does as well."""
UPLINK_TABLE_BASE = 56_200
"""Answers that go by uplink N route by table 56200 + N; above those of classes."""

CIRCUIT_PORT_BASE = 51_840
"""Class N's inner WireGuard listens on 51840 + N, and 100 more for each slot after the first; the same at both ends."""
CIRCUIT_SLOTS = 4
"""Places for the inner interfaces of a class: one in use, the next while keys change, and two more for circuits that
cannot follow, as their other end is away or of an older version."""
CIRCUIT_SLOT_PORTS = 100
"""Inner interfaces of one slot: as many as there are classes of them."""
PROBE_PORT = 51_830
"""UDP port of probes inside the tunnels; the same everywhere."""
FAILOVER_PORT = 51_831
"""UDP port of hellos inside the tunnels; the same everywhere."""
UPLINK_PORT = 51_833
"""UDP port at which gateways answer hellos of their workloads; the same everywhere."""
VXLAN_PORT_BASES = {True: 28_000, False: 23_000}
"""UDP port at which each end's VXLAN listens inside the links, the initiator's first, less its class number. Each has
one of its own: packets of one source and port pass the kernel as one, of which rules see the first. And nobody listens
on the port that it sends to, so its packets are gathered like any UDP (``gather``). Below those that Linux gives away
by itself (from 32768)."""

HOP_MTU = 1420
"""WireGuard over an IPv4 or IPv6 underlay of 1500 bytes."""
CIRCUIT_MTU = HOP_MTU - 60
"""WireGuard over IPv4 labels: 20 bytes of IP, 8 of UDP, 32 of its own."""
VXLAN_MTU = HOP_MTU - 50
"""VXLAN over IPv4 labels: 20 bytes of IP, 8 of UDP, 8 of its own, 14 of the Ethernet header inside."""
ATTACH_MTU = 1280
"""Between a workload and its gateway: no circuit goes below this, so what a workload sends fits into any."""
KEEPALIVE_S = 25
"""Seconds between keepalives of a side that dials out; below the usual 30 s of address translators."""


SLOTS = 2
"""Places for hop keys: the one in use and, while it is replaced, the next."""


class KeyRole(StrEnum):
    """Which of an agent's key pairs an interface uses."""

    HOP = "hop"
    CIRCUIT = "circuit"
    ATTACH = "attach"


@dataclass(frozen=True, slots=True)
class Names:
    """Interface names of one agent."""

    prefix: str = "fm"

    @property
    def hop(self) -> str:
        return f"{self.prefix}-hop"

    @property
    def hops(self) -> str:
        """A pattern for nftables that matches every hop interface: one for each underlay, and for each key in turn."""
        return f"{self.prefix}-h*"

    @property
    def gathers(self) -> str:
        """A pattern for nftables that matches the entrance of every pair that gathers packets."""
        return f"{self.prefix}-g*"

    def gather(self, hop: str) -> tuple[str, str]:
        """Entrance and exit of the pair that gathers packets for a hop interface."""
        rest = hop.removeprefix(f"{self.prefix}-h")
        return f"{self.prefix}-g{rest}", f"{self.prefix}-x{rest}"

    def is_gather(self, interface: str) -> bool:
        """Whether it is the entrance of such a pair."""
        return interface.startswith(f"{self.prefix}-g")

    def hop_on(self, underlay: str, slot: int = 0) -> str:
        """The hop interface of an underlay (empty: the gateway's own network) and of a place among the hop keys."""
        base = f"h{hashlib.sha256(underlay.encode()).hexdigest()[:4]}" if underlay else "hop"
        return f"{self.prefix}-{base}{slot or ''}"

    def is_hop(self, interface: str) -> bool:
        return interface.startswith(f"{self.prefix}-h")

    @property
    def attach(self) -> str:
        return f"{self.prefix}-att"

    @property
    def all(self) -> str:
        """A pattern for nftables that matches every one of them."""
        return f"{self.prefix}-*"

    @property
    def circuits(self) -> str:
        """A pattern for nftables that matches every circuit's interface."""
        return f"{self.prefix}-c*"

    @property
    def uplinks(self) -> str:
        """A pattern for nftables that matches every uplink."""
        return f"{self.prefix}-up*"

    def circuit(self, class_number: int, slot: int = 0) -> str:
        """The interface of a class, and of a place among its interfaces."""
        return f"{self.prefix}-c{class_number}{f'-{slot}' if slot else ''}"

    def uplink(self, number: int) -> str:
        return f"{self.prefix}-up{number}"

    def role_of(self, interface: str) -> KeyRole:
        """Which key pair the interface uses."""
        if self.is_hop(interface):
            return KeyRole.HOP
        return KeyRole.CIRCUIT if interface.startswith(f"{self.prefix}-c") else KeyRole.ATTACH

    def owns(self, interface: str) -> bool:
        return interface.startswith(f"{self.prefix}-")


@dataclass(frozen=True, slots=True)
class Peer:
    """A WireGuard peer; ``endpoint`` is ``address:port``, or None to wait for it. ``allowed`` are prefixes."""

    endpoint: str | None = None
    keepalive_s: int = 0
    allowed: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Vxlan:
    """What a VXLAN interface is made with, for good: its network identifier, the two outer addresses, its own MAC, the
    UDP ports at which it and the far end listen; the latter, which can be changed, is 0 if it was not said."""

    identifier: int
    local: str
    remote: str
    mac: str
    port: int
    far_port: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Interface:
    """A WireGuard interface, or a VXLAN one or a pair that gathers, which have neither key, port nor peers.

    Attributes:
        listen_port: 0 takes any.
        peers: By public key.
        vxlan: None for any other.
        gathers_for: The hop interface that the pair hands packets to, of which this is the entrance; "" for any other.
        neighbours: Pairs of an address and its MAC: VXLAN's, which asks nobody.
        offload: Whether what is sent into VXLAN is cut into packets, and gets its checksums, only after it was wrapped.
    """

    public_key: str
    mtu: int
    listen_port: int = 0
    addresses: frozenset[str] = frozenset()
    peers: Mapping[str, Peer] = field(default_factory=dict)
    up: bool = True
    vxlan: Vxlan | None = None
    gathers_for: str = ""
    neighbours: frozenset[tuple[str, str]] = frozenset()
    offload: bool = False


@dataclass(frozen=True, slots=True, order=True)
class Route:
    """A route; without a device it is an unreachable one. ``gateway`` is a neighbour on the device, VXLAN's far end."""

    destination: str
    device: str = ""
    source: str = ""
    table: int = MAIN_TABLE
    metric: int = 0
    gateway: str = ""

    @property
    def slot(self) -> tuple[str, int, int]:
        """What the kernel allows once: a route replaces the one in its slot."""
        return (self.destination, self.table, self.metric)


@dataclass(frozen=True, slots=True, order=True)
class Rule:
    """A routing rule: packets with this mark, or of sockets bound to this device, use this table."""

    table: int
    mark: int = 0
    device: str = ""


@dataclass(frozen=True, slots=True)
class Chain:
    """An nftables chain; ``hook`` is empty for one that others jump to."""

    name: str
    rules: tuple[str, ...]
    hook: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """An nftables table of family ip, whole: it is replaced in one transaction; its named counters live on, and so do
    the elements of its ``maps`` and ``sets`` (by name, what nftables calls their type), which somebody else writes."""

    name: str
    chains: tuple[Chain, ...]
    counters: tuple[str, ...] = ()
    maps: Mapping[str, str] = field(default_factory=dict)
    sets: Mapping[str, str] = field(default_factory=dict)

    @property
    def revision(self) -> str:
        """Digest of the content, kept in the kernel as the name of an empty chain."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class SeenTable:
    """What is asked of the kernel about a table of ours: enough to replace it. ``revision`` is empty if unknown."""

    revision: str
    chains: frozenset[str] = frozenset()
    counters: frozenset[str] = frozenset()
    maps: frozenset[str] = frozenset()
    sets: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Called:
    """Traffic by its destination, and perhaps its source, and where it is sent instead."""

    destination: str
    instead: str
    source: str = ""
    """Empty: of anybody."""
    protocol: str = ""
    """tcp, udp or icmp; empty: any."""
    port: int = 0
    """0: any."""


@dataclass(frozen=True, slots=True)
class Flows:
    """What connection tracking is to make of flows: a flow in it goes on as it began, whatever the rules say now."""

    mesh: str = "0.0.0.0/32"
    calls: tuple[Called, ...] = ()


@dataclass(frozen=True, slots=True)
class Desired:
    """A host as its config wants it.

    Attributes:
        names: Pairs of an address and a name, for the hosts file.
        flows: What connection tracking is to remember of own addresses.
    """

    interfaces: Mapping[str, Interface] = field(default_factory=dict)
    routes: frozenset[Route] = frozenset()
    rules: frozenset[Rule] = frozenset()
    tables: Mapping[str, Table] = field(default_factory=dict)
    sysctls: Mapping[str, str] = field(default_factory=dict)
    failover: FailoverTable | None = field(default=None, kw_only=True)
    """What the failover process is to hold circuits to; None: it does not run."""
    names: tuple[tuple[str, str], ...] = ()
    flows: Flows = field(default_factory=lambda: Flows())


@dataclass(frozen=True, slots=True)
class Observed:
    """A host as it is, foremesh's part of it; the sysctls are those that the desired state names, and the names are
    None where no hosts file is kept."""

    interfaces: Mapping[str, Interface] = field(default_factory=dict)
    routes: frozenset[Route] = frozenset()
    rules: frozenset[Rule] = frozenset()
    tables: Mapping[str, SeenTable] = field(default_factory=dict)
    sysctls: Mapping[str, str] = field(default_factory=dict)
    failover: str | None = field(default=None, kw_only=True)
    """Digest of the table that the failover process holds circuits to, empty if it does not; None: it does not run, and
    nothing is left of it."""
    names: tuple[tuple[str, str], ...] | None = None
    abandoned: frozenset[str] = field(default=frozenset(), kw_only=True)
    """Names of interfaces that are gone, of whose WireGuard something is left."""


def mark_of(class_number: int) -> int:
    """The packet mark that sends traffic into a class."""
    return (class_number + 1) << MARK_SHIFT


def table_of(class_number: int) -> int:
    return CLASS_TABLE_BASE + class_number


def uplink_table_of(number: int) -> int:
    return UPLINK_TABLE_BASE + number


def vxlan_port_of(class_number: int, *, initiator: bool) -> int:
    """Where the initiator of a circuit listens, or the other end."""
    return VXLAN_PORT_BASES[initiator] + class_number


def port_of(class_number: int, slot: int = 0) -> int:
    return CIRCUIT_PORT_BASE + class_number + slot * CIRCUIT_SLOT_PORTS
