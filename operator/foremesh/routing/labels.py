"""Exact search for the cheapest path that meets every requirement.

Label setting for the resource-constrained shortest path: partial paths leave a priority queue in the order of what
they can cost at best; one that cannot meet a limit even by the best rest of the way (reverse lower bounds, one per
resource) is dropped, and so is one that an earlier partial path to the same gateway beats in every resource. Nothing
is approximate. Bandwidth, regions and what is avoided hold per link and gateway, so they shrink the graph beforehand.
The search itself is in ``kernels``.

Runners-up follow by splitting off every deviation from the paths found so far (Lawler's form of Yen's method).

References: Desrochers and Soumis, "A generalized permanent labelling algorithm for the shortest path problem with time
windows", INFOR 26(3), 1988. Dumitrescu and Boland, "Improved preprocessing, labeling and scaling algorithms for the
weight-constrained shortest path problem", Networks 42(3), 2003. Lawler, Management Science 18(7), 1972.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from foremesh.routing import kernels
from foremesh.routing.arrays import Topology
from foremesh.routing.kernels import END, NEVER
from foremesh.routing.order import Order
from foremesh.routing.values import Bools, Ints


@dataclass(frozen=True, slots=True)
class Route:
    """A path by number: its first gateway, then its links; ordered by cost, then links, then ids."""

    cost: int
    steps: tuple[int, ...]
    """Number of the first gateway, then numbers of the links."""
    end: int

    @property
    def links(self) -> tuple[int, ...]:
        return self.steps[1:]

    @property
    def hops(self) -> int:
        return len(self.steps) - 1

    @property
    def key(self) -> tuple[int, int, tuple[int, ...]]:
        return (self.cost, len(self.steps), self.steps)


@dataclass(slots=True, eq=False)
class Problem:
    """What is left of an Ask once it is laid over a topology: a graph of usable links, an objective and limits.

    It holds until something is promised: prices and free bandwidth are those of the moment. Nobody changes it; it is
    not frozen, as making it would take three times as long.
    """

    topology: Topology
    usable: Bools
    free: Ints
    """What links have free, one more at the end for the link that is not there,"""
    least: tuple[int, int]
    """and what they must have, and those the other way; -1: nothing needs to be known of it."""
    link: Ints
    """The objective: what each link costs,"""
    start: Ints
    """what it costs to begin at a gateway, NEVER where a path may not,"""
    end: Ints
    """and what it costs to end there, likewise."""
    exposure: int
    """Added to the objective for each gateway strictly inside the path."""
    names: tuple[str, ...]
    """Of the limits, as in the Intent: sums along the path that must stay within ``most``."""
    sum_link: Ints
    """Shape (limits, links)."""
    sum_start: Ints
    """Shape (limits, gateways), as ``sum_end``; of no meaning where ``start`` is NEVER."""
    sum_end: Ints
    most: Ints
    groups: Ints
    """By gateway, as bits, the groups it belongs to of which the path must pass one gateway each."""
    group_count: int = 0
    order: Order | None = None
    """By what links cost at least, if that is known."""
    known: int = NEVER
    """Cost of a path that is known to solve it; NEVER if none is."""

    def minimising(self, name: str) -> Problem:
        """The same problem with one of its limits as the objective."""
        row = self.names.index(name)
        return self.with_objective(self.sum_link[row], self.sum_start[row], self.sum_end[row])

    def counting(self, per_gateway: Ints) -> Problem:
        """The same problem with a count over the path's gateways as the objective."""
        return self.with_objective(per_gateway[self.topology.dst], per_gateway, np.zeros_like(per_gateway))

    def with_objective(self, link: Ints, start: Ints, end: Ints) -> Problem:
        """The same problem with other costs; ends stay what they are."""
        return replace(
            self,
            link=np.ascontiguousarray(link),
            start=np.where(self.start == NEVER, NEVER, start),
            end=np.where(self.end == NEVER, NEVER, end),
            exposure=0,
            order=None,
            known=NEVER,
        )

    def limited(self, name: str, link: Ints, most: int) -> Problem:
        """The same problem with one more limit, to which ends add nothing."""
        nothing = np.zeros((1, self.start.size), dtype=np.int64)
        return replace(
            self,
            names=(*self.names, name),
            sum_link=np.vstack((self.sum_link, link)),
            sum_start=np.vstack((self.sum_start, nothing)),
            sum_end=np.vstack((self.sum_end, nothing)),
            most=np.append(self.most, most),
            known=NEVER,
        )

    def within(self, usable: Bools) -> Problem:
        """The same problem on fewer links."""
        return replace(self, usable=self.usable & usable, known=NEVER)

    def between(self, starts: Iterable[int], ends: Iterable[int]) -> Problem:
        """The same problem with fewer ends."""
        start, end = np.full_like(self.start, NEVER), np.full_like(self.end, NEVER)
        for some, before, after in ((list(starts), self.start, start), (list(ends), self.end, end)):
            after[some] = before[some]
        return replace(self, start=start, end=end, known=NEVER)

    def admits(self, link: int) -> bool:
        """Whether a path may use a link."""
        there, back = self.least
        back_free = self.free[self.topology.reverse[link]]
        return bool(self.usable[link] and self.free[link] >= there and (back < 0 or back_free >= back))

    def route(self, steps: Sequence[int]) -> Route | None:
        """A path, given by its steps, as an answer; None if it is none. It must not come to a gateway twice."""
        first, links, topology = steps[0], list(steps[1:]), self.topology
        inside = [topology.ends[link] for link in links]
        end = inside.pop() if inside else first
        if self.start[first] == NEVER or self.end[end] == NEVER:
            return None
        if not (all(map(self.admits, links)) and all(topology.relays[gateway] for gateway in inside)):
            return None
        if self.group_count and np.bitwise_or.reduce(self.groups[[first, *inside, end]]) + 1 != 1 << self.group_count:
            return None
        for row, most in enumerate(self.most.tolist()):
            total = self.sum_start[row, first] + self.sum_end[row, end]
            if total + sum(self.sum_link[row, links].tolist()) > most:
                return None
        cost = self.start[first] + self.end[end] + sum(self.link[links].tolist()) + self.exposure * len(inside)
        return Route(int(cost), (first, *links), end)


