"""Which of the links that can be there are, in meshes too large for all of them. Pure: the clock is an argument.

Every gateway probes each of its links and keeps each neighbour's labels, so links cost something. An Edge gateway gets
its best few relays (Core or Transit gateways), and one more in turn, to find out whether it is better. Relays link with
each other as long as they are few, and beyond that with the nearest, with one in every region around, and with whatever
keeps the mesh in one piece. Which are best is said by what was measured, and by the map where nothing was.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field

import numpy as np

from foremesh.model.link import LinkId
from foremesh.model.physics import FIBRE_KM_PER_MS, great_circle_km
from foremesh.model.resource import Resource, Role
from foremesh.model.series import Floats
from foremesh.routing.adjacency import adjacency
from foremesh.routing.values import Bools, Ints

Pair = tuple[str, str]
"""Ids of two gateways, the lesser first: links are made both ways and over every network that both sit on."""

STRETCH = 1.5
"""How much longer a way through the Internet usually is than the great circle; only the order of guesses matters."""
SAME_REGION_MS, ELSEWHERE_MS = 5.0, 100.0
"""Guessed round trips where no coordinates are declared: a cloud's region fits into a few, the rest may be anywhere."""

GAIN, GAIN_MS = 0.2, 2.0
"""How much better another neighbour has to be, as a share and in milliseconds, before a link is given up for it: more
than what round trips wander in a day, and more than what a plan could make of it."""

NEAR_SHARE = 0.6
"""Share of the links that a relay chooses which go to its nearest; the others reach out to other regions."""

