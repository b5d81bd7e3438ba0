"""Where a circuit falls over to: the path between the same two gateways that shares the least with the one in use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from foremesh.model.intent import Requirements
from foremesh.model.link import Node
from foremesh.routing.ask import Ask
from foremesh.routing.demand import Option
from foremesh.routing.jobs import Job, Pair
from foremesh.routing.labels import Problem, Route, first_route
from foremesh.routing.placing import Placing

SHARED = "shared"
"""Name of the limit on what a standby may share, beside those that come from requirements."""


def stand_by(placing: Placing) -> None:
    """Give every circuit of a plan its standby, one for all that share it.

    It meets the requirements of all of them, on what is left if they give up the path they have, as long as any other
    path does; else only those on its gateways. Links known to be dead are passed over while there are others.
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
    for ask, living in attempts:
        if ask is not None:
            problem = router.frame(ask, router.prices(ask))
            found = most_disjoint(problem.within(alive) if living else problem, route, nodes)
            if found is not None:
                return found
    return None


def _sets_alone(option: Option) -> Option:
    """An option without the requirements that are figures."""
    needs = option.effective.requirements
    sets = Requirements(encryption=needs.encryption, regions=needs.regions, avoid=needs.avoid)
    return replace(option, effective=replace(option.effective, requirements=sets))


def most_disjoint(problem: Problem, route: Route, nodes: Sequence[Node]) -> Route | None:
    """The path that shares the least with another one between the same gateways.

    Shared gateways count first, then shared links (over the same underlay, in either direction), then gateways that
    share a risk group with one inside the other path, then cost. The two ends count nothing: every path has them.

    Returns:
        None if there is no path but the other one.
    """
    topology, links = problem.topology, list(route.links)
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
    clear = first_route(problem.within(~(taken | near[topology.src] | near[topology.dst])))
    if clear is not None:
        return clear
    # No count exceeds the number of gateways, so one number orders all three.
    above = len(nodes) + 1
    shared = (passed * above**2 + fate)[topology.dst] + taken * above
    nothing = np.zeros(len(nodes), dtype=np.int64)
    least = first_route(problem.with_objective(shared, nothing, nothing))
    if least is None:
        return None
    found = first_route(problem.limited(SHARED, shared, least.cost))
    return None if found is None or found.steps == route.steps else found