_NONE = np.empty(0, dtype=np.int64)


class Search:
    """Label setting on one problem, from any prefix of a path with any first steps ruled out."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        size, rows = problem.start.size, 1 + len(problem.names)
        shape = (rows, size << problem.group_count)
        self._starting, self._arriving = np.empty(shape, dtype=np.int64), np.empty(shape, dtype=np.int64)
        self._ready = np.zeros(rows, dtype=np.int64)
        self._guarded = np.ones(size, dtype=np.bool_) if problem.group_count == 0 else np.zeros(size, dtype=np.bool_)
        """Gateways that no path may come to twice."""

    def best(self, prefix: tuple[int, ...] = (), banned: frozenset[int] = frozenset()) -> Route | None:
        """The first path, by cost, links and ids, that begins with ``prefix`` and does not go on with a banned step
        (a source gateway after the empty prefix, else a link or END).

        Where the path has to pass certain gateways, the way there and the way on may want the same gateway between
        them. Keeping count of all gateways passed would make most partial paths incomparable, so only those are
        guarded that turned up twice in an answer, until the answer is simple (decremental state space relaxation:
        Righini and Salani, Networks 51(3), 2008).
        """
        problem, topology = self.problem, self.problem.topology
        begin = np.array(prefix, dtype=np.int64) if prefix else _NONE
        closed = np.array(sorted(banned), dtype=np.int64) if banned else _NONE
        known = NEVER if prefix or banned else problem.known
        while True:
            found = kernels.best(
                *(problem.order or topology.unordered),
                topology.into_src,
                topology.dst,
                topology.out_start,
                topology.into_start,
                topology.into,
                topology.reverse,
                topology.relays,
                problem.usable,
                problem.free,
                *problem.least,
                problem.groups,
                problem.group_count,
                problem.exposure,
                problem.link,
                problem.start,
                problem.end,
                problem.sum_link,
                problem.sum_start,
                problem.sum_end,
                problem.most,
                self._starting,
                self._arriving,
                self._ready,
                begin,
                closed,
                self._guarded,
                known,
            )
            if not found.size:
                return None
            cost, end, *steps = found.tolist()
            if problem.group_count:
                passed = [steps[0], *(topology.ends[link] for link in steps[1:])]
                twice = [gateway for gateway in passed if passed.count(gateway) > 1]
                if twice:
                    self._guarded[twice] = True
                    continue
            return Route(cost, tuple(steps), end)


def routes(problem: Problem) -> Iterator[Route]:
    """Every path that solves the problem, in the order of cost, links, ids; found as it is asked for."""
    search = Search(problem)
    several_ends = np.count_nonzero(problem.end != NEVER) > 1
    first = search.best()
    queue: list[tuple[tuple[int, int, tuple[int, ...]], Route, int, frozenset[int]]] = []
    if first is not None:
        queue.append((first.key, first, 0, frozenset()))
    while queue:
        _, route, deviated, banned = heapq.heappop(queue)
        yield route
        # The paths not yet seen that share this one's subspace, split by where they leave it. They go on beyond its end
        # only if there is another one to go to.
        for position in range(deviated, len(route.steps) + several_ends):
            step = route.steps[position] if position < len(route.steps) else END
            closed = frozenset((step,)) | (banned if position == deviated else frozenset())
            found = search.best(route.steps[:position], closed)
            if found is not None:
                heapq.heappush(queue, (found.key, found, position, closed))


def first_route(problem: Problem) -> Route | None:
    return Search(problem).best()
