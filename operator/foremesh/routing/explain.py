"""Why nothing fits: which requirement binds, and the nearest figure that could be had instead.

Each requirement is relaxed alone and the search asked for the best that the others leave of it; what it finds is
therefore feasible when asked for. Where no single requirement is to blame, the smallest set that is gets named; where
none of them is, the graph does not join the ends at all. Figures that are unknown are named, for the cure is then to
measure, not to ask for less.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

from foremesh.model.intent import Avoid
from foremesh.model.plan import Infeasible
from foremesh.routing.arrays import BPS_SCALE, NO_LIMIT
from foremesh.routing.ask import Ask, Router
from foremesh.routing.labels import Limit, Problem, Route, routes
from foremesh.routing.needs import (
    BOTTLENECKS,
    FIELDS,
    SETS,
    SUMS,
    UNBOUNDED,
    UNITS,
    asked,
    asked_text,
    avoid_text,
    offends,
    path_text,
    rounded,
    short,
    touched,
    unit_text,
    unknown,
    value_of,
    with_value,
    without,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Relaxation:
    """One requirement given up as far as necessary: asking ``ask`` admits ``route``."""

    name: str
    nearest: str
    value: float | None
    """The exact nearest figure in the requirement's base unit; None for requirements on gateways."""
    excess: float
    """How far it is from what was asked, as a share of that; infinite for requirements on gateways."""
    ask: Ask
    route: Route


def explain(router: Router, ask: Ask, *, origins: Mapping[str, str] | None = None) -> Infeasible:
    """Say why an Ask that has no path has none.

    Args:
        router: The snapshot that was searched.
        ask: What was asked.
        origins: By requirement, the MeshPolicy that imposed it, if one did.

    Returns:
        The requirement that is nearest to being met (by share of what is asked) with its nearest figure; the message
        gives every single requirement that could be relaxed instead, and the unknown figures that may be the cause.
        ``requirement`` lists several where they have to be relaxed together.
    """
    imposed = origins or {}
    found = sorted(relaxations(router, ask), key=lambda one: one.excess)
    if found:
        parts = [
            f"{_asked(ask, one.name, imposed)}, nearest {one.nearest} by {path_text(router.gateways(one.route))}"
            for one in found
        ]
        notes = dict.fromkeys(note for name in asked(ask) for note in _unknowns_that_might_do(router, ask, name))
        return Infeasible(
            requirement=found[0].name,
            asked=asked_text(ask, found[0].name),
            nearest=found[0].nearest,
            message="; ".join(["; or ".join(parts), *notes]),
        )
    for size in range(1, len(asked(ask)) + 1):
        for dropped in combinations(asked(ask), size):
            if answer := _without_these(router, ask, dropped, imposed):
                return answer
    ends = [", ".join(sorted(map(short, gateways))) or "nowhere" for gateways in (ask.sources, ask.destinations)]
    return Infeasible(
        requirement="connectivity",
        asked=" to ".join(ends),
        nearest="",
        message=f"connectivity: no links lead from {ends[0]} to {ends[1]} through gateways that relay, "
        "whatever is required of them",
    )


def relaxations(router: Router, ask: Ask) -> list[Relaxation]:
    """Every requirement which, relaxed alone, lets a path through whose figures are known."""
    found = []
    for name in asked(ask):
        relax = _relax_sum if name in SUMS else _relax_bottleneck if name in BOTTLENECKS else _relax_set
        if one := relax(router, ask, name):
            found.append(one)
    return found


def _relax_sum(router: Router, ask: Ask, name: str) -> Relaxation | None:
    loose = with_value(ask, name, UNBOUNDED[name])
    route = next(routes(router.frame(loose, router.prices(loose)).minimising(name)), None)
    if route is None:
        return None
    value = value_of(name, route.cost)
    wanted = float(getattr(ask.requirements, FIELDS[name]))
    if name == "maxHops":
        nearest: Any = route.cost
        words = str(route.cost)
    else:
        nearest = UNITS[name](rounded(name, value))
        words = unit_text(nearest)
    excess = value / wanted - 1 if wanted > 0 else math.inf
    return Relaxation(
        name=name, nearest=words, value=value, excess=excess, ask=with_value(ask, name, nearest), route=route
    )


