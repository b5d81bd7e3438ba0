"""When a circuit stays where it is, and when it is worth moving: pure, what has been is an argument.

A better path is taken if what it is predicted to save is more than a move is worth and more than the predictions are
likely to flatter it. Of many paths whose predictions err, the one that looks best is likely one that is flattered: by
as much as the best of as many errors (Smith and Winkler, "The Optimizer's Curse", Management Science 52(3), 2006). How
far predictions err is what they erred by lately, link by link.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, timedelta
from hashlib import blake2b
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from foremesh.model.circuit import Circuit
from foremesh.model.plan import Path
from foremesh.routing.ask import Router
from foremesh.routing.cost import COST_SCALE
from foremesh.routing.demand import PlannerSettings, came_from
from foremesh.routing.horizon import EQUAL, Horizon
from foremesh.routing.labels import Route

if TYPE_CHECKING:
    from foremesh.routing.jobs import Question

MEAN_TO_DEVIATION = math.sqrt(math.pi / 2)
"""Standard deviation of a normal error whose mean size is 1."""

RETURN = 2.0
"""Dwell times in which the path that a circuit came from has to save the full margin besides: what drove it away may
come back."""


def flattered(paths: int, deviation: float) -> float:
    """By how much the best of so many paths is likely to be flattered, if each one's prediction errs by a standard
    deviation: the mean of the largest of as many normal errors (Blom, "Statistical Estimates and Transformed
    Beta-Variables", 1958)."""
    return deviation * NormalDist().inv_cdf((paths - 0.375) / (paths + 0.25)) if paths > 1 else 0.0


@dataclass(slots=True)
class Moves:
    """What one plan has moved for the sake of cost so far.

    Args:
        now_s: Unix time of the plan.
        circuits: How many there are.
        share: Of them, how many may come to a link.
    """

    now_s: float = 0.0
    circuits: int = 0
    share: float = 1.0
    _onto: dict[int, int] = field(default_factory=dict)

    def since_s(self, circuit: Circuit) -> float:
        """Seconds since a circuit was moved."""
        moved_at = circuit.status.moved_at
        return math.inf if moved_at is None else max(0.0, self.now_s - moved_at.timestamp())

    def admits(self, circuit: Circuit, links: Iterable[int]) -> bool:
        """Whether one more may come to links; it counts as having come. The first always may; who else may is drawn
        from circuit and time, so that it is not always the same who wait."""
        links = tuple(links)
        drawn = blake2b(f"{circuit.id} {self.now_s}".encode(), digest_size=4).digest()
        most = max(1, math.ceil(self.share * self.circuits * int.from_bytes(drawn) / 2**32))
        if self.share < 1 and any(self._onto.get(link, 0) >= most for link in links):
            return False
        for link in links:
            self._onto[link] = self._onto.get(link, 0) + 1
        return True


def why_stays(
    router: Router,
    settings: PlannerSettings,
    circuit: Circuit,
    old: tuple[Route, Question],
    new: tuple[Route, Question],
    moves: Moves,
    horizon: Horizon,
) -> str:
    """Why a circuit stays where it is although another path is cheaper and both would do; empty if it does not: because
    the other is better by more than a move is worth, or alive while the one in use is dead."""
    if is_dead(router, old[0]) and not is_dead(router, new[0]):
        return ""
    text, kept = router.text(new[0]), f"kept {router.text(old[0])}: "
    if dwelling := why_dwells(settings, circuit, moves):
        return kept + dwelling
    there = router.gateways(new[0]), router.underlays(new[0])
    back = came_from(circuit, *there) and moves.since_s(circuit) < RETURN * settings.dwell_s
    needed, known = due(router, settings, old, new[0], back=back)
    if old[0].cost == new[0].cost:
        return f"{kept}{text} costs the same"
    if horizon.changes((*old[0].links, *new[0].links)):
        stay, go = (horizon.cost(route, asked.ask) for route, asked in (old, new))
        if waiting := horizon.why_waits(stay, go, needed, text):
            return kept + waiting
    elif (old[0].cost - new[0].cost) / COST_SCALE <= needed * (1 + EQUAL):
        saved, share = gain(old[0].cost, new[0].cost), COST_SCALE * needed / max(1, old[0].cost)
        margin = f"{share:.1%} that forecasts err by and a move is worth" if known else f"{share:.0%} margin"
        return f"{kept}gain {saved:.1%} by {text} is within the {margin}"
    if settings.margin_ms:
        before, after = (router.path(route, asked.ask, asked.prices) for route, asked in (old, new))
        if within_ms(settings, before, after):
            if after.figures.latency_ms is None:
                return f"{kept}the round trip by {text} is not known"
            saved_ms = (before.figures.latency_ms or 0.0) - after.figures.latency_ms
            return f"{kept}gain {saved_ms:.1f} ms by {text} is within the {settings.margin_ms:g} ms margin"
    waits = why_queues(router, settings, circuit, old[0], new[0], moves)
    return kept + waits if waits else ""


def why_dwells(settings: PlannerSettings, circuit: Circuit, moves: Moves) -> str:
    """Why a circuit that has just moved stays where it is; empty if that is long enough ago."""
    moved_at = circuit.status.moved_at
    if moved_at is None or moves.since_s(circuit) >= settings.dwell_s:
        return ""
    until = moved_at.astimezone(UTC) + timedelta(seconds=settings.dwell_s)
    return f"it has just moved, and stays until {until:%H:%M:%S} UTC while its limits hold"


def why_queues(
    router: Router, settings: PlannerSettings, circuit: Circuit, old: Route, new: Route, moves: Moves
) -> str:
    """Why a circuit may not come to another path with this plan; empty if it may, and then it counts as having come."""
    if moves.admits(circuit, set(new.links) - set(old.links)):
        return ""
    text = router.text(new)
    return f"others go to {text} first, {settings.most_moves:.0%} of circuits in a plan at most"


def stays_for_now(
    router: Router,
    settings: PlannerSettings,
    old: tuple[Route, Question],
    new: tuple[Route, Question] | None,
    horizon: Horizon,
) -> tuple[str, str]:
    """Why a circuit stays where it is although its path will not keep its limits over the whole horizon: because it
    breaks them late enough to leave it with another plan, or for a shorter time than a move is worth. Empty if it does
    not stay; and then when it breaks them, where that is not all the time.

    Args:
        old: The path in use, which keeps all other requirements.
        new: The path that keeps them all; None if others decide where the circuit goes.
    """
    route, asked = old
    if is_dead(router, route) or not all(router.arrays.measured[link] for link in route.links):
        return "", ""
    limits = horizon.breaks(route, asked.ask)
    broken = np.logical_or.reduce([*limits.values(), np.zeros(horizon.steps, dtype=np.bool_)])
    passing = float(broken.mean()) <= settings.move_worth
    when = "" if broken.all() else horizon.told(broken)
    if broken[: horizon.soon].any() and not passing:
        return "", when
    if new is not None:
        stay = horizon.cost(route, asked.ask) + broken * (route.cost / COST_SCALE)
        needed, _ = due(router, settings, old, new[0])
        if horizon.best(stay, horizon.cost(new[0], new[1].ask), needed)[:1] == (0,):
            return "", when
    kept = f"kept {router.text(route)}"
    if not limits:
        return f"{kept}: no moment is forecast at which it breaks a limit", ""
    told = f"it is forecast to break {' and '.join(limits)} {when}"
    return f"{kept}: {told}, {'and a move is worth more than that' if passing else 'and is left before that'}", ""


def due(
    router: Router, settings: PlannerSettings, old: tuple[Route, Question], new: Route, *, back: bool = False
) -> tuple[float, bool]:
    """What another path has to save before a circuit moves to it, in units of cost.

    Args:
        back: It is the path that the circuit has just left.

    Returns:
        What a move is worth and by how much predictions are likely to flatter the path; or, where the errors of a link
        that only one of the two has are not known, the margin. And whether they are known.
    """
    route, asked = old
    cost, margin = route.cost / COST_SCALE, settings.margin * route.cost / COST_SCALE
    errors_ms = router.arrays.rtt_error_ms[sorted({*route.links} ^ {*new.links})]
    if np.isnan(errors_ms).any():
        return margin, False
    deviation_ms = MEAN_TO_DEVIATION * math.sqrt(float(errors_ms @ errors_ms))
    curse_ms = flattered(ways_out(router, route), deviation_ms)
    curse = float(asked.prices.delay(np.array([curse_ms]))[0]) / COST_SCALE
    return settings.move_worth * cost + curse + margin * back, True


def ways_out(router: Router, route: Route) -> int:
    """How many paths there may be that share no link with each other, and so no errors: each has to leave the first
    gateway and to reach the last by a link of its own. Two at least, the path in use and the other."""
    topology = router.arrays.topology
    starts, ends, first, last = topology.out_start, topology.into_start, route.steps[0], route.end
    return max(2, min(int(starts[first + 1] - starts[first]), int(ends[last + 1] - ends[last])))


def is_dead(router: Router, route: Route) -> bool:
    return not all(router.arrays.alive[link] for link in route.links)


def within_ms(settings: PlannerSettings, old: Path, new: Path) -> bool:
    """Whether what another path saves of the round trip is too little. One that is not known is not shorter than one
    that is."""
    before_ms, after_ms = old.figures.latency_ms, new.figures.latency_ms
    if not settings.margin_ms or before_ms is None:
        return False
    return after_ms is None or before_ms - after_ms <= settings.margin_ms * (1 + EQUAL)


def gain(before: float, after: float) -> float:
    """Share of a cost that another saves."""
    return (before - after) / before if before > 0 else 0.0
