"""The same label setting as the planner's, written on NetworkX: what it is compared with. Frozen: it is not to be made
faster or slower.

Lower bounds come from NetworkX's Dijkstra on the reversed graph, links that may not be used being hidden by the weight
function; partial paths are Python tuples in a heap. Limits are left aside at first, and the first path that keeps all
of them is the answer, in the order of cost, links, ids. Groups of gateways to pass are not known here.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import networkx

from foremesh.routing.kernels import NEVER
from foremesh.routing.labels import Problem

SINK = -1
"""A gateway behind every destination, so that bounds to all of them come from one search."""


@dataclass
class Question:
    """A problem of the planner's in lists and dicts; making them is not counted."""

    usable: list[bool]
    link: list[int]
    exposure: int
    start: dict[int, int]
    end: dict[int, int]
    sums: list[tuple[list[int], list[int], list[int], int]]
    """By limit: what links add, what first and last gateways do, and the most that is allowed."""

    @classmethod
    def of(cls, problem: Problem) -> Question:
        def ends(costs: Sequence[int]) -> dict[int, int]:
            return {gateway: cost for gateway, cost in enumerate(costs) if cost != NEVER}

        rows = zip(problem.sum_link, problem.sum_start, problem.sum_end, problem.most.tolist(), strict=True)
        return cls(
            usable=[problem.admits(link) for link in range(problem.link.size)],
            link=problem.link.tolist(),
            exposure=problem.exposure,
            start=ends(problem.start.tolist()),
            end=ends(problem.end.tolist()),
            sums=[(link.tolist(), start.tolist(), end.tolist(), most) for link, start, end, most in rows],
        )


class Graph:
    """The mesh in NetworkX, forwards and backwards."""

    def __init__(self, problem: Problem) -> None:
        topology = problem.topology
        self.relays: list[bool] = topology.relays.tolist()
        self.ends = topology.ends
        self.forwards = networkx.MultiDiGraph()
        self.forwards.add_nodes_from(range(len(topology.ids)))
        for link, (src, dst) in enumerate(zip(topology.src.tolist(), topology.dst.tolist(), strict=True)):
            self.forwards.add_edge(src, dst, key=link)
        self.backwards = self.forwards.reverse()

    def best(self, asked: Question) -> tuple[int, tuple[int, ...]] | None:
        """Cost and steps (first gateway, then links) of the first path that keeps every limit; None without one."""
        bounds = [self._bounds(asked, asked.link, asked.end)]
        found = self._settle(asked, [], bounds)
        if found is None or self._keeps(asked, found[1]):
            return found
        for link, _, end, _ in asked.sums:
            bounds.append(self._bounds(asked, link, {gateway: end[gateway] for gateway in asked.end}))
        return self._settle(asked, asked.sums, bounds)

    def _bounds(self, asked: Question, link: list[int], end: dict[int, int]) -> dict[int, int]:
        usable, relays = asked.usable, self.relays

        def weight(src: int, dst: int, edges: dict[int, Any]) -> int | None:
            if src == SINK:
                return end[dst]
            if not relays[src] and src not in end:
                return None
            return min((link[key] for key in edges if usable[key]), default=None)

        self.backwards.add_edges_from((SINK, gateway) for gateway in end)
        found: dict[int, int] = networkx.single_source_dijkstra_path_length(self.backwards, SINK, weight=weight)
        self.backwards.remove_node(SINK)
        return found

    def _settle(self, asked: Question, limits: list[Any], bounds: list[dict[int, int]]) -> Any:
        turn, queue = count(), list[Any]()
        settled: dict[int, list[tuple[int, ...]]] = {}
        push: Callable[..., None] = heapq.heappush

        def fits(sums: tuple[int, ...], gateway: int) -> bool:
            rests = (bound.get(gateway, NEVER) for bound in bounds[1:])
            return all(own + rest <= limit[3] for own, rest, limit in zip(sums, rests, limits, strict=True))

        for gateway, cost in asked.start.items():
            sums = tuple(limit[1][gateway] for limit in limits)
            if gateway in bounds[0] and fits(sums, gateway):
                steps = (gateway,)
                push(queue, (cost + bounds[0][gateway], False, 1, steps, next(turn), cost, (gateway,), sums))
        while queue:
            _, complete, _, steps, _, cost, passed, sums = heapq.heappop(queue)
            if complete:
                return cost, steps
            gateway, hops = passed[-1], len(steps) - 1
            if hops:
                before = settled.setdefault(gateway, [])
                if any(all(map(int.__le__, other, sums)) for other in before):
                    continue
                before.append(sums)
            if gateway in asked.end:
                ending = zip(sums, limits, strict=True)
                if all(own + limit[2][gateway] <= limit[3] for own, limit in ending):
                    total = cost + asked.end[gateway]
                    push(queue, (total, True, len(steps), steps, next(turn), total, passed, sums))
            if hops and not self.relays[gateway]:
                continue
            base = cost + (asked.exposure if hops else 0)
            for _, onward, link in self.forwards.out_edges(gateway, keys=True):
                if not asked.usable[link] or onward in passed or onward not in bounds[0]:
                    continue
                more = tuple(own + limit[0][link] for own, limit in zip(sums, limits, strict=True))
                if fits(more, onward):
                    total = base + asked.link[link]
                    best = total + bounds[0][onward]
                    where = ((*steps, link), next(turn), total, (*passed, onward), more)
                    push(queue, (best, False, len(steps) + 1, *where))
        return None

    def _keeps(self, asked: Question, steps: tuple[int, ...]) -> bool:
        first, links = steps[0], steps[1:]
        last = self.ends[links[-1]] if links else first
        return all(
            start[first] + sum(link[one] for one in links) + end[last] <= most for link, start, end, most in asked.sums
        )