UNMEASURED, DEAD, NEVER = 1e6, 2e6, np.inf
"""Added to round trips in milliseconds to order them: what is measured, or there already, comes before guesses, and
guesses before what is known to be dead."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How many links to have. See ``PlanningSettings`` for units and reasons of the defaults."""

    full_mesh: int
    edge_neighbours: int
    max_neighbours: int
    trial_s: float


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What is known of links; pairs that are missing are not known."""

    rtt_ms: Mapping[Pair, float] = field(default_factory=dict)
    """Measured round trips, now or lately; infinite for a link that is dead."""
    linked: Set[Pair] = frozenset()
    """Links that there are: something has to be clearly better to take their place."""
    used: Set[Pair] = frozenset()
    """Links that labels run over: they stay whatever is measured."""
    absent: Set[str] = frozenset()
    """Gateways that are silent: their links stay, but nobody counts on them."""


def pair(one: str, other: str) -> Pair:
    return (one, other) if one < other else (other, one)


def neighbours(gateways: Iterable[Resource], seen: Seen, limits: Limits, *, now_s: float | None) -> tuple[LinkId, ...]:
    """The links of a mesh, both ways each, sorted.

    Args:
        gateways: Those that take part, silent ones too.
        now_s: Unix time, which says whose turn it is to be tried; None: nobody's.

    Returns:
        All that can be, see ``adjacency``, for at most ``limits.full_mesh`` gateways. Otherwise every gateway has its
        ``edge_neighbours`` best relays (fewer only where there are fewer), not all of one risk group or site if that
        can be. Relays are all linked if they are at most ``max_neighbours`` + 1; else each chooses half of
        ``max_neighbours``, which makes that many on average, as others choose it too; and what keeps relays connected
        that can be is added. Edge gateways never link with each other.
    """
    all_ = sorted((one for one in gateways if one.is_gateway), key=lambda one: one.id)
    if len(all_) <= limits.full_mesh:
        return adjacency(all_)
    mesh = _Mesh(all_, seen, limits, now_s)
    mesh.best_of_everyone(limits.edge_neighbours)
    if len(mesh.relays) <= limits.max_neighbours + 1:
        mesh.join_all()
    else:
        wished = max(1, limits.max_neighbours // 2)
        near = max(1, round(NEAR_SHARE * wished))
        mesh.nearest(near)
        mesh.reach_out(wished - near)
        mesh.connect()
    mesh.try_others(limits.edge_neighbours)
    return mesh.links(seen.used | {one for one in seen.linked if not seen.absent.isdisjoint(one)})


class _Mesh:
    """Gateways by number, in the order of their ids, and the pairs chosen so far.

    ``plain`` orders pairs, see the constants; what cannot be linked, or is silent, is infinite. In ``rank`` the links
    that there are have what it takes to beat them as an advance. A choice of the best few by ``rank`` adds a link only
    if it is clearly better; one that is there is given up only if as many are clearly better than it (``keeps``). Both
    together, nothing changes as long as figures wander by less.
    """

    def __init__(self, gateways: Sequence[Resource], seen: Seen, limits: Limits, now_s: float | None) -> None:
        self.gateways = gateways
        self.ids = [one.id for one in gateways]
        self.networks = [one.underlays for one in gateways]
        self.number = {id_: number for number, id_ in enumerate(self.ids)}
        self.relays: Ints = np.array([n for n, one in enumerate(gateways) if one.role is not Role.EDGE], dtype=np.int64)
        self.chosen: set[tuple[int, int]] = set()
        self.groups = [_shared_fate(one) for one in gateways]
        regions = {name: number for number, name in enumerate(sorted({_region(one) for one in gateways}))}
        self.region: Ints = np.array([regions[_region(one)] for one in gateways], dtype=np.int64)
        linkable = self._linkable()
        self.trials = self._turns(linkable, limits, now_s)
        km = _distances_km(gateways)
        self.least_ms: Floats = np.where(np.isnan(km), 0.0, 2 * km / FIBRE_KM_PER_MS)
        self.linked: Bools = np.zeros(linkable.shape, dtype=np.bool_)
        self._ranked(km, linkable, seen)

    def _linkable(self) -> Bools:
        size = len(self.gateways)
        linkable: Bools = np.zeros((size, size), dtype=np.bool_)
        for name in sorted({name for one in self.networks for name in one}):
            on = np.array([name in one for one in self.networks])
            dialled = np.array([bool(one.get(name)) for one in self.networks])
            linkable |= on[:, None] & on[None, :] & (dialled[:, None] | dialled[None, :])
        edge = np.ones(size, dtype=np.bool_)
        edge[self.relays] = False
        linkable &= ~(edge[:, None] & edge[None, :])
        np.fill_diagonal(linkable, val=False)
        return linkable

    def _turns(self, linkable: Bools, limits: Limits, now_s: float | None) -> list[tuple[int, int]]:
        """Every gateway's partner on trial, now and before: each relay in turn, gateways at different times, each
        with another one."""
        if now_s is None or limits.trial_s <= 0:
            return []
        turns = []
        for number, id_ in enumerate(self.ids):
            partners = self.relays[linkable[number, self.relays]]
            if len(partners):
                turn = int((now_s + zlib.crc32(id_.encode())) // limits.trial_s)
                turns.append((int(partners[turn % len(partners)]), int(partners[(turn - 1) % len(partners)])))
            else:
                turns.append((number, number))
        return turns

    def _ranked(self, km: Floats, linkable: Bools, seen: Seen) -> None:
        size = len(self.ids)
        named = np.array([bool(_region(one)) for one in self.gateways])
        near = (self.region[:, None] == self.region[None, :]) & named[:, None]
        plain: Floats = np.where(near, SAME_REGION_MS, ELSEWHERE_MS)
        plain = np.where(np.isnan(km), plain, 2 * km * STRETCH / FIBRE_KM_PER_MS)
        guessed: Bools = np.ones((size, size), dtype=np.bool_)
        for one, other in self._numbered(seen.rtt_ms):
            rtt_ms = seen.rtt_ms[self.ids[one], self.ids[other]]
            plain[one, other] = plain[other, one] = min(rtt_ms, DEAD)
            guessed[one, other] = guessed[other, one] = False
        on_trial = {_ordered(number, partner) for number, both in enumerate(self.trials) for partner in both}
        for one, other in self._numbered(seen.linked):
            if (one, other) not in on_trial and plain[one, other] < DEAD:
                self.linked[one, other] = self.linked[other, one] = True
        plain += np.where(guessed & ~self.linked, UNMEASURED, 0.0)
        plain[~linkable] = NEVER
        silent = [self.number[id_] for id_ in seen.absent if id_ in self.number]
        plain[silent, :] = plain[:, silent] = NEVER
        self.plain = plain
        self.rank = np.where(self.linked, plain * (1 - GAIN) - GAIN_MS, plain)
        towards = self.rank[:, self.relays]
        self.best_first = self.relays[np.argsort(towards, axis=1, kind="stable")]
        self.possible = np.isfinite(towards).sum(axis=1)
        self.sorted_plain = np.sort(plain[:, self.relays], axis=1)

    def _numbered(self, pairs: Iterable[Pair]) -> list[tuple[int, int]]:
        """Those of which both gateways are there. Numbers are in the order of ids, so the lesser still comes first."""
        number = self.number
        return [(number[one], number[other]) for one, other in pairs if one in number and other in number]

    def keeps(self, number: int, among: Ints, limit: float) -> list[int]:
        """Whom a gateway is linked with and keeps: those whose advance brings them to the limit, which is the plain
        figure of the last that it wants, so that fewer than it wants are clearly better."""
        there = among[self.linked[number, among]]
        rank = self.rank[number, there]
        kept: list[int] = there[(rank <= limit) & (rank < DEAD)].tolist()
        return kept

    def best_of_everyone(self, count: int) -> None:
        """Every gateway and its best relays, the last of them of another fate than the others if that can be."""
        for number in range(len(self.ids)):
            order = self.best_first[number][: self.possible[number]].tolist()
            best = order[:count]
            shared = frozenset.intersection(*(self.groups[one] for one in best)) if len(best) > 1 else None
            if shared:
                others = (one for one in order[count:] if shared.isdisjoint(self.groups[one]))
                best[-1] = next((one for one in others if self.rank[number, one] < DEAD), best[-1])
            self._choose(number, [*best, *self.keeps(number, self.relays, self._limit(number, count))])

    def join_all(self) -> None:
        self.chosen |= {(i, j) for _, i, j in self._pairs()}

    def nearest(self, count: int) -> None:
        """Every relay and its nearest."""
        for number in self.relays.tolist():
            best = self.best_first[number][:count]
            best = best[self.rank[number, best] < DEAD]
            self._choose(number, [*best.tolist(), *self.keeps(number, self.relays, self._limit(number, count))])

    def reach_out(self, count: int) -> None:
        """Every relay and the best one in each of the nearest regions around."""
        by_region = self.relays[np.argsort(self.region[self.relays], kind="stable")]
        regions, starts = np.unique(self.region[by_region], return_index=True)
        members = np.split(by_region, starts[1:])
        plain = np.minimum.reduceat(self.plain[:, by_region], starts, axis=1)
        rank = np.minimum.reduceat(self.rank[:, by_region], starts, axis=1)
        there = np.logical_or.reduceat(self.linked[:, by_region], starts, axis=1)
        home = self.region[:, None] == regions[None, :]
        plain[home] = rank[home] = NEVER
        limit = np.sort(plain, axis=1)[:, min(count, len(regions)) - 1]
        wanted = there & (rank <= limit[:, None])
        np.put_along_axis(wanted, np.argsort(rank, axis=1, kind="stable")[:, :count], values=True, axis=1)
        wanted &= rank < DEAD
        for number in self.relays.tolist():
            for place in np.flatnonzero(wanted[number]).tolist():
                them = members[place]
                best = int(them[self.rank[number, them].argmin()])
                self._choose(number, [best, *self.keeps(number, them, float(plain[number, place]))])

    def connect(self) -> None:
        """Join what is apart by the best pair, and by a second one between others, so that no single gateway does."""
        part = {number: {number} for number in self.relays.tolist()}

        def merge(i: int, j: int) -> None:
            if part[i] is not part[j]:
                small, large = sorted((part[i], part[j]), key=len)
                large |= small
                for number in small:
                    part[number] = large

        for i, j in self.chosen:
            if i in part and j in part:
                merge(i, j)
        if len(next(iter(part.values()))) == len(part):
            return
        for _, i, j in self._pairs():
            if part[i] is part[j]:
                continue
            ones, others = (np.array(sorted(part[end] - {end}), dtype=np.int64) for end in (i, j))
            self.chosen.add((i, j))
            if len(ones) and len(others):
                ranks = self.rank[np.ix_(ones, others)]
                one, other = np.unravel_index(int(ranks.argmin()), ranks.shape)
                if ranks[one, other] < DEAD:
                    self.chosen.add(_ordered(int(ones[one]), int(others[other])))
            merge(i, j)

    def try_others(self, count: int) -> None:
        """Add everybody's partner on trial, unless light itself could not make it one of the best."""
        for number, (partner, _) in enumerate(self.trials):
            if not np.isfinite(self.rank[number, partner]):
                continue
            worst_ms = self._limit(number, count)
            if UNMEASURED <= worst_ms < DEAD:
                worst_ms -= UNMEASURED
            if self.least_ms[number, partner] < worst_ms:
                self.chosen.add(_ordered(number, partner))

    def links(self, stay: Set[Pair]) -> tuple[LinkId, ...]:
        """The chosen pairs, and those that stay, over every network that can link them."""
        found = [
            (self.ids[end], self.ids[far], name)
            for i, j in self.chosen.union(self._numbered(stay))
            for name, endpoint in self.networks[i].items()
            if name in self.networks[j] and (endpoint or self.networks[j][name])
            for end, far in ((i, j), (j, i))
        ]
        return tuple(LinkId(src=src, dst=dst, underlay=name) for src, dst, name in sorted(found))

    def _limit(self, number: int, count: int) -> float:
        """The plain figure of a gateway's ``count``-th best relay."""
        return float(self.sorted_plain[number, count - 1]) if count <= len(self.relays) else NEVER

    def _choose(self, number: int, others: Iterable[int]) -> None:
        self.chosen |= {_ordered(number, other) for other in others}

    def _pairs(self) -> Iterator[tuple[float, int, int]]:
        """Pairs of relays that can be linked, the best first."""
        first, second = np.triu_indices(len(self.relays), k=1)
        i, j = self.relays[first], self.relays[second]
        ranks = self.rank[i, j]
        order = np.argsort(ranks, kind="stable")[: np.isfinite(ranks).sum()]
        return zip(ranks[order].tolist(), i[order].tolist(), j[order].tolist(), strict=True)


def _ordered(one: int, other: int) -> tuple[int, int]:
    return (one, other) if one < other else (other, one)


def _region(gateway: Resource) -> str:
    location = gateway.spec.location
    return f"{location.provider}/{location.region}" if location.region else ""


def _shared_fate(gateway: Resource) -> frozenset[str]:
    """What a gateway fails together with: its risk groups and its site."""
    declared = gateway.spec.gateway
    site = gateway.spec.location.site
    return frozenset(declared.risk_groups if declared else ()) | ({f"site {site}"} if site else set())


def _distances_km(gateways: Sequence[Resource]) -> Floats:
    """Great-circle distances, shape (gateways, gateways); NaN where coordinates are missing."""
    places = [(one.spec.location.latitude, one.spec.location.longitude) for one in gateways]
    degrees = np.array(places, dtype=np.float64)
    latitude, longitude = degrees[:, 0], degrees[:, 1]
    return great_circle_km(latitude[:, None], longitude[:, None], latitude[None, :], longitude[None, :])
