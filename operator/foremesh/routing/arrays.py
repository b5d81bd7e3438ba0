"""The mesh graph as sorted arrays, built once per snapshot and shared by every search on it.

Sums along a path are made of integers so that they are exact in any order: a path that offers exactly what is asked
is accepted, bounds never contradict sums, and the answer does not depend on the order of the input.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, fields
from functools import cached_property
from operator import attrgetter

import numpy as np

from foremesh.model.link import Figure, LinkId, MeshGraph, Node, PredictedLink
from foremesh.model.resource import Role
from foremesh.model.series import Floats
from foremesh.routing.order import Order
from foremesh.routing.values import Bools, Ints

NS_PER_MS = 10**6
"""Round-trip times are summed in nanoseconds: a thousandth of what a probe can tell."""
LOSS_SCALE = 10**12
"""Losses are summed as -ln(1 - loss) in units of 1e-12: multiplying shares of delivered packets is adding these."""
PRICE_SCALE = 10**9
"""Egress prices are summed in billionths of a US dollar per gigabyte."""
BPS_SCALE = 10**3
"""Bandwidths are compared in thousandths of a bit per second."""
MOST = 10**15
"""The most that one link adds to a sum (11 days, a million dollars, a loss of 1 - exp(-1000)): thousands of them still
fit into 64 bits."""
MOST_BPS = 10**15
"""The most that a link can carry, in bit/s, for the same reason."""
NO_LIMIT = 4 * 10**18
"""Greater than any sum of the above."""
DEAD = 0.99
"""Median loss from which a link counts as dead: of a hundred probes at most one comes back."""
UNKNOWN = -1
"""Stands for a figure that is not known, where others are integers of at least 0."""


def down(value: float, scale: int) -> int:
    """What a link adds: rounded in the path's favour, as ``up`` is for limits, so that equal is never a miss."""
    return math.floor(min(MOST, value * scale))


def up(value: float, scale: int) -> int:
    """A limit: rounded in the path's favour."""
    return math.ceil(min(NO_LIMIT, value * scale))


def log_loss(loss: float) -> float:
    """-ln(1 - loss), infinite for a loss of 1."""
    return math.inf if loss >= 1 else -math.log1p(-max(0.0, loss))


def units_down(values: Floats, scale: int) -> Ints:
    """``down`` for all links; NaN is UNKNOWN."""
    return np.where(np.isnan(values), UNKNOWN, np.floor(np.minimum(values * scale, MOST))).astype(np.int64)


def link_key(link: LinkId) -> tuple[str, str, str]:
    """The order of links everywhere."""
    return (link.src, link.dst, link.underlay)


@dataclass(frozen=True)
class Quantity:
    """One figure of every link or gateway; NaN is unknown. Within 0 and a maximum: forecasters extrapolate, quantities
    do not become negative; and what is not finite is unknown."""

    median: Floats
    pessimistic: Floats

    @classmethod
    def of(cls, figures: Sequence[Figure | None], most: float = math.inf) -> Quantity:
        try:
            medians, others = (np.fromiter(map(attrgetter(name), figures), np.float64, len(figures)) for name in _PAIR)
        except AttributeError:  # some are not known
            told = [_NOBODY_KNOWS if one is None else one for one in figures]
            medians, others = (np.fromiter(map(attrgetter(name), told), np.float64, len(told)) for name in _PAIR)
        known = np.isfinite(medians) & np.isfinite(others)
        return cls(*(np.where(known, np.clip(values, 0.0, most), math.nan) for values in (medians, others)))

    def patched(self, numbers: Ints, other: Quantity) -> Quantity:
        """The same with other figures for some."""
        return Quantity(
            patched(self.median, numbers, other.median), patched(self.pessimistic, numbers, other.pessimistic)
        )


_PAIR = ("median", "pessimistic")
_NOBODY_KNOWS = Figure(median=math.nan, pessimistic=math.nan)


def patched(values: Floats, numbers: Ints, others: Floats) -> Floats:
    """A copy with other values in some places."""
    copy = values.copy()
    copy[numbers] = others
    return copy


_Key = tuple[list[tuple[str, Role, str, str, tuple[str, ...]]], list[LinkId]]


