"""A host made of values: what each change does to it, as WireGuard, the kernel and nftables would do it."""

from __future__ import annotations

from dataclasses import replace

from foremesh.agent import diff as d
from foremesh.agent.rulesets import HOP
from foremesh.agent.state import Desired, Interface, Observed, Peer, SeenTable


class Impossible(AssertionError):
    """A change that a real host would refuse at this point of the order."""


def _peers(state: Observed, name: str) -> dict[str, Peer]:
    if name not in state.interfaces:
        raise Impossible(f"{name} is not there")
    return dict(state.interfaces[name].peers)


def _with(state: Observed, name: str, **fields: object) -> Observed:
    if name not in state.interfaces:
        raise Impossible(f"{name} is not there")
    return replace(state, interfaces={**state.interfaces, name: replace(state.interfaces[name], **fields)})


def _without_prefixes(peers: dict[str, Peer], prefixes: set[str]) -> dict[str, Peer]:
    return {key: replace(peer, allowed=peer.allowed - prefixes) for key, peer in peers.items()}


def killed(state: Observed, name: str) -> Observed:
    """The host after the WireGuard of an interface was killed: the kernel takes routes and settings along, and a pair
    hands packets to nobody."""
    orphans = {k: replace(v, gathers_for="?") if v.gathers_for == name else v for k, v in state.interfaces.items()}
    return replace(
        state,
        interfaces={other: seen for other, seen in orphans.items() if other != name},
        routes=frozenset(route for route in state.routes if route.device != name),
        sysctls={setting: value for setting, value in state.sysctls.items() if f".{name}." not in setting},
        abandoned=state.abandoned | {name},
    )


def after(state: Observed, change: d.Change) -> Observed:
    """The host after one change."""
    match change:
        case d.SetSysctl(name, value):
            return replace(state, sysctls={**state.sysctls, name: value})
        case d.CreateInterface(name, vxlan, hop):
            if name in state.interfaces:
                raise Impossible(f"{name} is there")
            if hop and hop not in state.interfaces:
                raise Impossible(f"{hop} is not there")
            made = Interface("", 1420, 0, up=False, vxlan=vxlan, gathers_for=hop, offload=vxlan is not None)
            settings = {**state.sysctls, f"net.ipv4.conf.{name}.rp_filter": "1"}  # neither of those that are wanted
            interfaces = {**state.interfaces, name: made}
            return replace(state, interfaces=interfaces, sysctls=settings, abandoned=state.abandoned - {name})
        case d.PrepareVxlan(name, _, on):
            return _with(state, name, offload=on)
        case d.SetNeighbour(name, address, mac):
            if not state.interfaces[name].up:
                raise Impossible(f"{name} is down")
            others = {pair for pair in state.interfaces[name].neighbours if pair[0] != address}
            return _with(state, name, neighbours=frozenset({*others, (address, mac)}))
        case d.DeleteNeighbour(name, address):
            others = {pair for pair in state.interfaces[name].neighbours if pair[0] != address}
            return _with(state, name, neighbours=frozenset(others))
        case d.DeleteInterface(name):
            return replace(killed(state, name), abandoned=state.abandoned - {name})
        case d.SetMtu(name, mtu):
            return _with(state, name, mtu=mtu)
        case d.SetUp(name):
            return _with(state, name, up=True)
        case d.SetKey(name, public_key, port):
            return _with(state, name, public_key=public_key, listen_port=port or 40_000)
        case d.AddAddress(name, address):
            return _with(state, name, addresses=state.interfaces[name].addresses | {address})
        case d.DeleteAddress(name, address):
            left = _with(state, name, addresses=state.interfaces[name].addresses - {address})
            if any(address in interface.addresses for interface in left.interfaces.values()):
                return left
            # With the last of an address, the kernel takes the routes along that have it as their source.
            source = address.removesuffix("/32")
            return replace(left, routes=frozenset(route for route in left.routes if route.source != source))
        case d.SetPeer(name, key, endpoint, keepalive_s, add):
            peers = _without_prefixes(_peers(state, name), set(add))
            peer = peers.get(key, Peer())
            peers[key] = Peer(
                endpoint or peer.endpoint,
                peer.keepalive_s if keepalive_s is None else keepalive_s,
                peer.allowed | set(add),
            )
            return _with(state, name, peers=peers)
        case d.DropAllowed(name, prefixes):
            return _with(state, name, peers=_without_prefixes(_peers(state, name), set(prefixes)))
        case d.DeletePeer(name, key):
            peers = _peers(state, name)
            del peers[key]
            return _with(state, name, peers=peers)
        case d.SetRoute(route):
            if route.device and route.device not in state.interfaces:
                raise Impossible(f"{route} has no device")
            if route.gateway and route.gateway not in dict(state.interfaces[route.device].neighbours):
                raise Impossible(f"{route} has a next hop that nobody knows")
            if route.gateway and any(f"{route.gateway}/32" in i.addresses for i in state.interfaces.values()):
                raise Impossible(f"{route} has a next hop that is here")
            if route.source and not any(f"{route.source}/32" in i.addresses for i in state.interfaces.values()):
                raise Impossible(f"{route} has a source that is not here")
            others = frozenset(other for other in state.routes if other.slot != route.slot)
            return replace(state, routes=others | {route})
        case d.DeleteRoute(route):
            if route not in state.routes:
                raise Impossible(f"{route} is not there")
            return replace(state, routes=state.routes - {route})
        case d.AddRule(rule):
            return replace(state, rules=state.rules | {rule})
        case d.DeleteRule(rule):
            return replace(state, rules=state.rules - {rule})
        case d.SetTable(table, _):
            names = frozenset(chain.name for chain in table.chains) | {f"revision-{table.revision}"}
            parts = (frozenset(part) for part in (table.counters, table.maps, table.sets))
            seen = SeenTable(table.revision, names, *parts)
            # A table made anew has empty maps: the process holds circuits to nothing then.
            emptied = table.name == HOP and HOP not in state.tables and state.failover is not None
            failover = "" if emptied else state.failover
            return replace(state, tables={**state.tables, table.name: seen}, failover=failover)
        case d.SetFailover(table):
            if table.circuits and HOP not in state.tables:
                raise Impossible("there are no maps to write")
            return replace(state, failover=table.digest)
        case d.EndFailover():
            return replace(state, failover=None)
        case d.DeleteTable(name):
            return replace(state, tables={k: v for k, v in state.tables.items() if k != name})
        case d.ForgetFlows():
            return state
        case d.SetNames(names):
            return replace(state, names=names)
    raise AssertionError(change)


def as_observed(wanted: Desired) -> Observed:
    """What a host is to look like that has all that was wanted."""
    return Observed(
        interfaces={name: replace(i, listen_port=i.listen_port or 40_000) for name, i in wanted.interfaces.items()},
        routes=wanted.routes,
        rules=wanted.rules,
        tables={
            t.name: SeenTable(
                t.revision,
                frozenset(c.name for c in t.chains) | {f"revision-{t.revision}"},
                frozenset(t.counters),
                frozenset(t.maps),
                frozenset(t.sets),
            )
            for t in wanted.tables.values()
        },
        sysctls=dict(wanted.sysctls),
        failover=wanted.failover.digest if wanted.failover else None,
        names=wanted.names,
    )


def carry_out(state: Observed, changes: tuple[d.Change, ...]) -> Observed:
    for change in changes:
        state = after(state, change)
    return state
