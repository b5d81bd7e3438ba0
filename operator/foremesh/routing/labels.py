"""Exact search for the cheapest path that meets every requirement.

Label setting for the resource-constrained shortest path: partial paths leave a priority queue in the order of what
they can cost at best; one that cannot meet a limit even by the best rest of the way (reverse lower bounds, one per
resource) is dropped, and so is one that an earlier partial path to the same gateway beats in every resource. Nothing
is approximate. Bandwidth, regions and what is avoided hold per link and gateway, so they shrink the graph beforehand.

Runners-up follow by splitting off every deviation from the paths found so far (Lawler's form of Yen's method).

References: Desrochers and Soumis, "A generalized permanent labelling algorithm for the shortest path problem with time
windows", INFOR 26(3), 1988. Dumitrescu and Boland, "Improved preprocessing, labeling and scaling algorithms for the
weight-constrained shortest path problem", Networks 42(3), 2003. Lawler, Management Science 18(7), 1972.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from foremesh.routing.arrays import Arrays

END = -1
"""The step that ends a path, where a link's number would stand for going on."""


@dataclass(frozen=True, slots=True)
class Limit:
    """A sum along the path that must stay within ``most``."""

    link: Sequence[int]
    start: Mapping[int, int]
    end: Mapping[int, int]
    most: int


@dataclass(frozen=True, slots=True)
class Route:
    """A path by number: its first gateway, then its links; ordered by cost, then links, then ids."""

    cost: int
    hops: int
    steps: tuple[int, ...]
    """Number of the first gateway, then numbers of the links."""
    end: int

    @property
    def links(self) -> tuple[int, ...]:
        return self.steps[1:]

    @property
    def key(self) -> tuple[int, int, tuple[int, ...]]:
        return (self.cost, self.hops, self.steps)


@dataclass(frozen=True, slots=True)
class Problem:
    """What is left of an Ask once it is laid over the arrays: a graph of usable links, an objective and limits."""

    arrays: Arrays
    usable: Sequence[bool]
    objective: Limit
    exposure: int
    """Added to the objective for each gateway strictly inside the path."""
    limits: Mapping[str, Limit]
    """By the requirement's name in the Intent."""
    groups: Sequence[int]
    """By gateway, as bits, the groups it belongs to of which the path must pass one gateway each."""
    group_count: int = 0

    def minimising(self, name: str) -> Problem:
        """The same problem with one of its limits as the objective."""
        return replace(self, objective=self.limits[name], exposure=0)


class _Bound:
    """The least of a sum from each state to any destination. A state is a gateway and the groups passed so far, its own
    among them: ``gateway << group_count | passed``."""

    __slots__ = ("arriving", "starting")

    def __init__(self, problem: Problem, limit: Limit) -> None:
        arrays, ends, shift = problem.arrays, problem.objective.end, problem.group_count
        all_groups = (1 << shift) - 1
        self.starting: list[int | None] = [None] * (len(arrays.nodes) << shift)
        """At a gateway where the path begins."""
        self.arriving: list[int | None] = list(self.starting)
        """At a gateway that the path has come to: one that does not relay can only end it."""
        queue = [(limit.end[gateway], gateway << shift | all_groups) for gateway in ends]
        heapq.heapify(queue)
        while queue:
            rest, state = heapq.heappop(queue)
            if self.starting[state] is not None:
                continue
            self.starting[state] = rest
            gateway, passed = state >> shift, state & all_groups
            if arrays.relays[gateway]:
                carried = rest
            elif gateway in ends and passed == all_groups:
                carried = limit.end[gateway]
            else:
                continue
            self.arriving[state] = carried
            before = _without_some(passed, problem.groups[gateway])
            for link in arrays.into[gateway]:
                if problem.usable[link]:
                    source, total = arrays.src[link], carried + limit.link[link]
                    for earlier in before:
                        if self.starting[source << shift | earlier] is None:
                            heapq.heappush(queue, (total, source << shift | earlier))


def _without_some(passed: int, here: int) -> list[int]:
    """What may have been passed before a gateway of the groups ``here``, if after it it is ``passed``."""
    if here & ~passed:
        return []
    before, some = [passed], here
    while some:
        before.append(passed & ~some)
        some = (some - 1) & here
    return before


class _Label:
    """A partial path: where it is, what it has summed up."""

    __slots__ = ("cost", "gateway", "state", "sums", "visited")

    def __init__(self, gateway: int, state: int, cost: int, sums: tuple[int, ...], visited: int) -> None:
        self.gateway = gateway
        self.state = state
        """As in ``_Bound``."""
        self.cost = cost
        self.sums = sums
        self.visited = visited
        """Gateways on the path, as bits."""


_Queue = list[tuple[int, bool, int, tuple[int, ...], _Label]]
"""Paths by (cost at best, complete, links, ids): a complete path comes after partial ones of the same cost, so that a
tie is only decided once every path that shares it is complete."""


