"""Hop interfaces: which one a link runs on, by its network and the gateway's own key, and what is set up there. Pure.

A network has an interface of its own, and a key that is being replaced has one too, until no label uses it any more.
All have the same addresses, so that none is missed when one goes; what differs is who is reached through them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from foremesh.agent.state import HOP_MTU, KEEPALIVE_S, SLOTS, Interface, Names, Peer, Route
from foremesh.model.config import GatewayConfig, HopPeer
from foremesh.model.intent import Encryption

if TYPE_CHECKING:
    from foremesh.agent.desired import Local

OWN = ""
"""What the gateway's own network is called here: configs name it, settings do not."""


@dataclass(frozen=True, slots=True)
class Underlay:
    """How the host sits on a network.

    Attributes:
        ports: UDP ports of links, by the slot of the key that they use; 0 takes any.
        dialled: Neighbours there can reach this host; otherwise it keeps the ways to them open.
    """

    ports: tuple[int, int] = (0, 0)
    dialled: bool = False


class Seen(Protocol):
    """An interface as it is or is to be."""

    @property
    def public_key(self) -> str: ...
    @property
    def peers(self) -> Mapping[str, object]: ...


@dataclass(frozen=True, slots=True)
class _Hop:
    """An interface by the network (``OWN`` for the gateway's own) and the slot of the key."""

    underlay: str
    slot: int


def interfaces(config: GatewayConfig, local: Local) -> dict[str, Interface]:
    """The hop interfaces that a config needs by name: one for each network and own key in it, and at least one. Beside
    one that VXLAN runs over there is a pair that gathers its packets, if the host can do so."""
    addresses = {address for address in (config.hop_address, config.mesh_address) if address}
    for end in config.circuits:
        addresses |= {end.local_address, *(label.own for label in end.labels)}
    gathered = _gathered(config, local)
    found = {}
    for hop, links in _by_hop(config, local).items():
        underlay = local.underlays.get(hop.underlay, Underlay())
        peers: dict[str, Peer] = {}
        for link in links:
            endpoint = local.endpoint(link.endpoint)
            allowed = frozenset(f"{address}/32" for address in _reached(link))
            if before := peers.get(link.public_key):
                allowed |= before.allowed
            peers[link.public_key] = Peer(endpoint, 0 if underlay.dialled or not endpoint else KEEPALIVE_S, allowed)
        name = local.names.hop_on(hop.underlay, hop.slot)
        found[name] = Interface(
            public_key=next(key for key, slot in local.hop_keys_held if slot == hop.slot),
            mtu=HOP_MTU,
            listen_port=underlay.ports[hop.slot],
            addresses=frozenset(f"{address}/32" for address in addresses),
            peers=peers,
        )
        if not gathered.isdisjoint(label for link in links for label in link.labels):
            found[local.names.gather(name)[0]] = Interface("", HOP_MTU, gathers_for=name)
    return found


def routes(config: GatewayConfig, local: Local) -> Iterable[Route]:
    """Labels by the one interface that leads to them; what any will do for by all, in order."""
    own_of = {label.far: label.own for end in config.circuits for label in end.labels}
    gathered = _gathered(config, local)
    assert config.hop_address is not None
    for metric, (hop, links) in enumerate(_by_hop(config, local).items()):
        device = local.names.hop_on(hop.underlay, hop.slot)
        gathering = local.names.gather(device)[0]
        for link in links:
            for address in link.labels:
                way = gathering if address in gathered else device
                yield Route(f"{address}/32", way, own_of.get(address, config.hop_address))
            if link.hop_address:
                # Over parallel networks the same; probes are bound to an interface, and so find theirs.
                yield Route(f"{link.hop_address}/32", device, config.hop_address, metric=metric)
        for end in config.circuits:
            # Never left by: what goes to a circuit's address is rewritten to a label and routed anew.
            yield Route(f"{end.remote_address}/32", device, end.local_address, metric=metric)


def contradictions(config: GatewayConfig) -> Iterable[str]:
    """What no set of hop interfaces can do."""
    links = Counter((peer.underlay, peer.own_key, peer.public_key) for peer in config.hop_peers)
    for (underlay, own_key, key), count in links.items():
        if count > 1:
            alike = [p for p in config.hop_peers if (p.underlay, p.own_key, p.public_key) == (underlay, own_key, key)]
            names = ", ".join(f"{peer.gateway} over {peer.underlay}" for peer in alike)
            yield f"one hop interface cannot hold two links to the same key ({names})"
    places = Counter(
        ("", address) if address in peer.labels else (f"{peer.underlay} {peer.own_key}", address)
        for peer in config.hop_peers
        for address in _reached(peer)
    )
    for (_, address), count in places.items():
        if count > 1:
            yield f"{address} lies in the direction of {count} neighbours"


def device_of(link: HopPeer, config: GatewayConfig, names: Names, there: Mapping[str, Seen]) -> str:
    """The interface that a link runs on, among those that are there."""
    candidates = [names.hop_on(_network(link, config), slot) for slot in range(SLOTS)]
    found = [name for name in candidates if name in there and link.public_key in there[name].peers]
    return next((name for name in found if there[name].public_key == link.own_key), (found or candidates)[0])


def underlay_of(link: HopPeer, config: GatewayConfig, local: Local) -> Underlay:
    """How the host sits on the network of a link; one that it was told nothing of, it dials out on."""
    return local.underlays.get(_network(link, config), Underlay())


def _by_hop(config: GatewayConfig, local: Local) -> dict[_Hop, list[HopPeer]]:
    found: dict[_Hop, list[HopPeer]] = {}
    for peer in config.hop_peers:
        found.setdefault(_Hop(_network(peer, config), _slot(peer.own_key, local)), []).append(peer)
    if not found:
        found[_Hop(OWN, _slot("", local))] = []
    return dict(sorted(found.items(), key=lambda item: (item[0].underlay, item[0].slot)))


def _gathered(config: GatewayConfig, local: Local) -> frozenset[str]:
    """Far ends of labels that VXLAN is sent to, where the host can gather it."""
    ends = [end for end in config.circuits if local.gathers and end.encryption is Encryption.HOP_BY_HOP]
    return frozenset(label.far for end in ends for label in end.labels)


def _network(link: HopPeer, config: GatewayConfig) -> str:
    return OWN if config.underlay in ("", link.underlay) else link.underlay


def _slot(own_key: str, local: Local) -> int:
    """Where the key is that a config names. One that is gone is replaced by the newest, as whoever wrote the config
    will do once it is told; a config that names none knows of the oldest alone."""
    held = dict(local.hop_keys_held)
    return held.get(own_key, list(held.values())[0 if own_key else -1])


def _reached(link: HopPeer) -> tuple[str, ...]:
    return (*((link.hop_address,) if link.hop_address else ()), *link.labels)
