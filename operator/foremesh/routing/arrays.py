"""The mesh graph as sorted arrays, built once per snapshot and shared by every search on it.

Sums along a path are made of integers so that they are exact in any order: a path that offers exactly what is asked
is accepted, bounds never contradict sums, and the answer does not depend on the order of the input.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from foremesh.model.link import Figure, LinkId, MeshGraph, Node, PredictedLink
from foremesh.model.resource import Role
from foremesh.model.series import Floats
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

    @cached_property
    def medians(self) -> list[float]:
        """``median`` for those who want one at a time, which arrays are slow at."""
        listed: list[float] = self.median.tolist()
        return listed

    @cached_property
    def pessimistics(self) -> list[float]:
        listed: list[float] = self.pessimistic.tolist()
        return listed

    @classmethod
    def of(cls, figures: Sequence[Figure | None], most: float = math.inf) -> Quantity:
        pairs = [(math.nan, math.nan) if one is None else (one.median, one.pessimistic) for one in figures]
        values = np.array(pairs, dtype=np.float64).reshape(-1, 2).T
        values = np.where(np.isfinite(values).all(axis=0), np.clip(values, 0.0, most), math.nan)
        return cls(values[0], values[1])


_Key = tuple[list[tuple[str, Role, str, str]], list[LinkId]]


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
        self._links = sorted(known, key=lambda index: link_key(links[index].id))
        self.link_ids = [links[index].id for index in self._links]
        self.src = np.array([self.number[id.src] for id in self.link_ids], dtype=np.int64)
        self.dst = np.array([self.number[id.dst] for id in self.link_ids], dtype=np.int64)
        self.ends: list[int] = self.dst.tolist()
        """``dst`` for those who want one at a time, which arrays are slow at."""
        size, count = len(nodes), len(self.link_ids)
        self.relays: Bools = np.array([nodes[index].role is not Role.EDGE for index in self._nodes], dtype=np.bool_)
        self.out_start = np.searchsorted(self.src, np.arange(size + 1))
        self.into = np.argsort(self.dst, kind="stable")
        self.into_start = np.searchsorted(self.dst[self.into], np.arange(size + 1))
        underlays = {name: code for code, name in enumerate(sorted({id.underlay for id in self.link_ids}))}
        under = np.array([underlays[id.underlay] for id in self.link_ids], dtype=np.int64)
        pair, back_pair = self.src * size + self.dst, self.dst * size + self.src
        there, back = pair * len(underlays) + under, back_pair * len(underlays) + under
        found = np.minimum(np.searchsorted(there, back), max(0, count - 1))
        self.reverse: Ints = np.where(there[found] == back, found, UNKNOWN) if count else np.empty(0, dtype=np.int64)
        self.no_groups = np.zeros(size, dtype=np.int64)
        self.ones = np.ones(count, dtype=np.int64)
        self._allowed: dict[object, tuple[Bools, Bools]] = {}

    def fits(self, graph: MeshGraph) -> bool:
        """Whether a snapshot has these gateways and links, told in the same order."""
        return self._key == _key(graph)

    def nodes_of(self, graph: MeshGraph) -> list[Node]:
        return [graph.nodes[index] for index in self._nodes]

    def links_of(self, graph: MeshGraph) -> list[PredictedLink]:
        return [graph.links[index] for index in self._links]

    @cached_property
    def link_number(self) -> dict[LinkId, int]:
        return {id: number for number, id in enumerate(self.link_ids)}

    def over(self, src: str, dst: str) -> range:
        """The links from one gateway to another, over whichever underlay."""
        return self._over.get((src, dst), range(0))

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
    nodes = [(node.id, node.role, node.region, node.provider) for node in graph.nodes]
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
        self.rtt = Quantity.of([link.rtt_ms for link in self.links])
        self.loss = Quantity.of([link.loss for link in self.links], most=1.0)
        self.free = Quantity.of([link.free_bps for link in self.links], most=MOST_BPS)
        self.load = Quantity.of([node.load for node in self.nodes], most=1.0)
        self.prices = [math.nan if link.egress_price is None else link.egress_price for link in self.links]
        self.price = np.array(self.prices, dtype=np.float64)
        self._sums: dict[tuple[tuple[str, ...], float], tuple[Ints, Bools | None]] = {}

    def release(self, carried_bps: Mapping[int, float]) -> None:
        """Take what links carry for circuits that are to be planned anew for free, up to the links' capacities."""
        for link, bps in carried_bps.items():
            capacity = self.links[link].capacity_bps
            if bps and capacity is not None:
                for part in (self.free.median, self.free.pessimistic):
                    part[link] = part[link] if math.isnan(part[link]) else min(capacity, part[link] + bps)

    @cached_property
    def alive(self) -> Bools:
        """Links that are not known to be dead."""
        return ~(self.loss.median >= DEAD)

    @cached_property
    def measured(self) -> Bools:
        """Links that have a round trip; and a loss, where any link has one."""
        rtt, loss = ~np.isnan(self.rtt.median), ~np.isnan(self.loss.median)
        return rtt & loss if loss.any() else rtt

    def summed(self, name: str, caution: float = 1.0) -> Ints:
        """What each link adds to the sum that a requirement is about; UNKNOWN if that is not known.

        Args:
            caution: 1 for pessimistic figures, 0 for medians, or so much of the way between.
        """
        if name == "maxLatency":
            return units_down(between(self.rtt, caution), NS_PER_MS)
        if name == "maxLoss":
            with np.errstate(divide="ignore"):  # all is lost
                return units_down(-np.log1p(-between(self.loss, caution)), LOSS_SCALE)
        return units_down(self.price, PRICE_SCALE) if name == "maxEgressPrice" else self.topology.ones

    def sums(self, names: tuple[str, ...], caution: float = 1.0) -> tuple[Ints, Bools | None]:
        """``summed`` for several requirements, shape (names, links), what is unknown adding nothing; and by link
        whether all of it is known, None if everything is."""
        key = (names, caution)
        if key not in self._sums:
            rows = np.empty((len(names), len(self.links)), dtype=np.int64)
            for row, name in enumerate(names):
                rows[row] = self.summed(name, caution)
            known: Bools = np.all(rows >= 0, axis=0)
            self._sums[key] = (np.maximum(rows, 0), None if known.all() else known)
        return self._sums[key]


def between(quantity: Quantity, caution: float) -> Floats:
    """Figures so much of the way from the median to the pessimistic one; both ends are exact."""
    if caution == 1.0:
        return quantity.pessimistic
    figures: Floats = quantity.median + caution * (quantity.pessimistic - quantity.median)
    return figures