class Topology:
    """Who is joined with whom, by number: the part of snapshots that stays when figures change.

    Gateways and links are numbered in the order of their ids; links whose ends are not both gateways of the graph are
    left out.
    """

    def __init__(self, graph: MeshGraph) -> None:
        self._key = _key(graph)
        nodes, links = graph.nodes, graph.links
        self._nodes = sorted(range(len(nodes)), key=lambda index: nodes[index].id)
        self.ids = [nodes[index].id for index in self._nodes]
        self.number: dict[str, int] = {id: number for number, id in enumerate(self.ids)}
        known = [i for i, one in enumerate(links) if one.id.src in self.number and one.id.dst in self.number]
        keys = [link_key(one.id) for one in links]
        self._links = sorted(known, key=keys.__getitem__)
        self.link_ids = [links[index].id for index in self._links]
        self.src = np.array([self.number[id.src] for id in self.link_ids], dtype=np.int64)
        self.dst = np.array([self.number[id.dst] for id in self.link_ids], dtype=np.int64)
        self.ends: list[int] = self.dst.tolist()
        """``dst`` for those who want one at a time, which arrays are slow at."""
        size, count = len(nodes), len(self.link_ids)
        self.relays: Bools = np.array([nodes[index].role is not Role.EDGE for index in self._nodes], dtype=np.bool_)
        self.out_start = np.searchsorted(self.src, np.arange(size + 1))
        self.into = np.argsort(self.dst, kind="stable")
        self.into_src = self.src[self.into]
        self.into_start = np.searchsorted(self.dst[self.into], np.arange(size + 1))
        underlays = {name: code for code, name in enumerate(sorted({id.underlay for id in self.link_ids}))}
        under = np.array([underlays[id.underlay] for id in self.link_ids], dtype=np.int64)
        pair, back_pair = self.src * size + self.dst, self.dst * size + self.src
        there, back = pair * len(underlays) + under, back_pair * len(underlays) + under
        found = np.minimum(np.searchsorted(there, back), max(0, count - 1))
        self.reverse: Ints = np.where(there[found] == back, found, UNKNOWN) if count else np.empty(0, dtype=np.int64)
        self.unordered = self.ordered(np.zeros(count, dtype=np.int64))
        """Where nothing is known of what links cost."""
        self.no_groups = np.zeros(size, dtype=np.int64)
        self.ones = np.ones(count, dtype=np.int64)
        self._allowed: dict[object, tuple[Bools, Bools]] = {}

    def fits(self, graph: MeshGraph) -> bool:
        """Whether a snapshot has these gateways and links, told in the same order."""
        return self._key == _key(graph)

    def ordered(self, least: Ints) -> Order:
        """Links in the order of what they cost at least."""
        return Order.of(self.src, self.dst, self.out_start, self.into_start, least)

    def nodes_of(self, graph: MeshGraph) -> list[Node]:
        return [graph.nodes[index] for index in self._nodes]

    def links_of(self, graph: MeshGraph) -> list[PredictedLink]:
        return [graph.links[index] for index in self._links]

    @cached_property
    def number_at(self) -> list[int]:
        """Number of the link at each place in the snapshot; UNKNOWN if it is left out."""
        found = [UNKNOWN] * len(self._key[1])
        for number, place in enumerate(self._links):
            found[place] = number
        return found

    @cached_property
    def link_number(self) -> dict[LinkId, int]:
        return {id: number for number, id in enumerate(self.link_ids)}

    def over(self, src: str, dst: str) -> range:
        """The links from one gateway to another, over whichever underlay."""
        return self._over.get((src, dst), range(0))

    def underlays(self, links: Sequence[int]) -> tuple[str, ...]:
        """By link, its underlay where another joins the same gateways, else empty; none where there is no such link."""
        if self._beside.isdisjoint(links):
            return ()
        return tuple(self.link_ids[link].underlay if link in self._beside else "" for link in links)

    @cached_property
    def _beside(self) -> frozenset[int]:
        """Numbers of the links beside which there are others: they follow each other."""
        alike = (self.src[1:] == self.src[:-1]) & (self.dst[1:] == self.dst[:-1])
        second = np.flatnonzero(alike)
        return frozenset((*second.tolist(), *(second + 1).tolist()))

    @cached_property
    def _over(self) -> dict[tuple[str, str], range]:
        found: dict[tuple[str, str], range] = {}
        for number, id in enumerate(self.link_ids):
            first = found.get((id.src, id.dst), range(number, number)).start
            found[id.src, id.dst] = range(first, number + 1)
        return found

    def allowed(self, rule: object, of: Callable[[], Sequence[bool]]) -> tuple[Bools, Bools]:
        """Which gateways a rule allows, and which links between these; ``of`` is asked once a rule."""
        if rule not in self._allowed:
            nodes = np.array(of(), dtype=np.bool_)
            self._allowed[rule] = (nodes, nodes[self.src] & nodes[self.dst])
        return self._allowed[rule]


