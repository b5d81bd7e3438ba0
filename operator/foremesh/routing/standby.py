"""Where a circuit falls over to: the path between the same two gateways that shares the least with the one in use.

A path on which the circuit already has a label stays the standby while none shares less, or is much better: a change
of it costs every gateway on the way a config.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from foremesh.model.circuit import LabelAllocation, LabelState
from foremesh.model.intent import Requirements
from foremesh.model.link import LinkId, Node
from foremesh.routing.arrays import Topology
from foremesh.routing.ask import Ask
from foremesh.routing.demand import Option
from foremesh.routing.jobs import Job, Pair
from foremesh.routing.labels import Problem, Route, first_route
from foremesh.routing.placing import Placing
from foremesh.routing.values import Bools, Ints

SHARED = "shared"
"""Name of the limit on what a standby may share, beside those that come from requirements."""


STAYS = 1.25
"""A standby stays up to this many times the cost of the best that shares as little. Forecasts of a path differ by less
from plan to plan; above it, traffic would spend the minutes after a fail-over on a way that is needlessly bad."""


def stand_by(placing: Placing) -> None:
    """Give every circuit of a plan its standby, one for all that share it.

    It meets the requirements of all of them, on what is left if they give up the path they have, as long as any other
    path does; else only those on its gateways. Links known to be dead are passed over while there are others. Of what
    would do about equally, the standby on record stays, or else the path that is left; then the cheapest is taken.
    """
    for (_, pair), members in placing.sharing.items():
        route = members[0].route
        if route is None or not route.hops:
            continue
        for member in members:
            placing.promise(member, -1)
        found = _standby(placing, pair, members, route)
        for member in members if found else ():
            if found is not None and member.ask is not None:
                member.standby = placing.router.path(found, member.ask, placing.router.prices(member.ask))
        for member in members:
            placing.promise(member, +1)


def _standby(placing: Placing, pair: Pair, members: Sequence[Job], route: Route) -> Route | None:
    router = placing.router
    nodes, alive = router.arrays.nodes, router.arrays.alive
    options = [(member, member.option) for member in members if member.option]
    strict = placing.together(pair, options)
    loose = placing.together(pair, [(member, _sets_alone(option)) for member, option in options])
    attempts: tuple[tuple[Ask | None, bool], ...] = ((strict, True), (loose, True), (loose, False))
    sharing = Sharing.with_route(route, router.arrays.topology, nodes)
    there = _programmed(members, route, router.arrays.topology)
    for ask, living in attempts:
        if ask is None:
            continue
        problem = router.frame(ask, router.prices(ask))
        problem = problem.within(alive) if living else problem
        found = most_disjoint(problem, route, nodes)
        if found is not None:
            answers = (problem.route(steps) for steps in there)
            least = sharing.count(found)
            good = (one for one in answers if one is not None and sharing.count(one) <= least)
            return next((one for one in good if one.cost <= STAYS * found.cost), found)
    return None


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


@dataclass(frozen=True, slots=True)
class Sharing:
    """What paths have in common with another one, counted so that one number orders them: shared gateways come first,
    then shared links (over the same underlay, in either direction), then gateways that share a risk group with one
    inside the other path. The two ends count nothing: every path has them."""

    clear: Bools
    """Links that share nothing, nor lead to what does."""
    link: Ints
    """What each link adds to the count."""

    @classmethod
    def with_route(cls, route: Route, topology: Topology, nodes: Sequence[Node]) -> Sharing:
        links = list(route.links)
        inside = topology.dst[links[:-1]]
        groups = {group for gateway in inside for group in nodes[gateway].risk_groups}
        passed = np.zeros(len(nodes), dtype=np.bool_)
        passed[inside] = True
        fate = np.array([not groups.isdisjoint(node.risk_groups) for node in nodes], dtype=np.bool_)
        fate[[route.steps[0], route.end]] = False
        taken = np.zeros(topology.src.size, dtype=np.bool_)
        back = topology.reverse[links]
        taken[links] = True
        taken[back[back >= 0]] = True
        near = passed | fate
        # No count exceeds the number of gateways, so one number orders all three.
        above = len(nodes) + 1
        weights = (passed * above**2 + fate)[topology.dst] + taken * above
        return cls(clear=~(taken | near[topology.src] | near[topology.dst]), link=weights)

    def count(self, route: Route) -> int:
        return int(self.link[list(route.links)].sum())


def most_disjoint(problem: Problem, route: Route, nodes: Sequence[Node]) -> Route | None:
    """The path that shares the least with another one between the same gateways (see ``Sharing``), then the cheapest.

    Returns:
        None if there is no path but the other one.
    """
    sharing = Sharing.with_route(route, problem.topology, nodes)
    clear = first_route(problem.within(sharing.clear))
    if clear is not None:
        return clear
    nothing = np.zeros(len(nodes), dtype=np.int64)
    least = first_route(problem.with_objective(sharing.link, nothing, nothing))
    if least is None:
        return None
    found = first_route(problem.limited(SHARED, sharing.link, least.cost))
    return None if found is None or found.steps == route.steps else found
