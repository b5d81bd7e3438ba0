"""(observed, desired) to an ordered list of changes. Pure, and empty when nothing differs.

The order keeps traffic flowing and closed at once: first what stops leaks (unreachable routes, tables that are missing
altogether), then everything that is new, then the tables that change (one transaction each), then the circuits' labels
(the switch from an old one to a new one), and last what is no longer wanted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from foremesh.agent.failover.table import FailoverTable
from foremesh.agent.rulesets.names import TRANSLATE
from foremesh.agent.state import Desired, Flows, Interface, Observed, Peer, Route, Rule, SeenTable, Table, Vxlan


@dataclass(frozen=True, slots=True)
class SetSysctl:
    name: str
    value: str


@dataclass(frozen=True, slots=True)
class CreateInterface:
    """An interface that is not there, down: WireGuard without key and peers, VXLAN, or a pair that gathers packets for
    a hop interface."""

    name: str
    vxlan: Vxlan | None = None
    gathers_for: str = ""


@dataclass(frozen=True, slots=True)
class DeleteInterface:
    """Remove an interface, or what is left of one."""

    name: str


@dataclass(frozen=True, slots=True)
class SetMtu:
    name: str
    mtu: int


@dataclass(frozen=True, slots=True)
class SetUp:
    name: str


@dataclass(frozen=True, slots=True)
class AddAddress:
    name: str
    address: str


@dataclass(frozen=True, slots=True)
class DeleteAddress:
    name: str
    address: str


@dataclass(frozen=True, slots=True)
class PrepareVxlan:
    """Say where the far end of a VXLAN listens, and whether what is sent into it is cut and summed up only after it was
    wrapped; before it is up, at least."""

    name: str
    vxlan: Vxlan
    offload: bool


@dataclass(frozen=True, slots=True)
class SetNeighbour:
    """Say which MAC an address on an interface has, for good."""

    name: str
    address: str
    mac: str


@dataclass(frozen=True, slots=True)
class DeleteNeighbour:
    name: str
    address: str


@dataclass(frozen=True, slots=True)
class SetKey:
    """Give an interface this agent's key for its role, and a port (0: any)."""

    name: str
    public_key: str
    listen_port: int


@dataclass(frozen=True, slots=True)
class SetPeer:
    """Make a peer, or change it: ``endpoint`` and ``keepalive_s`` where not None, and allowed prefixes to add."""

    name: str
    public_key: str
    endpoint: str | None
    keepalive_s: int | None
    add: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DropAllowed:
    """Prefixes that no peer of the interface is to have any more."""

    name: str
    prefixes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DeletePeer:
    name: str
    public_key: str


@dataclass(frozen=True, slots=True)
class SetRoute:
    """Add a route, or replace the one in its slot."""

    route: Route


@dataclass(frozen=True, slots=True)
class DeleteRoute:
    route: Route


@dataclass(frozen=True, slots=True)
class AddRule:
    rule: Rule


@dataclass(frozen=True, slots=True)
class DeleteRule:
    rule: Rule


@dataclass(frozen=True, slots=True)
class SetTable:
    """Replace the content of an nftables table at once; counters that stay keep their values."""

    table: Table
    seen: SeenTable | None


@dataclass(frozen=True, slots=True)
class DeleteTable:
    name: str


@dataclass(frozen=True, slots=True)
class SetFailover:
    """Tell the failover process its circuits and labels; it writes the maps of the hop table before this is done."""

    table: FailoverTable


@dataclass(frozen=True, slots=True)
class EndFailover:
    """No circuit ends here any more."""


@dataclass(frozen=True, slots=True)
class ForgetFlows:
    """Make connection tracking forget flows that are translated otherwise than the rules say now."""

    flows: Flows


@dataclass(frozen=True, slots=True)
class SetNames:
    """Give foremesh's part of the hosts file these pairs of an address and a name."""

    names: tuple[tuple[str, str], ...]