def _key(graph: MeshGraph) -> _Key:
    nodes = [(node.id, node.role, node.region, node.provider, node.labels) for node in graph.nodes]
    return nodes, [link.id for link in graph.links]


class Arrays:
    """A ``MeshGraph`` by number.

    Args:
        graph: The snapshot.
        topology: That of an earlier snapshot, if it fits.
    """

    def __init__(self, graph: MeshGraph, topology: Topology | None = None) -> None:
        self.topology = topology or Topology(graph)
        self.nodes: list[Node] = self.topology.nodes_of(graph)
        self.links: list[PredictedLink] = self.topology.links_of(graph)
        self.number = self.topology.number
        self.load = Quantity.of([node.load for node in self.nodes], most=1.0)
        self._take(_Columns.of(self.links))

    def _take(self, columns: _Columns) -> None:
        self.rtt, self.loss, self.free = columns.rtt, columns.loss, columns.free
        self.price, self.jitter_ms = columns.price, columns.jitter_ms
        self.capacity_bps, self.queueing_ms = columns.capacity_bps, columns.queueing_ms
        self.rtt_error_ms = columns.rtt_error_ms
        self._sums: dict[tuple[tuple[str, ...], float], tuple[Ints, Bools | None]] = {}
        self._before: tuple[Arrays, Ints] | None = None

    def with_changes(self, changed: Mapping[int, PredictedLink]) -> Arrays:
        """The snapshot with other figures for some links, by number: columns are copied and not made anew.

        What was released before (``release``) stays so on all other links; on these it has to be done again.
        """
        numbers, links = np.array(list(changed), dtype=np.int64), list(changed.values())
        other, mine, few = copy(self), _Columns(*(getattr(self, name) for name in _COLUMNS)), _Columns.of(links)
        other.links = self.links.copy()
        for number, link in changed.items():
            other.links[number] = link
        for name in ("figures", "alive", "measured"):
            other.__dict__.pop(name, None)
        other._take(mine.patched(numbers, few))
        # Sums are made when first asked for; those of an earlier snapshot of an earlier one are not kept for that.
        self._before = None
        other._before = (self, numbers)
        return other

    def release(self, carried_bps: Mapping[int, float]) -> None:
        """Take what links carry for circuits that are to be planned anew for free, up to the links' capacities."""
        for link, bps in carried_bps.items():
            capacity = self.links[link].capacity_bps
            if bps and capacity is not None:
                for part in (self.free.median, self.free.pessimistic):
                    part[link] = part[link] if math.isnan(part[link]) else min(capacity, part[link] + bps)

    @cached_property
    def figures(self) -> Floats:
        """What a path's figures are made of, a row for each link, so that those of few are quickly together: median and
        pessimistic round trip, pessimistic loss, price."""
        columns = (self.rtt.median, self.rtt.pessimistic, self.loss.pessimistic, self.price)
        return np.ascontiguousarray(np.array(columns).T)

    @cached_property
    def sharing_risk(self) -> dict[str, list[int]]:
        """Gateways by risk group."""
        found: dict[str, list[int]] = {}
        for number, node in enumerate(self.nodes):
            for group in node.risk_groups:
                found.setdefault(group, []).append(number)
        return found

    @cached_property
    def alive(self) -> Bools:
        """Links that are not known to be dead."""
        return ~(self.loss.median >= DEAD)

    @cached_property
    def measured(self) -> Bools:
        """Links that have a round trip; and a loss, where any link has one."""
        rtt, loss = ~np.isnan(self.rtt.median), ~np.isnan(self.loss.median)
        return rtt & loss if loss.any() else rtt

    def summed(self, name: str, caution: float = 1.0, numbers: Ints | None = None) -> Ints:
        """What each link adds to the sum that a requirement is about; UNKNOWN if that is not known.

        Args:
            caution: 1 for pessimistic figures, 0 for medians, or so much of the way between.
            numbers: Of which links; None for all.
        """
        some = slice(None) if numbers is None else numbers
        if name == "maxLatency":
            return units_down(between(self.rtt, caution)[some], NS_PER_MS)
        if name == "maxLoss":
            with np.errstate(divide="ignore"):  # all is lost
                return units_down(-np.log1p(-between(self.loss, caution)[some]), LOSS_SCALE)
        return units_down(self.price[some], PRICE_SCALE) if name == "maxEgressPrice" else self.topology.ones[some]

    def sums(self, names: tuple[str, ...], caution: float = 1.0) -> tuple[Ints, Bools | None]:
        """``summed`` for several requirements, shape (names, links), what is unknown adding nothing; and by link
        whether all of it is known, None if everything is."""
        key = (names, caution)
        if key not in self._sums:
            self._sums[key] = self._summed_before(names, caution) or self._summed(names, caution)
        return self._sums[key]

    def _summed(self, names: tuple[str, ...], caution: float) -> tuple[Ints, Bools | None]:
        """``sums`` worked out; of several, out of what is known of each, which follows changes most of the time."""
        if len(names) < 2:
            return _all_known(self._rows(names, caution))
        parts = [self.sums((name,), caution) for name in names]
        known = [one for _, one in parts if one is not None]
        return np.concatenate([rows for rows, _ in parts]), np.logical_and.reduce(known) if known else None

    def _rows(self, names: tuple[str, ...], caution: float, numbers: Ints | None = None) -> Ints:
        """``summed`` for several requirements, of all links or of some."""
        rows = np.empty((len(names), len(self.links) if numbers is None else numbers.size), dtype=np.int64)
        for row, name in enumerate(names):
            rows[row] = self.summed(name, caution, numbers)
        return rows

    def _summed_before(self, names: tuple[str, ...], caution: float) -> tuple[Ints, Bools | None] | None:
        """What an earlier snapshot has, with what changed since."""
        if self._before is None:
            return None
        before, numbers = self._before
        rows, known = before._sums.get((names, caution), (None, None))
        if rows is None:
            return None
        few, all_known = _all_known(self._rows(names, caution, numbers))
        if known is not None or all_known is not None:
            return None  # rare, and whether all are known now takes a look at all
        rows = rows.copy()
        rows[:, numbers] = few
        return rows, None


