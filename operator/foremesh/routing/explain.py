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

import numpy as np

from foremesh.model.intent import Avoid, Requirements
from foremesh.model.plan import Infeasible
from foremesh.routing.arrays import BPS_SCALE
from foremesh.routing.ask import Ask, Router, least_units
from foremesh.routing.kernels import NEVER
from foremesh.routing.labels import Problem, Route, first_route
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
    unknown_mask,
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
    names = asked(ask)
    for size in range(1, len(names) + 1):
        for dropped in combinations(names, size):
            # That a single one is to blame was tried above, as far as figures are known.
            if size == 1 and not _is_blind(router, ask, dropped[0]):
                continue
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
    route = first_route(router.frame(loose, router.prices(loose)).minimising(name))
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
    free = router.free_units(name, ask)
    problem = _loosened(router, ask, name)
    if first_route(problem.within(free >= 0)) is None:
        return None
    levels = np.unique(free[problem.usable & (free >= 0)])
    low, high, route = 0, levels.size, None
    while low < high:
        middle = (low + high) // 2
        found = first_route(problem.within(free >= levels[middle]))
        if found is None:
            high = middle
        else:
            low, route = middle + 1, found
    if route is None:
        return None
    value = int(levels[low - 1]) / BPS_SCALE
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
    count = np.array([bad(node) for node in nodes], dtype=np.int64)
    route = first_route(router.frame(loose, router.prices(loose)).counting(count))
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
    route = first_route(_fewest_unknown(router, loose, dropped))
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


def _loosened(router: Router, ask: Ask, name: str) -> Problem:
    """The problem of an Ask without one of its requirements."""
    loose = without(ask, (name,))
    return router.frame(loose, router.prices(loose))


def _fewest_unknown(router: Router, ask: Ask, wanted: Iterable[str]) -> Problem:
    """The problem of an Ask, its objective being the number of figures that ``wanted`` requirements miss."""
    arrays, names = router.arrays, tuple(wanted)
    blind = [int(not node.region) if "regions" in names else 0 for node in arrays.nodes]
    problem = router.frame(ask, router.prices(ask)).counting(np.array(blind, dtype=np.int64))
    link = problem.link + sum(unknown_mask(arrays, name) for name in names)
    start, end = problem.start, problem.end
    if "maxLatency" in names:
        for ends, costs in ((ask.sources, start), (ask.destinations, end)):
            for gateway, rtt_ms in ends.items():
                number = arrays.number.get(gateway)
                if rtt_ms is None and number is not None and costs[number] != NEVER:
                    costs[number] += 1
    return replace(problem, link=link)


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


def _is_blind(router: Router, ask: Ask, name: str) -> bool:
    """Whether a figure that a requirement is about is unknown anywhere."""
    if name == "regions":
        return not all(node.region for node in router.arrays.nodes)
    if name == "maxLatency" and None in (*ask.sources.values(), *ask.destinations.values()):
        return True
    return bool(unknown_mask(router.arrays, name).any())


def _unknowns_that_might_do(router: Router, ask: Ask, name: str) -> list[str]:
    """Figures which, were they good enough, would let a path through as it is asked: unknown, they meet nothing."""
    if name in SETS or not _is_blind(router, ask, name):
        return []
    missing = unknown_mask(router.arrays, name)
    loose = without(ask, (name,))
    problem = _fewest_unknown(router, loose, (name,))
    if name in BOTTLENECKS:
        need = least_units(getattr(ask.requirements, FIELDS[name]))
        hopeful = problem.within(missing | (router.free_units(name, ask) >= need))
    else:
        # What is unknown adds nothing, and ends whose attachment is unknown are let in.
        needs = Requirements(**{FIELDS[name]: getattr(ask.requirements, FIELDS[name])})
        open_ends = replace(
            ask,
            requirements=needs,
            sources={gateway: rtt or 0.0 for gateway, rtt in ask.sources.items()},
            destinations={gateway: rtt or 0.0 for gateway, rtt in ask.destinations.items()},
        )
        limits = router.frame(open_ends, router.prices(open_ends))
        hopeful = replace(
            problem,
            names=(*problem.names, name),
            sum_link=np.vstack((problem.sum_link, limits.sum_link)),
            sum_start=np.vstack((problem.sum_start, limits.sum_start)),
            sum_end=np.vstack((problem.sum_end, limits.sum_end)),
            most=np.append(problem.most, limits.most),
        )
    route = first_route(hopeful)
    return [] if route is None else _unknowns(router, loose, route, (name,))


def _asked(ask: Ask, name: str, imposed: Mapping[str, str]) -> str:
    by = f" by MeshPolicy {imposed[name]}" if name in imposed else ""
    return f"{name}: asked {asked_text(ask, name)}{by}"
