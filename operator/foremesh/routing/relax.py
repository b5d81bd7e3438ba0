"""Each requirement relaxed alone, as little as will do.

The search is asked for the best that the others leave of it, so what it finds is feasible when it is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np

from foremesh.model.intent import Avoid
from foremesh.model.link import Node
from foremesh.routing.arrays import BPS_SCALE
from foremesh.routing.ask import Ask, Router
from foremesh.routing.gateways import touched
from foremesh.routing.labels import Problem, Route, first_route
from foremesh.routing.needs import (
    BOTTLENECKS,
    FIELDS,
    SUMS,
    UNBOUNDED,
    UNITS,
    asked,
    avoid_text,
    offends,
    rounded,
    value_of,
    with_value,
    without,
    words_of,
)
from foremesh.routing.policy import union

ANYWHERE: Mapping[str, Callable[[Node], str]] = {
    "regions": lambda node: node.region,
    "providers": lambda node: node.provider,
}
"""Requirements on where gateways are, with what of a gateway they are about; empty: it does not say."""

WITHOUT = "without "
"""What the nearest of a requirement on gateways begins with where a part of it has to go."""


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


def relaxations(router: Router, ask: Ask) -> list[Relaxation]:
    """Every requirement which, relaxed alone, lets a path through whose figures are known."""
    return [one for name in asked(ask) if (one := relaxed(router, ask, name))]


def relaxed(router: Router, ask: Ask, name: str) -> Relaxation | None:
    """A requirement relaxed alone, as little as will do; None if that alone would not."""
    relax = _relax_sum if name in SUMS else _relax_bottleneck if name in BOTTLENECKS else _relax_set
    return relax(router, ask, name)


def loosest(router: Router, ask: Ask, names: Iterable[str]) -> Ask | None:
    """The Ask that takes every value of some requirements, as long as it is known; None if none is anywhere."""
    for name in names:
        if name in UNBOUNDED:
            ask = with_value(ask, name, UNBOUNDED[name])
        elif name in ANYWHERE:  # wherever gateways are; who does not say where he is stays out
            everywhere = tuple(sorted({ANYWHERE[name](node) for node in router.arrays.nodes} - {""}))
            if not everywhere:
                return None
            ask = with_value(ask, name, everywhere)
        else:
            ask = without(ask, (name,))
    return ask


def _relax_sum(router: Router, ask: Ask, name: str) -> Relaxation | None:
    loose = with_value(ask, name, UNBOUNDED[name])
    route = first_route(router.frame(loose, router.prices(loose)).minimising(name))
    if route is None:
        return None
    value = value_of(name, route.cost)
    wanted = float(getattr(ask.requirements, FIELDS[name]))
    nearest: Any = route.cost if name == "maxHops" else UNITS[name](rounded(name, value))
    excess = value / wanted - 1 if wanted > 0 else math.inf
    return Relaxation(
        name=name,
        nearest=words_of(name, value),
        value=value,
        excess=excess,
        ask=with_value(ask, name, nearest),
        route=route,
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
        nearest=words_of(name, value),
        value=value,
        excess=excess,
        ask=with_value(ask, name, nearest),
        route=route,
    )


def _relax_set(router: Router, ask: Ask, name: str) -> Relaxation | None:
    """The path that offends with the fewest gateways."""
    nodes = router.arrays.nodes
    loose = loosest(router, ask, (name,))
    if loose is None:
        return None
    if name == "policy":
        past = router.best(loose)
        if past is None:
            return None
        return Relaxation(
            name=name, nearest=f"{WITHOUT}passing any", value=None, excess=math.inf, ask=loose, route=past
        )
    bad = offends(name, ask)
    count = np.array([bad(node) for node in nodes], dtype=np.int64)
    route = first_route(router.frame(loose, router.prices(loose)).counting(count))
    if route is None:
        return None
    offenders = [
        nodes[router.arrays.number[id]] for id in router.gateways(route) if bad(nodes[router.arrays.number[id]])
    ]
    if name in ANYWHERE:
        # What no gateway has is a slip of the pen: asking for it again would help nobody.
        known = {*getattr(ask.requirements, name)} & {*getattr(loose.requirements, name)}
        value: Any = tuple(sorted({*known, *map(ANYWHERE[name], offenders)}))
        words = ", ".join(value)
    elif name == "gatewayLabels":
        wanted = ask.requirements.gateway_labels
        value = tuple(label for label in wanted if all(label in node.labels for node in offenders))
        words = f"{WITHOUT}{', '.join(label for label in wanted if label not in value)}"
    else:
        avoid = ask.requirements.avoid
        lost = reduce(union, (touched(node, avoid) for node in offenders), Avoid())
        value = Avoid(
            regions=tuple(entry for entry in avoid.regions if entry not in lost.regions),
            providers=tuple(entry for entry in avoid.providers if entry not in lost.providers),
            gateways=tuple(entry for entry in avoid.gateways if entry not in lost.gateways),
            gateway_labels=tuple(entry for entry in avoid.gateway_labels if entry not in lost.gateway_labels),
        )
        words = f"{WITHOUT}{avoid_text(lost)}"
    return Relaxation(
        name=name, nearest=words, value=None, excess=math.inf, ask=with_value(ask, name, value), route=route
    )


def _loosened(router: Router, ask: Ask, name: str) -> Problem:
    """The problem of an Ask without one of its requirements."""
    loose = without(ask, (name,))
    return router.frame(loose, router.prices(loose))