Change = (
    SetSysctl
    | CreateInterface
    | DeleteInterface
    | SetMtu
    | SetUp
    | AddAddress
    | DeleteAddress
    | PrepareVxlan
    | SetNeighbour
    | DeleteNeighbour
    | SetKey
    | SetPeer
    | DropAllowed
    | DeletePeer
    | SetRoute
    | DeleteRoute
    | AddRule
    | DeleteRule
    | SetTable
    | DeleteTable
    | SetFailover
    | EndFailover
    | ForgetFlows
    | SetNames
)


def diff(observed: Observed, desired: Desired) -> tuple[Change, ...]:
    """The changes that turn one into the other, in the order in which they must be made."""
    return tuple(_changes(observed, desired))


def _changes(observed: Observed, desired: Desired) -> Iterator[Change]:
    wrong = sorted(
        name
        for name, wanted in desired.interfaces.items()
        if (seen := observed.interfaces.get(name))
        and (seen.vxlan, seen.gathers_for) != (wanted.vxlan, wanted.gathers_for)
    )
    observed = _without(observed, wrong)
    # An address of this end's that is one of a far end's from now on: the kernel takes no gateway that is its own.
    here = {address for interface in desired.interfaces.values() for address in interface.addresses}
    there = {f"{route.gateway}/32" for route in desired.routes if route.gateway} - here
    before, observed = observed, _without_addresses(observed, there)
    added = sorted(desired.routes - observed.routes)
    yield from (SetRoute(route) for route in added if not route.device)
    tables = [t for t in desired.tables.values() if _revision(observed, t.name) != t.revision]
    yield from (SetTable(table, None) for table in tables if table.name not in observed.tables)

    yield from (DeleteInterface(name) for name in wrong)
    yield from (DeleteRoute(route) for route in sorted(before.routes - observed.routes))
    for name, seen in sorted(before.interfaces.items()):
        yield from (DeleteAddress(name, address) for address in sorted(seen.addresses & there))
    # Pairs last: they need the interface that they gather for.
    for name, interface in sorted(desired.interfaces.items(), key=lambda item: (item[1].gathers_for, item[0])):
        yield from _interface_additions(name, observed.interfaces.get(name), interface)
    # After the interfaces: some settings are named after them. What holds for all comes before the single ones.
    settings = sorted(desired.sysctls.items(), key=lambda item: (".all." not in item[0], item))
    yield from (SetSysctl(name, value) for name, value in settings if observed.sysctls.get(name) != value)
    yield from (SetRoute(route) for route in added if route.device)
    yield from (AddRule(rule) for rule in sorted(desired.rules - observed.rules))

    yield from (SetTable(t, observed.tables[t.name]) for t in tables if t.name in observed.tables)
    if desired.failover is None:
        if observed.failover is not None:
            yield EndFailover()
    elif observed.failover != desired.failover.digest:
        yield SetFailover(desired.failover)

    yield from (DeleteRule(rule) for rule in sorted(observed.rules - desired.rules))
    kept = {route.slot for route in desired.routes}
    removed = sorted(observed.routes - desired.routes)
    yield from (DeleteRoute(route) for route in removed if route.slot not in kept and route.device)
    for name, seen in sorted(observed.interfaces.items()):
        if name in desired.interfaces:
            yield from _interface_removals(name, seen, desired.interfaces[name])
        else:
            yield DeleteInterface(name)
    yield from (DeleteInterface(name) for name in sorted(observed.abandoned) if name not in desired.interfaces)
    yield from (DeleteTable(name) for name in sorted(observed.tables) if name not in desired.tables)
    if translated := desired.tables.get(TRANSLATE):
        changed = _revision(observed, TRANSLATE) != translated.revision
    else:
        changed = TRANSLATE in observed.tables
    if changed:
        yield ForgetFlows(desired.flows)
    if observed.names not in (None, desired.names):
        yield SetNames(desired.names)
    yield from (DeleteRoute(route) for route in removed if route.slot not in kept and not route.device)


