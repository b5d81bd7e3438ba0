"""Links as WireGuard has them: which gateways are neighbours over which network, by which key of each, and which labels
lie in whose direction. Pure.

A gateway has one hop key, and two while it changes: every label names the key that it uses at each gateway, so labels
move from the old to the new one as they move from path to path, and nothing is changed under a label in use.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from foremesh.model.addresses import Blocks
from foremesh.model.circuit import LabelAllocation, Route, key_name
from foremesh.model.config import HopPeer
from foremesh.model.link import LinkId
from foremesh.model.mesh import Member
from foremesh.model.registration import HopInterface, Registration
from foremesh.model.resource import Resource


def route_of(gateways: Sequence[str], members: Mapping[str, Member], links: Iterable[LinkId] = ()) -> Route:
    """The way that a new label is to run: over these links, by the newest key of every gateway.

    Args:
        gateways: Ids from end to end.
        members: By id; a gateway without an agent has no key to name, and then the route names none at all.
        links: Those of the path; where one is missing, the first network by name that both sit on is taken.
    """
    chosen = {(link.src, link.dst): link.underlay for link in links}
    registrations = [members[id_].registration if id_ in members else None for id_ in gateways]
    keys = tuple(key_name(one.keys.hop) for one in registrations if one is not None)
    return Route(
        gateways=tuple(gateways),
        underlays=tuple(chosen.get(hop) or _common(*hop, members) for hop in pairwise(gateways)),
        keys=keys if len(keys) == len(gateways) else (),
    )


def _common(src: str, dst: str, members: Mapping[str, Member]) -> str:
    """The first network that both sit on, or else the one that ``src`` calls its own."""
    here, there = (members[id_].resource.underlays if id_ in members else {} for id_ in (src, dst))
    return next(iter(sorted(here.keys() & there.keys())), next(iter(here), ""))


@dataclass(frozen=True)
class _Tunnel:
    """A neighbour as one gateway's WireGuard knows it."""

    gateway: str
    underlay: str
    own_key: str
    key: str


class _Hops:
    """A gateway's hop interfaces."""

    def __init__(self, resource: Resource, registration: Registration) -> None:
        self._resource = resource
        self._only = HopInterface(key=registration.keys.hop, endpoint=registration.endpoint)
        self._known = {(one.underlay, one.key): one for one in registration.hops or (self._only,)}
        self.keys = tuple(dict.fromkeys((registration.keys.hop, *(one.key for one in registration.hops))))
        """The newest first."""

    def key(self, name: str) -> str:
        """The key that a route means. One that is gone, as after a loss of all keys, is replaced by the newest."""
        if not name:
            return self.keys[-1]
        return next((key for key in self.keys if key_name(key) == name), self.keys[0])

    def endpoint(self, underlay: str, key: str) -> str | None:
        """Where the interface of a network and a key answers; None: nowhere that others can dial."""
        own = underlay == self._resource.underlay
        hop = self._known.get(("" if own else underlay, key))
        endpoint = self._resource.underlays.get(underlay) or (hop.endpoint if hop else None)
        if endpoint and hop and hop.port is not None:
            return f"{endpoint.rpartition(':')[0]}:{hop.port}"
        return endpoint


