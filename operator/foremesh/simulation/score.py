"""What runs are worth: requirements missed, round trips, moves, money, time; and policies beside each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from operator import itemgetter
from typing import Any

import numpy as np

from foremesh.simulation.policies import REACTIVE
from foremesh.simulation.run import Run

ORACLE = "oracle"
OURS = "predictive"

GAP_TEXT = (
    "gap closed: (best reactive - policy) / (best reactive - oracle), in violation minutes, pooled over seeds; "
    "minutes are means per seed; - where the oracle is no better, or either did not run."
)
"""What every table and report says beside that figure."""


@dataclass(frozen=True)
class Score:
    """One policy in one world, or the mean over worlds."""

    violation_minutes: float
    """Minutes in which a requirement was missed, or there was no path, summed over demands."""
    unplaced_minutes: float
    """Those of them that are of demands without a path in any minute: what no policy may be able to help."""
    mean_latency_ms: float
    """Mean true round trip over all demands and minutes with a path."""
    p95_latency_ms: float
    moves_per_day: float
    """Changes of path, of all demands together."""
    egress_usd: float | None
    """Price of the traffic sent, over the whole run; None where prices are unknown, as in recordings."""
    gap_closed: float | None
    """Share of the violation minutes between the best reactive policy and the oracle that it avoids; None where the
    oracle is no better, or one of them did not run."""
    plan_seconds: float
    """Processor seconds spent on forecasts and plans, over the whole run."""

    @property
    def placed_minutes(self) -> float:
        """Violation minutes of demands that had a path at some time."""
        return self.violation_minutes - self.unplaced_minutes


def score(run: Run) -> Score:
    """Judge a run by itself."""
    known = run.rtt_ms[np.isfinite(run.rtt_ms)]
    return Score(
        violation_minutes=float(run.violated.sum()),
        unplaced_minutes=float(run.violated[~np.isfinite(run.rtt_ms).any(axis=1)].sum()),
        mean_latency_ms=float(known.mean()) if len(known) else float("nan"),
        p95_latency_ms=float(np.quantile(known, 0.95)) if len(known) else float("nan"),
        moves_per_day=len(run.moves) / run.days,
        egress_usd=run.egress_usd,
        gap_closed=None,
        plan_seconds=run.plan_seconds,
    )


def side_by_side(scores: Mapping[str, Score]) -> dict[str, Score]:
    """The policies of one world with the share of the gap that each closes."""
    return {name: replace(one, gap_closed=gap_closed([one], [scores])) for name, one in scores.items()}


def gap_closed(ours: Sequence[Score], worlds: Sequence[Mapping[str, Score]]) -> float | None:
    """Share of the violation minutes between the best reactive policy of each world and the oracle, closed over all."""
    if not all(ORACLE in world and any(name in world for name in REACTIVE) for world in worlds):
        return None
    best = sum(best_reactive(world).violation_minutes for world in worlds)
    least = sum(world[ORACLE].violation_minutes for world in worlds)
    if best <= least:
        return None
    return (best - sum(one.violation_minutes for one in ours)) / (best - least)


def best_reactive(world: Mapping[str, Score]) -> Score:
    """The reactive policy with the fewest violation minutes."""
    return min((world[name] for name in REACTIVE if name in world), key=lambda one: one.violation_minutes)


@dataclass(frozen=True)
class Duel:
    """Our policy against another, world by world, by violation minutes."""

    won: int
    lost: int
    tied: int


def duel(worlds: Sequence[Mapping[str, Score]], other: Callable[[Mapping[str, Score]], Score]) -> Duel:
    """Count the worlds in which the predictive policy missed fewer, more, or as many minutes as another."""
    apart = [world[OURS].violation_minutes - other(world).violation_minutes for world in worlds]
    return Duel(sum(one < 0 for one in apart), sum(one > 0 for one in apart), sum(one == 0 for one in apart))


MINUTES, MOVES, P95 = "violation minutes", "moves a day", "95th percentile of round trips"
_JUDGED: tuple[tuple[str, str, Callable[[Score], float]], ...] = (
    (MINUTES, "{:,.0f}", lambda one: one.violation_minutes),
    (MOVES, "{:,.1f}", lambda one: one.moves_per_day),
    (P95, "{:,.1f} ms", lambda one: one.p95_latency_ms),
)


def verdict(scores: Mapping[str, Score]) -> tuple[str, ...]:
    """Who won, in sentences: on violation minutes and on moves, and on the 95th percentile where ours is worse.

    Ours is held against the reactive policy that is best at each: who never moves and who knows the future are no
    choice that anybody has. Empty if either side did not run.
    """
    others = {name: scores[name] for name in REACTIVE if name in scores}
    if OURS not in scores or not others:
        return ()
    said = []
    for what, how, figure in _JUDGED:
        best = min(others.values(), key=figure)
        name = next(name for name in others if others[name] is best)
        mine, theirs = (how.format(figure(one)) for one in (scores[OURS], best))
        won = figure(scores[OURS]) < figure(best)
        outcome = "is level with" if mine == theirs else "wins against" if won else "loses to"
        if what == P95 and (won or mine == theirs):
            continue
        of_placed = " to ".join(f"{one.placed_minutes:,.0f}" for one in (scores[OURS], best))
        more = f" ({of_placed} of placed intents)" if what == MINUTES and any_unplaced(scores) else ""
        said.append(f"{what}: {OURS} {outcome} {name}, {mine} to {theirs}{more}")
    return tuple(said)


def any_unplaced(scores: Mapping[str, Score]) -> bool:
    """Whether minutes of intents that found no place are worth showing apart."""
    return any(one.unplaced_minutes for one in scores.values())


def mean(worlds: Sequence[Mapping[str, Score]]) -> dict[str, Score]:
    """Every policy's mean over worlds; ``gap_closed`` is that of all worlds together."""
    result = {}
    for name in worlds[0]:
        scores = [world[name] for world in worlds]
        figures = {key: _mean([asdict(one)[key] for one in scores]) for key in asdict(scores[0]) if key != "gap_closed"}
        result[name] = Score(**figures, gap_closed=gap_closed(scores, worlds))
    return result


def _mean(values: Sequence[float | None]) -> Any:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None


def to_json(worlds: Mapping[int, Mapping[str, Score]]) -> dict[str, Any]:
    """The contest as plain data: the ``policies`` by name, and the ``seeds`` that the predictive one won and lost, in
    all and against each."""
    every = [*worlds.values()]
    found: dict[str, Any] = {"policies": {name: _plain(one) for name, one in mean(every).items()}}
    seeds: dict[str, Any] = {"count": len(every)}
    if OURS in every[0]:
        if any(name in every[0] for name in REACTIVE):
            seeds |= asdict(duel(every, best_reactive))
        others = [name for name in every[0] if name != OURS]
        seeds["against"] = {name: asdict(duel(every, itemgetter(name))) for name in others}
    seeds["by_seed"] = {str(seed): {name: _plain(one) for name, one in world.items()} for seed, world in worlds.items()}
    return found | {"seeds": seeds}


def _plain(one: Score) -> dict[str, Any]:
    return {key: None if value is None else round(value, 4) for key, value in asdict(one).items()}
