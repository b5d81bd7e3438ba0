"""The mesh graph as sorted arrays of integers, built once per snapshot and shared by every search on it.

Sums along a path are made of integers so that they are exact in any order: a path that offers exactly what is asked
is accepted, bounds never contradict sums, and the answer does not depend on the order of the input.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from foremesh.model.link import Figure, LinkId, MeshGraph, Node, PredictedLink
from foremesh.model.resource import Role

NS_PER_MS = 10**6
"""Round-trip times are summed in nanoseconds: a thousandth of what a probe can tell."""
LOSS_SCALE = 10**12
"""Losses are summed as -ln(1 - loss) in units of 1e-12: multiplying shares of delivered packets is adding these."""
PRICE_SCALE = 10**9
"""Egress prices are summed in billionths of a US dollar per gigabyte."""
BPS_SCALE = 10**3
"""Bandwidths are compared in thousandths of a bit per second."""
TOTAL_LOSS = 1000 * LOSS_SCALE
"""Stands for a loss of 100 %, whose logarithm is infinite; exp(-1000) is 0 in double precision."""
NO_LIMIT = 10**30
"""Greater than any sum of the above."""


def down(value: float, scale: int) -> int:
    """What a link adds: rounded in the path's favour, as ``up`` is for limits, so that equal is never a miss."""
    return math.floor(value * scale)


def up(value: float, scale: int) -> int:
    """A limit: rounded in the path's favour."""
    return NO_LIMIT if math.isinf(value) else math.ceil(value * scale)


def log_loss(loss: float) -> float:
    """-ln(1 - loss), infinite for a loss of 1."""
    return math.inf if loss >= 1 else -math.log1p(-max(0.0, loss))


def figure(value: Figure | None, *, most: float = math.inf) -> Figure | None:
    """A figure within 0 and ``most``; one that is not finite is unknown. Forecasters extrapolate, quantities do not
    become negative."""
    if value is None or not (math.isfinite(value.median) and math.isfinite(value.pessimistic)):
        return None
    median, pessimistic = (min(most, max(0.0, part)) for part in (value.median, value.pessimistic))
    return Figure(median=median, pessimistic=pessimistic)


def link_key(link: LinkId) -> tuple[str, str, str]:
    """The order of links everywhere."""
    return (link.src, link.dst, link.underlay)


class Arrays:
    """A ``MeshGraph`` by number. Gateways and links are numbered in the order of their ids; links whose ends are not
    both gateways of the graph are left out.

    Args:
        graph: The snapshot.
        released_bps: What links carry for circuits that are to be planned anew; for planning it is free, up to the
            link's capacity.
    """

    def __init__(self, graph: MeshGraph, released_bps: Mapping[LinkId, float] | None = None) -> None:
        released = released_bps or {}
        self.nodes: list[Node] = sorted(graph.nodes, key=lambda node: node.id)
        self.number: dict[str, int] = {node.id: index for index, node in enumerate(self.nodes)}
        known = (link for link in graph.links if link.id.src in self.number and link.id.dst in self.number)
        self.links: list[PredictedLink] = sorted(known, key=lambda link: link_key(link.id))
        self.link_number: dict[LinkId, int] = {link.id: index for index, link in enumerate(self.links)}
        self.src = [self.number[link.id.src] for link in self.links]
        self.dst = [self.number[link.id.dst] for link in self.links]
        self.reverse = [self.link_number.get(link.id.reverse, -1) for link in self.links]
        self.out: list[list[int]] = [[] for _ in self.nodes]
        self.into: list[list[int]] = [[] for _ in self.nodes]
        for index in range(len(self.links)):
            self.out[self.src[index]].append(index)
            self.into[self.dst[index]].append(index)
        self.relays = [node.role is not Role.EDGE for node in self.nodes]

        self.rtt = [figure(link.rtt_ms) for link in self.links]
        self.loss = [figure(link.loss, most=1.0) for link in self.links]
        self.price = [link.egress_price for link in self.links]
        self.load = [figure(node.load, most=1.0) for node in self.nodes]
        self.free = [_free(link, released.get(link.id, 0.0)) for link in self.links]

        self.rtt_ns = [None if rtt is None else down(rtt.pessimistic, NS_PER_MS) for rtt in self.rtt]
        self.log_loss = [None if loss is None else _log_loss_units(loss.pessimistic) for loss in self.loss]
        self.price_units = [None if price is None else down(price, PRICE_SCALE) for price in self.price]


def _free(link: PredictedLink, released_bps: float) -> Figure | None:
    free = figure(link.free_bps)
    if free is None or not released_bps or link.capacity_bps is None:
        return free
    median, pessimistic = (min(link.capacity_bps, part + released_bps) for part in (free.median, free.pessimistic))
    return Figure(median=median, pessimistic=pessimistic)


def _log_loss_units(loss: float) -> int:
    value = log_loss(loss)
    return TOTAL_LOSS if math.isinf(value) else down(value, LOSS_SCALE)