def _without(observed: Observed, names: list[str]) -> Observed:
    """The host when interfaces are gone: the kernel takes their routes and settings along."""
    settings = tuple(f".{name}." for name in names)
    return replace(
        observed,
        sysctls={name: value for name, value in observed.sysctls.items() if not any(one in name for one in settings)},
        interfaces={name: seen for name, seen in observed.interfaces.items() if name not in names},
        routes=frozenset(route for route in observed.routes if route.device not in names),
    )


def _without_addresses(observed: Observed, gone: set[str]) -> Observed:
    """The host without addresses, and without the routes that have them as a source: the kernel takes them along."""
    return replace(
        observed,
        interfaces={
            name: replace(seen, addresses=seen.addresses - gone) if seen.addresses & gone else seen
            for name, seen in observed.interfaces.items()
        },
        routes=frozenset(route for route in observed.routes if f"{route.source}/32" not in gone),
    )


def _revision(observed: Observed, table: str) -> str:
    seen = observed.tables.get(table)
    return seen.revision if seen else ""


def _interface_additions(name: str, seen: Interface | None, wanted: Interface) -> Iterator[Change]:
    if seen is None:
        yield CreateInterface(name, wanted.vxlan, wanted.gathers_for)
        seen = Interface(public_key="", mtu=0, listen_port=0, up=False, offload=True)
    port_differs = wanted.listen_port not in (0, seen.listen_port)
    if seen.public_key != wanted.public_key or port_differs:
        yield SetKey(name, wanted.public_key, wanted.listen_port)
    if wanted.mtu < seen.mtu or not seen.up:
        # Lowered before anything is switched to a way that carries less; raised when it is (see removals).
        yield SetMtu(name, wanted.mtu)
    for public_key, peer in sorted(wanted.peers.items()):
        yield from _peer_additions(name, public_key, seen.peers.get(public_key), peer)
    yield from (AddAddress(name, address) for address in sorted(wanted.addresses - seen.addresses))
    far_port = seen.vxlan.far_port if seen.vxlan else 0
    if wanted.vxlan and (not seen.up or (seen.offload, far_port) != (wanted.offload, wanted.vxlan.far_port)):
        yield PrepareVxlan(name, wanted.vxlan, wanted.offload)
    if not seen.up:
        yield SetUp(name)
    # After it is up: an interface that goes down forgets its neighbours.
    yield from (SetNeighbour(name, *neighbour) for neighbour in sorted(wanted.neighbours - seen.neighbours))


def _peer_additions(name: str, public_key: str, seen: Peer | None, wanted: Peer) -> Iterator[Change]:
    new = seen is None
    seen = seen or Peer()
    endpoint = wanted.endpoint if wanted.endpoint and wanted.endpoint != seen.endpoint else None
    keepalive_s = wanted.keepalive_s if wanted.keepalive_s != seen.keepalive_s else None
    add = tuple(sorted(wanted.allowed - seen.allowed))
    if new or endpoint or keepalive_s is not None or add:
        yield SetPeer(name, public_key, endpoint, keepalive_s, add)


def _interface_removals(name: str, seen: Interface, wanted: Interface) -> Iterator[Change]:
    if seen.up and wanted.mtu > seen.mtu:
        yield SetMtu(name, wanted.mtu)
    yield from (DeleteAddress(name, address) for address in sorted(seen.addresses - wanted.addresses))
    known = {address for address, _ in wanted.neighbours}
    yield from (DeleteNeighbour(name, address) for address, _ in sorted(seen.neighbours) if address not in known)
    # A prefix that another peer has by now has moved there already: taking it away would take it from that peer.
    wanted_somewhere = frozenset(prefix for peer in wanted.peers.values() for prefix in peer.allowed)
    staying = [seen.peers[key] for key in seen.peers if key in wanted.peers]
    unwanted = frozenset(prefix for peer in staying for prefix in peer.allowed) - wanted_somewhere
    if unwanted:
        yield DropAllowed(name, tuple(sorted(unwanted)))
    yield from (DeletePeer(name, key) for key in sorted(seen.peers) if key not in wanted.peers)
