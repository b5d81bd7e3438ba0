"""Where a circuit falls over to: the path between the same two gateways that shares the least with the one in use.

Bandwidth is kept for standbys where there is any, once for all circuits that cannot fail together (``reserve``). It is
what placing leaves: nobody is refused for the sake of somebody's standby, and those of higher priority choose first.

A path on which the circuit already has a label stays the standby while none shares less, or is much better: a change
of it costs every gateway on the way a config.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np

from foremesh.model.circuit import LabelAllocation, LabelState
from foremesh.model.intent import Requirements
from foremesh.model.link import LinkId
from foremesh.routing.arrays import Arrays, Topology
from foremesh.routing.ask import Ask
from foremesh.routing.demand import Option
from foremesh.routing.jobs import Job, Pair
from foremesh.routing.kernels import NEVER
from foremesh.routing.labels import Problem, Route, first_route
from foremesh.routing.needs import BOTTLENECKS, without
from foremesh.routing.placing import Placing
from foremesh.routing.reserve import Reserve
from foremesh.routing.sharing import asked_together
from foremesh.routing.values import Bools, Ints

SHARED = "shared"
"""Name of the limit on what a standby may share, beside those that come from requirements."""


STAYS = 1.25
"""A standby stays up to this many times the cost of the best that shares as little. Forecasts of a path differ by less
from plan to plan; above it, traffic would spend the minutes after a fail-over on a way that is needlessly bad."""


Key = tuple[str, Pair]


@dataclass(frozen=True, slots=True)
class Kept:
    """What was found for one circuit to fall over to, and what that hung on."""

    path: Route
    """What it is for."""
    route: Route | None = None
    asked: tuple[int, int] | None = None
    """The bandwidth each way that is kept for it; None if there is no room, or none was asked for."""
    ask: Ask | None = None
    """All that is asked of it; None if nothing keeps that."""
    most: int = NEVER
    """What another path over links that became better has to cost at least so that it makes no difference; NEVER if any
    may make one."""
    seen: tuple[int, ...] = ()
    """Links that it was chosen by."""


def stand_by(placing: Placing) -> dict[Key, Kept]:
    """Give every circuit of a plan its standby, one for all that share it.

    It meets the requirements of all of them, as long as any other path does, on what is left if they give up the path
    they have, and if what fails that path fails others too. Bandwidth is let go of before the other figures are: a
    standby without room is better than none. Links known to be dead are passed over while there are others. Of what
    would do about equally, the standby on record stays, or else the path that is left; then the cheapest is taken.

    Returns:
        What was found, in the order of turns.
    """
    reserve, found = Reserve(placing.router.arrays.topology, placing.router.arrays.nodes), dict[Key, Kept]()
    circuits = sorted(
        placing.sharing.items(), key=lambda item: -max(job.demand.intent.spec.priority for job in item[1])
    )
    for key, members in circuits:
        route = members[0].route
        if route is not None and route.hops:
            found[key] = kept = stand_by_for(placing, key, members, reserve)
            keep(kept, reserve, placing.router.arrays.topology.reverse)
    return found


def stand_by_for(placing: Placing, key: Key, members: Sequence[Job], reserve: Reserve) -> Kept:
    """Give one circuit its standby."""
    route = members[0].route
    assert route is not None
    for member in members:
        placing.promise(member, -1)
    kept = _standby(placing, key[1], members, route, reserve)
    for member in members:
        if kept.route is not None and member.ask is not None:
            member.standby = placing.router.path(kept.route, member.ask, placing.router.prices(member.ask))
            member.standby_reserved = kept.asked is not None
    for member in members:
        placing.promise(member, +1)
    return kept


def keep(kept: Kept, reserve: Reserve, reverse: Ints) -> None:
    """Keep the bandwidth of a standby for when the path fails."""
    if loads := reserved_for(kept, reverse):
        reserve.keep(reserve.failures(kept.path), loads)


def reserved_for(kept: Kept, reverse: Ints) -> dict[int, int]:
    """By link, what a standby takes of it beyond what the path does."""
    if kept.route is None or kept.asked is None:
        return {}
    own = _loads(kept.path, kept.asked, reverse)
    more = ((link, units - own.get(link, 0)) for link, units in _loads(kept.route, kept.asked, reverse).items())
    return {link: units for link, units in more if units > 0}


def _loads(route: Route, asked: tuple[int, int], reverse: Ints) -> dict[int, int]:
    """By link, what a path takes of it."""
    loads: dict[int, int] = {}
    for link in route.links:
        for one, units in zip((link, int(reverse[link])), asked, strict=True):
            if units > 0 and one >= 0:
                loads[one] = loads.get(one, 0) + units
    return loads


def _standby(placing: Placing, pair: Pair, members: Sequence[Job], route: Route, reserve: Reserve) -> Kept:
    """The standby, if there is any path but the one in use."""
    router = placing.router
    alive = router.arrays.alive
    options = [(member, member.option) for member in members if member.option]
    strict = asked_together(pair, options)
    loose = asked_together(pair, [(member, _sets_alone(option)) for member, option in options])
    slow = None if strict is None else without(strict, BOTTLENECKS)
    sharing = Sharing(route, router.arrays)
    there = _programmed(members, route, router.arrays.topology)
    room = reserve.left(router.ledger.free_units, reserve.failures(route))
    for ask, living, holds in ((strict, True, True), (slow, True, False), (loose, True, False), (loose, False, False)):
        if ask is None or (ask is slow and ask == strict):
            continue
        problem = router.frame(ask, router.prices(ask))
        problem = problem.within(alive) if living else problem
        problem = replace(problem, free=room) if holds else problem
        found = most_disjoint(problem, route, sharing)
        if found is not None:
            answers = [one for one in map(problem.route, there) if one is not None]
            least = sharing.count(found)
            good = (one for one in answers if sharing.count(one) <= least)
            chosen = next((one for one in good if one.cost <= STAYS * found.cost), found)
            seen = {link for steps in (found.steps, *there) for link in steps[1:]}
            asked = problem.least if holds and max(problem.least) > 0 else None
            most = found.cost if ask is strict and not least else NEVER
            return Kept(route, chosen, asked, strict, most, tuple(seen))
    return Kept(route)


def _programmed(members: Sequence[Job], route: Route, topology: Topology) -> list[tuple[int, ...]]:
    """The paths on which a circuit has labels, but the chosen one: that of its standby, the one being set
    up, the one in use."""
    labels = [label for member in members if member.circuit for label in member.circuit.status.labels]
    found = []
    for state in (LabelState.STANDBY, LabelState.STAGING, LabelState.ACTIVE):
        for label in labels:
            steps = _steps(label, topology) if label.state is state else None
            if steps is not None and steps != route.steps:
                found.append(steps)
    ends = (route.steps[0], route.end)
    return [one for one in dict.fromkeys(found) if (one[0], topology.ends[one[-1]]) == ends]


def _steps(label: LabelAllocation, topology: Topology) -> tuple[int, ...] | None:
    """A label's path by number, as ``Route.steps``; None if the snapshot lacks a part of it."""
    if label.path[0] not in topology.number or len(label.path) < 2:
        return None
    steps = [topology.number[label.path[0]]]
    underlays = label.underlays or ("",) * (len(label.path) - 1)
    for (src, dst), underlay in zip(pairwise(label.path), underlays, strict=True):
        named = topology.link_number.get(LinkId(src=src, dst=dst, underlay=underlay))
        link = named if underlay else next(iter(topology.over(src, dst)), None)
        if link is None:
            return None
        steps.append(link)
    return tuple(steps)