def _relax_bottleneck(router: Router, ask: Ask, name: str) -> Relaxation | None:
    """Bisect over the bandwidths that links have to offer, for only at one of these can feasibility change."""
    arrays = router.arrays
    measured = range(len(arrays.links)) if name == "minBandwidth" else arrays.reverse
    levels = sorted({free for link in measured if (free := router.free_units(link, ask)) is not None})

    def at(level: int) -> Route | None:
        return router.best(with_value(ask, name, UNITS[name](level / BPS_SCALE)))

    low, high, route = 0, len(levels), None
    while low < high:
        middle = (low + high) // 2
        found = at(levels[middle])
        if found is None:
            high = middle
        else:
            low, route = middle + 1, found
    if route is None:
        return None
    value = levels[low - 1] / BPS_SCALE
    nearest = UNITS[name](rounded(name, value))
    excess = float(getattr(ask.requirements, FIELDS[name])) / value - 1 if value > 0 else math.inf
    return Relaxation(
        name=name,
        nearest=unit_text(nearest),
        value=value,
        excess=excess,
        ask=with_value(ask, name, nearest),
        route=route,
    )


def _relax_set(router: Router, ask: Ask, name: str) -> Relaxation | None:
    """The path that offends with the fewest gateways."""
    nodes = router.arrays.nodes
    everywhere = tuple(sorted({node.region for node in nodes} - {""}))
    loose = with_value(ask, name, everywhere) if name == "regions" else without(ask, (name,))
    if name == "policy":
        past = router.best(loose)
        if past is None:
            return None
        return Relaxation(name=name, nearest="none of them", value=None, excess=math.inf, ask=loose, route=past)
    bad = offends(name, ask)
    problem = _counting(router.frame(loose, router.prices(loose)), [int(bad(node)) for node in nodes])
    route = next(routes(problem), None)
    if route is None:
        return None
    offenders = [
        nodes[router.arrays.number[id]] for id in router.gateways(route) if bad(nodes[router.arrays.number[id]])
    ]
    if name == "regions":
        value: Any = tuple(sorted({*ask.requirements.regions, *(node.region for node in offenders)}))
        words = ", ".join(value)
    else:
        avoid = ask.requirements.avoid
        given_up = [touched(node, avoid) for node in offenders]
        lost = Avoid(
            regions=tuple(sorted({entry for part in given_up for entry in part.regions})),
            providers=tuple(sorted({entry for part in given_up for entry in part.providers})),
            gateways=tuple(sorted({entry for part in given_up for entry in part.gateways})),
        )
        value = Avoid(
            regions=tuple(entry for entry in avoid.regions if entry not in lost.regions),
            providers=tuple(entry for entry in avoid.providers if entry not in lost.providers),
            gateways=tuple(entry for entry in avoid.gateways if entry not in lost.gateways),
        )
        words = f"all but {avoid_text(lost)}"
    return Relaxation(
        name=name, nearest=words, value=None, excess=math.inf, ask=with_value(ask, name, value), route=route
    )


def _without_these(router: Router, ask: Ask, dropped: tuple[str, ...], imposed: Mapping[str, str]) -> Infeasible | None:
    loose = without(ask, dropped)
    route = next(routes(_fewest_unknown(router, loose, dropped)), None)
    if route is None:
        return None
    wanted = "; ".join(_asked(ask, name, imposed) for name in dropped)
    way = path_text(router.gateways(route))
    missing = _unknowns(router, loose, route, dropped)
    if missing:
        cause = f"{way} cannot be judged: {'; '.join(missing)}"
    else:
        cause = f"no path unless these are relaxed together, as by {way}"
    return Infeasible(
        requirement=", ".join(dropped),
        asked="; ".join(asked_text(ask, name) for name in dropped),
        nearest="",
        message=f"{wanted}; {cause}",
    )