class _Search:
    """Label setting on one problem, from any prefix of a path with any first steps ruled out."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.limits = list(problem.limits.values())
        self.bound = _Bound(problem, problem.objective)
        self.bounds = [_Bound(problem, limit) for limit in self.limits]
        self.guarded = 0 if problem.group_count else -1
        """Gateways, as bits, that no partial path may come to twice."""

    def best(self, prefix: tuple[int, ...] = (), banned: frozenset[int] = frozenset()) -> Route | None:
        """The first path, by cost, links and ids, that begins with ``prefix`` and does not go on with a banned step
        (a source gateway after the empty prefix, else a link or END).

        Where the path has to pass certain gateways, the way there and the way on may want the same gateway between
        them. Keeping count of all gateways passed would make most partial paths incomparable, so only those are
        guarded that turned up twice in an answer, until the answer is simple (decremental state space relaxation:
        Righini and Salani, Networks 51(3), 2008).
        """
        while True:
            route = self._best(prefix, banned)
            if route is None:
                return None
            twice = self._passed_twice(route)
            if not twice:
                return route
            self.guarded |= twice

    def _passed_twice(self, route: Route) -> int:
        once, twice = 1 << route.steps[0], 0
        for link in route.links:
            bit = 1 << self.problem.arrays.dst[link]
            twice |= once & bit
            once |= bit
        return twice

    def _best(self, prefix: tuple[int, ...], banned: frozenset[int]) -> Route | None:
        queue: _Queue = []
        for steps in [prefix] if prefix else [(gateway,) for gateway in self.problem.objective.start]:
            label, arriving = self._walk(steps), len(steps) > 1
            rest = (self.bound.arriving if arriving else self.bound.starting)[label.state]
            if rest is not None and self._within(label, arriving) and (prefix or label.gateway not in banned):
                queue.append((label.cost + rest, False, len(steps) - 1, steps, label))
        heapq.heapify(queue)
        guarded = self.guarded | (self._walk(prefix).visited if prefix else 0)
        settled: dict[int, list[_Label]] = {}
        while queue:
            _, complete, hops, steps, label = heapq.heappop(queue)
            if complete:
                return Route(label.cost, hops, steps, label.gateway)
            if hops and steps != prefix:
                kept = settled.setdefault(label.state, [])
                if any(self._dominates(other, label, guarded) for other in kept):
                    continue
                kept.append(label)
            self._extend(queue, hops, steps, label, banned if steps == prefix else frozenset(), guarded)
        return None

    def _dominates(self, one: _Label, other: _Label, guarded: int) -> bool:
        """Whether a label that left the queue earlier, in the same state, makes another superfluous: whatever the other
        goes on to, the one can too, at no more of anything. Where no gateway has to be passed, gateways that the one
        has been to do not matter: if the other's way crosses them, cutting out the loop is no worse."""
        if self.problem.group_count and one.visited & ~other.visited & guarded:
            return False
        return all(a <= b for a, b in zip(one.sums, other.sums, strict=True))

    def _extend(
        self,
        queue: _Queue,
        hops: int,
        steps: tuple[int, ...],
        label: _Label,
        banned: frozenset[int],
        guarded: int,
    ) -> None:
        problem, arrays, gateway, shift = self.problem, self.problem.arrays, label.gateway, self.problem.group_count
        passed = label.state & ((1 << shift) - 1)
        if gateway in problem.objective.end and END not in banned and passed + 1 == 1 << shift:
            sums = tuple(s + limit.end[gateway] for s, limit in zip(label.sums, self.limits, strict=True))
            if all(s <= limit.most for s, limit in zip(sums, self.limits, strict=True)):
                cost = label.cost + problem.objective.end[gateway]
                done = _Label(gateway, label.state, cost, sums, label.visited)
                heapq.heappush(queue, (cost, True, hops, steps, done))
        if hops and not arrays.relays[gateway]:
            return
        base = label.cost + (problem.exposure if hops else 0)
        closed = label.visited & guarded
        for link in arrays.out[gateway]:
            onward = arrays.dst[link]
            state = onward << shift | passed | problem.groups[onward]
            rest = self.bound.arriving[state]
            if rest is None or not problem.usable[link] or link in banned or closed >> onward & 1:
                continue
            sums = tuple(s + limit.link[link] for s, limit in zip(label.sums, self.limits, strict=True))
            cost = base + problem.objective.link[link]
            extended = _Label(onward, state, cost, sums, label.visited | 1 << onward)
            if self._within(extended, arriving=True):
                heapq.heappush(queue, (cost + rest, False, hops + 1, (*steps, link), extended))

    def _within(self, label: _Label, arriving: bool) -> bool:
        """Whether the best rest of the way keeps every limit."""
        for total, limit, bound in zip(label.sums, self.limits, self.bounds, strict=True):
            rest = (bound.arriving if arriving else bound.starting)[label.state]
            if rest is None or total + rest > limit.most:
                return False
        return True

    def _walk(self, steps: tuple[int, ...]) -> _Label:
        """The label of a path known to be allowed."""
        problem, arrays, first = self.problem, self.problem.arrays, steps[0]
        cost = problem.objective.start[first] + problem.exposure * max(0, len(steps) - 2)
        sums = [limit.start[first] for limit in self.limits]
        gateway, visited, passed = first, 1 << first, problem.groups[first]
        for link in steps[1:]:
            cost += problem.objective.link[link]
            sums = [s + limit.link[link] for s, limit in zip(sums, self.limits, strict=True)]
            gateway = arrays.dst[link]
            visited |= 1 << gateway
            passed |= problem.groups[gateway]
        return _Label(gateway, gateway << problem.group_count | passed, cost, tuple(sums), visited)


def routes(problem: Problem) -> Iterator[Route]:
    """Every path that solves the problem, in the order of cost, links, ids; found as it is asked for."""
    search = _Search(problem)
    first = search.best()
    queue: list[tuple[tuple[int, int, tuple[int, ...]], Route, int, frozenset[int]]] = []
    if first is not None:
        queue.append((first.key, first, 0, frozenset()))
    while queue:
        _, route, deviated, banned = heapq.heappop(queue)
        yield route
        # The paths not yet seen that share this one's subspace, split by where they leave it.
        for position in range(deviated, len(route.steps) + 1):
            step = route.steps[position] if position < len(route.steps) else END
            closed = frozenset((step,)) | (banned if position == deviated else frozenset())
            found = search.best(route.steps[:position], closed)
            if found is not None:
                heapq.heappush(queue, (found.key, found, position, closed))