def _all_known(rows: Ints) -> tuple[Ints, Bools | None]:
    known: Bools = np.all(rows >= 0, axis=0)
    return np.maximum(rows, 0), None if known.all() else known


@dataclass(frozen=True)
class _Columns:
    """Figures of links; NaN is unknown."""

    rtt: Quantity
    loss: Quantity
    free: Quantity
    price: Floats
    jitter_ms: Floats
    capacity_bps: Floats
    queueing_ms: Floats
    rtt_error_ms: Floats

    @classmethod
    def of(cls, links: Sequence[PredictedLink]) -> _Columns:
        def column(name: str) -> Floats:
            return np.array([*map(attrgetter(name), links)], dtype=np.float64)  # which takes None for NaN

        return cls(
            rtt=Quantity.of([link.rtt_ms for link in links]),
            loss=Quantity.of([link.loss for link in links], most=1.0),
            free=Quantity.of([link.free_bps for link in links], most=MOST_BPS),
            price=column("egress_price"),
            jitter_ms=column("jitter_ms"),
            capacity_bps=column("capacity_bps"),
            queueing_ms=column("queueing_ms"),
            rtt_error_ms=column("rtt_error_ms"),
        )

    def patched(self, numbers: Ints, few: _Columns) -> _Columns:
        """The same with other figures for some links."""
        return _Columns(
            rtt=self.rtt.patched(numbers, few.rtt),
            loss=self.loss.patched(numbers, few.loss),
            free=self.free.patched(numbers, few.free),
            price=patched(self.price, numbers, few.price),
            jitter_ms=patched(self.jitter_ms, numbers, few.jitter_ms),
            capacity_bps=patched(self.capacity_bps, numbers, few.capacity_bps),
            queueing_ms=patched(self.queueing_ms, numbers, few.queueing_ms),
            rtt_error_ms=patched(self.rtt_error_ms, numbers, few.rtt_error_ms),
        )


_COLUMNS = tuple(field.name for field in fields(_Columns))


def between(quantity: Quantity, caution: float) -> Floats:
    """Figures so much of the way from the median to the pessimistic one; both ends are exact."""
    if caution == 1.0:
        return quantity.pessimistic
    figures: Floats = quantity.median + caution * (quantity.pessimistic - quantity.median)
    return figures