def _fewest_unknown(router: Router, ask: Ask, wanted: Iterable[str]) -> Problem:
    """The problem of an Ask, its objective being the number of figures that ``wanted`` requirements miss."""
    arrays, names = router.arrays, tuple(wanted)
    problem = router.frame(ask, router.prices(ask))
    blind = [int(not node.region) if "regions" in names else 0 for node in arrays.nodes]
    counted = _counting(problem, blind)
    link = [
        base + sum(unknown(arrays, name, index) is not None for name in names)
        for index, base in enumerate(counted.objective.link)
    ]
    start, end = dict(counted.objective.start), dict(counted.objective.end)
    if "maxLatency" in names:
        start = {number: count + _is_unknown(ask.sources, arrays.nodes[number].id) for number, count in start.items()}
        end = {number: count + _is_unknown(ask.destinations, arrays.nodes[number].id) for number, count in end.items()}
    return replace(counted, objective=Limit(link, start, end, NO_LIMIT))


def _is_unknown(ends: Mapping[str, float | None], gateway: str) -> int:
    return int(ends[gateway] is None)


def _counting(problem: Problem, per_gateway: list[int]) -> Problem:
    """The problem with a count over the path's gateways as its objective."""
    start = {gateway: per_gateway[gateway] for gateway in problem.objective.start}
    link = [per_gateway[end] for end in problem.arrays.dst]
    return replace(problem, objective=Limit(link, start, dict.fromkeys(problem.objective.end, 0), NO_LIMIT), exposure=0)


def _unknowns(router: Router, ask: Ask, route: Route, wanted: Iterable[str]) -> list[str]:
    """What ``wanted`` requirements miss about a route."""
    found, gateways = [], router.gateways(route)
    for name in wanted:
        found += [str(one) for link in route.links if (one := unknown(router.arrays, name, link))]
        if name == "regions":
            nodes = (router.arrays.nodes[router.arrays.number[gateway]] for gateway in gateways)
            found += [f"region of {short(node.id)} unknown: not stated" for node in nodes if not node.region]
        if name == "maxLatency":
            ends = ((ask.sources, gateways[0]), (ask.destinations, gateways[-1]))
            found += [
                f"round-trip time of the attachment to {short(end)} unknown: no samples"
                for offsets, end in ends
                if offsets[end] is None
            ]
    return found


def _unknowns_that_might_do(router: Router, ask: Ask, name: str) -> list[str]:
    """Figures which, were they good enough, would let a path through as it is asked: unknown, they meet nothing."""
    if name in SETS:
        return []
    loose = without(ask, (name,))
    problem = _fewest_unknown(router, loose, (name,))
    if name in BOTTLENECKS:
        need = getattr(ask.requirements, FIELDS[name])
        measured = range(len(problem.usable)) if name == "minBandwidth" else router.arrays.reverse
        usable = [
            use and (unknown(router.arrays, name, index) is not None or router.carries(link, need, ask))
            for index, (use, link) in enumerate(zip(problem.usable, measured, strict=True))
        ]
        hopeful = replace(problem, usable=usable)
    else:
        limit = router.sum_limit(ask, name, problem.objective.start, problem.objective.end)
        hopeful = replace(problem, limits={**problem.limits, name: limit})
    route = next(routes(hopeful), None)
    return [] if route is None else _unknowns(router, loose, route, (name,))


def _asked(ask: Ask, name: str, imposed: Mapping[str, str]) -> str:
    by = f" by MeshPolicy {imposed[name]}" if name in imposed else ""
    return f"{name}: asked {asked_text(ask, name)}{by}"
