"""Why nothing fits: which requirement binds, and the nearest figure that could be had instead.

Each requirement is relaxed alone and the search asked for the best that the others leave of it; what it finds is
therefore feasible when asked for. Where no single requirement is to blame, the smallest set that is gets named; where
none of them is, the graph does not join the ends at all. A path whose figures are known goes before one of which
something is not. Figures that are unknown are named, for the cure is then to measure, not to ask for less.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import combinations

import numpy as np
from msgspec import structs

from foremesh.model.intent import Requirements
from foremesh.model.plan import Infeasible, Shortfall
from foremesh.routing.arrays import BPS_SCALE
from foremesh.routing.ask import Ask, Router, least_units
from foremesh.routing.kernels import NEVER
from foremesh.routing.labels import Problem, Route, first_route
from foremesh.routing.needs import (
    BOTTLENECKS,
    FIELDS,
    NAMES,
    SETS,
    SUMS,
    asked,
    asked_text,
    over_text,
    short,
    unknown,
    unknown_mask,
    value_of,
    with_value,
    without,
    words_of,
)
from foremesh.routing.relax import ANYWHERE, WITHOUT, Relaxation, loosest, relaxations, relaxed


def explain(
    router: Router, ask: Ask, *, origins: Mapping[str, str] | None = None, narrowest: bool = True
) -> Infeasible:
    """Say why an Ask that has no path has none.

    Args:
        router: The snapshot that was searched.
        ask: What was asked.
        origins: By requirement, the MeshPolicy that imposed it, if one did.
        narrowest: Whether to say which link it is that has no more bandwidth.

    Returns:
        The requirement that is nearest to being met (by share of what is asked) with its nearest figure; the message
        gives every single requirement that could be relaxed instead, and the unknown figures that may be the cause.
        ``requirement`` lists several where they have to be relaxed together.
    """
    imposed = origins or {}
    found = sorted(relaxations(router, ask), key=lambda one: one.excess)
    if found:
        parts = [
            f"{_asked(ask, one.name, imposed)}, {_had(one.nearest)} by {router.text(one.route)}"
            + (_narrowest(router, one) if narrowest else "")
            for one in found
        ]
        return Infeasible(
            requirement=found[0].name,
            asked=asked_text(ask, found[0].name),
            nearest=found[0].nearest,
            message="; ".join(["; or ".join(parts), *_unknowns_that_might_do(router, ask)]),
            shortfalls=shortfalls(ask, found, router, imposed),
        )
    names = asked(ask)
    answer = _known_together(router, ask, names, imposed) or _unknown_together(router, ask, names, imposed)
    if answer is not None:
        return structs.replace(answer, shortfalls=shortfalls(ask, found, router, imposed))
    ends = [", ".join(sorted(map(short, gateways))) or "nowhere" for gateways in (ask.sources, ask.destinations)]
    strangers = [
        f"the graph has no gateway {', '.join(sorted(gateways))}"
        for gateways in (ask.sources, ask.destinations)
        if gateways and not gateways.keys() & router.arrays.number.keys()
    ]
    why = f"no links lead from {ends[0]} to {ends[1]} through gateways that relay, whatever is required of them"
    return Infeasible(
        requirement="connectivity",
        asked=" to ".join(ends),
        nearest="",
        message=f"connectivity: {'; '.join(strangers) or why}",
    )


def shortfalls(
    ask: Ask, found: Iterable[Relaxation], router: Router, imposed: Mapping[str, str]
) -> tuple[Shortfall, ...]:
    """Every requirement with what it has to be relaxed to, all others kept.

    Args:
        found: ``relaxations`` of the same Ask.
        imposed: By requirement, the MeshPolicies that imposed it.
    """
    nearest = {one.name: one for one in found}

    def of(name: str) -> Shortfall:
        near = nearest.get(name)
        return Shortfall(
            requirement=name,
            asked=asked_text(ask, name),
            policy=imposed.get(name, ""),
            nearest=near.nearest if near else "",
            path=router.text(near.route) if near else "",
        )

    return tuple(map(of, asked(ask)))


def reached(router: Router, ask: Ask, known: Iterable[Shortfall]) -> tuple[Shortfall, ...]:
    """The same with the best that can be had of each between these ends if nothing else is asked. A search or more for
    each, without limits that would keep it short: for those that somebody looks at."""
    nowhere_to_go = ask.sources.keys() & ask.destinations.keys() & router.arrays.number.keys()

    def of(one: Shortfall) -> Shortfall:
        name = one.requirement
        if name in SETS or getattr(ask.requirements, FIELDS[name]) is None:
            return one
        if name in BOTTLENECKS and nowhere_to_go:
            return structs.replace(one, best="any")  # no link limits a path that has none
        best = relaxed(router, without(ask, (other for other in NAMES if other != name)), name)
        return structs.replace(one, best=best.nearest if best else "")

    return tuple(map(of, known))


def _known_together(router: Router, ask: Ask, names: tuple[str, ...], imposed: Mapping[str, str]) -> Infeasible | None:
    """The fewest requirements that let a path through of which everything is known that is asked, and of the paths that
    they do the nearest to the first of them. That no single one does is known."""

    def near(dropped: tuple[str, ...]) -> Relaxation | None:
        loose = loosest(router, ask, dropped[1:])
        return None if loose is None else relaxed(router, loose, dropped[0])

    every = near(names) if len(names) > 1 else None
    if every is None:
        return None
    fewer = (dropped for size in range(2, len(names)) for dropped in combinations(names, size))
    dropped, one = next(((some, one) for some in fewer if (one := near(some))), (names, every))
    route = one.route
    # Each as far as this path needs it, whatever else is asked: together they admit it.
    bare = without(router.confined(ask, route), NAMES)
    has = (relaxed(router, _only(bare, ask, name), name) for name in dropped)
    figures = ", ".join(f"{one.name} {one.nearest}" for one in has if one)
    kept = ", ".join(name for name in names if name not in dropped)
    holds = f"; {kept} can be kept" if kept else ""
    cause = f"no path unless these are relaxed together, as by {router.text(route)}: {figures}{holds}"
    return _jointly(ask, dropped, imposed, [cause, *_unknowns_that_might_do(router, ask)])


def _unknown_together(
    router: Router, ask: Ask, names: tuple[str, ...], imposed: Mapping[str, str]
) -> Infeasible | None:
    """The fewest requirements without which there is a path, where no path is known to meet them; and whether one still
    might, or even what is known of them misses what is asked."""
    for size in range(1, len(names) + 1):
        for dropped in combinations(names, size):
            loose = without(ask, dropped)
            route = first_route(_fewest_unknown(router, loose, dropped))
            if route is None or not _unknowns(router, loose, route, dropped):
                continue
            if {*SETS}.isdisjoint(dropped):
                blind = _blind(router, ask)
                might = _might_do(router, ask, dropped) or _might_do(router, ask, blind)
                if might is None:
                    return _jointly(ask, dropped, imposed, _missed_already(router, ask, dropped, route))
                route, every = might, (*dropped, *(name for name in blind if name not in dropped))
                dropped = tuple(name for name in every if _unknowns(router, ask, route, (name,)))
            cause = f"{router.text(route)} cannot be judged: {'; '.join(_unknowns(router, ask, route, dropped))}"
            return _jointly(ask, dropped, imposed, [cause])
    return None


def _missed_already(router: Router, ask: Ask, dropped: tuple[str, ...], route: Route) -> list[str]:
    """What is known of a path does not do, whatever the unknown is: of the first requirement on a sum the least."""
    limits, loose, told = _known_sums(router, ask, dropped), without(ask, dropped), []
    if limits is not None:
        problem = router.frame(loose, router.prices(loose))
        route = first_route(problem.with_objective(limits.sum_link[0], limits.sum_start[0], limits.sum_end[0])) or route
    numbers = [router.arrays.number[gateway] for gateway in router.gateways(route)]
    for name in dropped:
        if name in SUMS and limits is not None:
            row = limits.names.index(name)
            ends = limits.sum_start[row, numbers[0]] + limits.sum_end[row, numbers[-1]]
            units = int(limits.sum_link[row, list(route.links)].sum() + ends)
            if units > limits.most[row]:
                told.append(f"{name} is at least {words_of(name, value_of(name, units))}")
        elif name in BOTTLENECKS:
            known = [free for free in router.free_units(name, ask)[list(route.links)].tolist() if free >= 0]
            if known and min(known) < least_units(getattr(ask.requirements, FIELDS[name])):
                told.append(f"{name} is at most {words_of(name, min(known) / BPS_SCALE)}")
    cause = f"no path does, whatever is unknown: by {router.text(route)} {', '.join(told)}"
    return [cause, *_unknowns(router, loose, route, dropped)]


def _jointly(ask: Ask, dropped: tuple[str, ...], imposed: Mapping[str, str], causes: Iterable[str]) -> Infeasible:
    return Infeasible(
        requirement=", ".join(dropped),
        asked="; ".join(asked_text(ask, name) for name in dropped),
        nearest="",
        message="; ".join([*(_asked(ask, name, imposed) for name in dropped), *causes]),
    )


def _only(bare: Ask, ask: Ask, name: str) -> Ask:
    """One requirement of an Ask, and nothing else that it asks."""
    return with_value(bare, name, ask.through if name == "policy" else getattr(ask.requirements, FIELDS[name]))


def _fewest_unknown(router: Router, ask: Ask, wanted: Iterable[str]) -> Problem:
    """The problem of an Ask, its objective being the number of figures that ``wanted`` requirements miss."""
    arrays, names = router.arrays, tuple(wanted)
    blind = [sum(not of(node) for name, of in ANYWHERE.items() if name in names) for node in arrays.nodes]
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
        if name in ANYWHERE:
            nodes = (router.arrays.nodes[router.arrays.number[gateway]] for gateway in gateways)
            what = name.removesuffix("s")
            found += [f"{what} of {short(node.id)} unknown: not stated" for node in nodes if not ANYWHERE[name](node)]
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
    if name in ANYWHERE:
        return not all(map(ANYWHERE[name], router.arrays.nodes))
    if name == "maxLatency" and None in (*ask.sources.values(), *ask.destinations.values()):
        return True
    return bool(unknown_mask(router.arrays, name).any())


def _blind(router: Router, ask: Ask) -> tuple[str, ...]:
    """Requirements on figures of which some are unknown."""
    return tuple(name for name in asked(ask) if name not in SETS and _is_blind(router, ask, name))


def _unknowns_that_might_do(router: Router, ask: Ask) -> list[str]:
    """Figures which, were they good enough, would let a path through as it is asked: unknown, they meet nothing. Those
    of one requirement; only where that would do for none, those that several need together."""
    blind = _blind(router, ask)
    alone = dict.fromkeys(note for name in blind for note in _hopeful(router, ask, (name,)))
    return [*alone] or (_hopeful(router, ask, blind) if len(blind) > 1 else [])


def _hopeful(router: Router, ask: Ask, names: tuple[str, ...]) -> list[str]:
    """What some requirements miss about a path that might do."""
    route = _might_do(router, ask, names)
    return [] if route is None else _unknowns(router, ask, route, names)


def _might_do(router: Router, ask: Ask, names: tuple[str, ...]) -> Route | None:
    """A path that meets all requirements but some, and these as far as its figures are known."""
    loose = without(ask, names)
    problem = _fewest_unknown(router, loose, names)
    for name in names:
        if name in BOTTLENECKS:
            need = least_units(getattr(ask.requirements, FIELDS[name]))
            problem = problem.within(unknown_mask(router.arrays, name) | (router.free_units(name, ask) >= need))
    limits = _known_sums(router, ask, names)
    if limits is not None:
        problem = replace(
            problem,
            names=(*problem.names, *limits.names),
            sum_link=np.vstack((problem.sum_link, limits.sum_link)),
            sum_start=np.vstack((problem.sum_start, limits.sum_start)),
            sum_end=np.vstack((problem.sum_end, limits.sum_end)),
            most=np.append(problem.most, limits.most),
        )
    return first_route(problem)


def _known_sums(router: Router, ask: Ask, names: tuple[str, ...]) -> Problem | None:
    """The limits on sums among some requirements: what is unknown adds nothing, and ends whose attachment is unknown
    are let in. None if there are none."""
    sums = {FIELDS[name]: getattr(ask.requirements, FIELDS[name]) for name in names if name in SUMS}
    if not sums:
        return None
    open_ends = replace(
        ask,
        requirements=Requirements(**sums),
        sources={gateway: rtt or 0.0 for gateway, rtt in ask.sources.items()},
        destinations={gateway: rtt or 0.0 for gateway, rtt in ask.destinations.items()},
    )
    return router.frame(open_ends, router.prices(open_ends))


def _narrowest(router: Router, found: Relaxation) -> str:
    """The link of several that limits the bandwidth of a path."""
    if found.name not in BOTTLENECKS or len(found.route.links) < 2:
        return ""
    free, topology = router.free_units(found.name, found.ask), router.arrays.topology
    scarcest = min(found.route.links, key=lambda link: (free[link], link))
    id_, over = topology.link_ids[scarcest], over_text(router.arrays, scarcest)
    src, dst = (id_.src, id_.dst) if found.name == "minBandwidth" else (id_.dst, id_.src)
    return f", all that {short(src)}->{short(dst)}{over} has left"


def _had(nearest: str) -> str:
    return f"possible {nearest}" if nearest.startswith(WITHOUT) else f"nearest {nearest}"


def _asked(ask: Ask, name: str, imposed: Mapping[str, str]) -> str:
    by = f" by MeshPolicy {imposed[name]}" if name in imposed else ""
    return f"{name}: asked {asked_text(ask, name)}{by}"