def _sets_alone(option: Option) -> Option:
    """An option without the requirements that are figures."""
    needs = option.effective.requirements
    sets = Requirements(encryption=needs.encryption, regions=needs.regions, avoid=needs.avoid)
    return replace(option, effective=replace(option.effective, requirements=sets))


class Sharing:
    """What paths have in common with another one, counted so that one number orders them: shared gateways come first,
    then shared links (over the same underlay, in either direction), then gateways that share a risk group with one
    inside the other path. The two ends count nothing: every path has them."""

    def __init__(self, route: Route, arrays: Arrays) -> None:
        topology, nodes, links = arrays.topology, arrays.nodes, list(route.links)
        inside = topology.dst[links[:-1]]
        self._dst = topology.dst
        self._passed, self._fate = np.zeros((2, len(nodes)), dtype=np.bool_)
        self._passed[inside] = True
        for group in {group for gateway in inside for group in nodes[gateway].risk_groups}:
            self._fate[arrays.sharing_risk[group]] = True
        self._fate[[route.steps[0], route.end]] = False
        back = topology.reverse[links]
        self._taken = [*links, *back[back >= 0].tolist()]
        near = self._passed | self._fate
        self.clear: Bools = ~(near[topology.src] | near[topology.dst])
        """Links that share nothing, nor lead to what does."""
        self.clear[self._taken] = False

    @cached_property
    def link(self) -> Ints:
        """What each link adds to the count."""
        # No count exceeds the number of gateways, so one number orders all three.
        above = self._passed.size + 1
        weights: Ints = (self._passed * above**2 + self._fate)[self._dst]
        weights[self._taken] += above
        return weights

    def count(self, route: Route) -> int:
        return int(self.link[list(route.links)].sum())


def most_disjoint(problem: Problem, route: Route, sharing: Sharing) -> Route | None:
    """The path that shares the least with another one between the same gateways, then the cheapest.

    Returns:
        None if there is no path but the other one.
    """
    clear = first_route(problem.within(sharing.clear))
    if clear is not None:
        return clear
    nothing = np.zeros(problem.start.size, dtype=np.int64)
    least = first_route(problem.with_objective(sharing.link, nothing, nothing))
    if least is None:
        return None
    found = first_route(problem.limited(SHARED, sharing.link, least.cost))
    return None if found is None or found.steps == route.steps else found