class Links:
    """Every tunnel between gateways that a state asks for.

    Two gateways that are linked have a tunnel by the newest key of both, over each network in common; and every label
    has the tunnels that it names, also where its link is not among the state's: absence is no reason to forget a path.

    Args:
        gateways: Those that can be set up, by id.
        links: The state's.
        labels: All in use.
    """

    def __init__(
        self,
        gateways: Mapping[str, Member],
        links: Iterable[LinkId],
        labels: Iterable[LabelAllocation],
        blocks: Blocks,
    ) -> None:
        self._blocks = blocks
        self._gateways = gateways
        self._hops = {id_: _Hops(one.resource, one.registration) for id_, one in gateways.items() if one.registration}
        self._addresses: dict[str, dict[_Tunnel, list[str]]] = defaultdict(dict)
        """Gateway id to its tunnels, and the label addresses in the direction of each."""
        self._underlays: dict[tuple[str, str], set[str]] = defaultdict(set)
        for link in links:
            if link.src in self._hops and link.dst in self._hops:
                self._underlays[link.src, link.dst].add(link.underlay)
                self._underlays[link.dst, link.src].add(link.underlay)
                ends = (link.src, self._hops[link.src].keys[0]), (link.dst, self._hops[link.dst].keys[0])
                self._join(*ends, link.underlay)
        for label in labels:
            self._lay(label)

    def peers(self, gateway: str) -> tuple[HopPeer, ...]:
        """A gateway's neighbours, sorted."""
        tunnels = self._addresses[gateway]
        found = []
        for tunnel in sorted(tunnels, key=lambda one: (one.gateway, one.underlay, one.own_key, one.key)):
            neighbour = self._gateways[tunnel.gateway]
            assert neighbour.number is not None
            probed = self._probed(gateway, tunnel) == tunnel
            found.append(
                HopPeer(
                    gateway=tunnel.gateway,
                    underlay=tunnel.underlay,
                    public_key=tunnel.key,
                    own_key=tunnel.own_key,
                    endpoint=self._hops[tunnel.gateway].endpoint(tunnel.underlay, tunnel.key),
                    hop_address=self._blocks.hop_address(neighbour.number) if probed else None,
                    labels=tuple(sorted(tunnels[tunnel])),
                )
            )
        return tuple(found)

    def _lay(self, label: LabelAllocation) -> None:
        from_address, to_address = self._blocks.label_pair(label.number)
        for place, (src, dst) in enumerate(pairwise(label.path)):
            if src not in self._hops or dst not in self._hops:
                continue
            underlay = label.underlays[place] if label.underlays else self._first_underlay(src, dst)
            names = label.keys[place : place + 2] if label.keys else ("", "")
            ends = [(id_, self._hops[id_].key(name)) for id_, name in zip((src, dst), names, strict=True)]
            forth, back = self._join(ends[0], ends[1], underlay)
            # The ``to`` address lies towards the path's end, the ``from`` address towards its beginning.
            forth.append(to_address)
            back.append(from_address)

    def _join(self, one: tuple[str, str], other: tuple[str, str], underlay: str) -> tuple[list[str], list[str]]:
        """A tunnel between two ends, each a gateway and its key; the label addresses in its direction, at both ends."""
        there = _Tunnel(other[0], underlay, one[1], other[1])
        back = _Tunnel(one[0], underlay, other[1], one[1])
        return (
            self._addresses[one[0]].setdefault(there, []),
            self._addresses[other[0]].setdefault(back, []),
        )

    def _first_underlay(self, src: str, dst: str) -> str:
        known = self._underlays.get((src, dst))
        return min(known) if known else self._gateways[src].resource.underlay

    def _probed(self, gateway: str, tunnel: _Tunnel) -> _Tunnel:
        """Of the tunnels between two gateways over one network, the one that probes go through: the oldest that carries
        labels, because it is the one whose figures matter, or else the newest. The same seen from either end."""
        tunnels = self._addresses[gateway]
        alike = [one for one in tunnels if (one.gateway, one.underlay) == (tunnel.gateway, tunnel.underlay)]
        if len(alike) == 1:
            return tunnel
        own, far = self._hops[gateway].keys, self._hops[tunnel.gateway].keys
        first_own = gateway < tunnel.gateway

        def age(one: _Tunnel) -> tuple[int, int]:
            ages = own.index(one.own_key), far.index(one.key)
            return sum(ages), ages[0 if first_own else 1]

        carrying = [one for one in alike if tunnels[one]]
        return max(carrying, key=age) if carrying else min(alike, key=age)
