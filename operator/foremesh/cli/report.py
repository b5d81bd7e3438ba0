"""From runs of the simulator to what reports, tables and JSON say of each Intent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from foremesh.drawing.mesh import picture
from foremesh.drawing.values import Applied, LinkObserved, Report, ReportIntent, ReportMove, ReportPolicy, Series
from foremesh.model.intent import Requirements
from foremesh.model.manifest import write
from foremesh.model.plan import Plan
from foremesh.simulation.carried import Carried
from foremesh.simulation.policies import POLICIES
from foremesh.simulation.score import GAP_TEXT, OURS, Score, score, side_by_side, verdict

if TYPE_CHECKING:
    from foremesh.model.link import LinkId
    from foremesh.model.series import Floats
    from foremesh.simulation.contest import Contest
    from foremesh.simulation.run import Run
    from foremesh.simulation.scene import Scene
    from foremesh.simulation.world import World

SIMULATED = (
    "The network: traffic of others, queues, reroutes, cuts and brown-outs are made up from a seed.",
    "The agents: everybody is taken to have one, and every plan to be in force at once.",
    "Time: days pass in seconds; a plan is made every few minutes, and not every half minute.",
)

REAL = ("Forecasts, path search and planning: the code that the operator runs.",)
REAL_MANIFESTS = "The manifests, as a cluster would take them."
REAL_CONFIGS = "Configurations and policies: what agents and the cluster would be told."
MADE_UP_INTENTS = "The mesh and its intents: a gateway at each place, and pairs drawn from the seed."


def intents(scene: Scene, run: Run) -> tuple[ReportIntent, ...]:
    """Every Intent of a scene from every source, as a policy served it."""
    found = []
    for index, demand in enumerate(scene.demands):
        placement, needs = run.placements[index], demand.intent.spec.requirements
        actual = run.rtt_ms[index]
        moves = [
            ReportMove(run.start_s + 60.0 * move.minute, move.before, move.after, move.why)
            for move in run.moves
            if move.demand == index
        ]
        forecast_ms, high_ms = (_each_minute(row[index], run.every, len(actual)) for row in run.predicted_ms)
        infeasible = placement.infeasible
        error_ms, below_p90 = judged(actual, forecast_ms, high_ms)
        never = not np.isfinite(actual).any()
        found.append(
            ReportIntent(
                name=demand.intent.id,
                asked=asked(needs),
                source=demand.source.id,
                destination=placement.destination or "",
                path=placement.path.text if placement.path else "",
                limit_ms=None if needs.max_latency is None else float(needs.max_latency),
                predicted_ms=_mean(forecast_ms),
                actual_ms=_mean(actual),
                forecasters=placement.path.forecast_models if placement.path else (),
                error_ms=error_ms,
                below_p90=below_p90,
                moves=tuple(moves),
                violation_minutes=float(run.violated[index].sum()),
                unplaced_minutes=float(run.violated[index].sum()) if never else 0.0,
                why_not=infeasible.message if infeasible else "",
                series=Series(run.start_s, actual, forecast_ms, high_ms, violated=run.violated[index])
                if not never
                else None,
            )
        )
    return (*found, *(ReportIntent(name=id_, asked="", why_not=why) for id_, why in sorted(scene.unresolved.items())))


def judged(actual_ms: Floats, forecast_ms: Floats, high_ms: Floats) -> tuple[float | None, float | None]:
    """How good a forecast was, over the minutes in which all is known: the mean absolute error of its median, and the
    share of minutes no longer than its pessimistic quantile."""
    known = np.isfinite(actual_ms) & np.isfinite(forecast_ms) & np.isfinite(high_ms)
    if not known.any():
        return None, None
    error_ms = np.abs(actual_ms - forecast_ms)[known].mean()
    return float(error_ms), float((actual_ms <= high_ms)[known].mean())


def observed(scene: Scene, world: World, run: Run) -> dict[LinkId, LinkObserved]:
    """What probes and counters said of every link in the last minute of a run: the world answers the same as it did
    then, as the last plan is still in force."""
    last = slice(world.minutes - 1, world.minutes)
    state = world.probed(last, world.actual(last, Carried(scene, run.placements).own_bps))
    columns = (state.rtt_ms[:, 0], state.loss[:, 0], state.throughput_bps[:, 0])
    return {
        link: LinkObserved(*(float(one) if np.isfinite(one) else None for one in figures))
        for link, *figures in zip(scene.links, *columns, strict=True)
    }


def days(number: float) -> str:
    """``1 day``, ``1.5 days``."""
    return f"{number:g} day{'' if number == 1 else 's'}"


def asked(needs: Requirements) -> str:
    """Requirements in words that fit a line."""
    words = []
    for name, value in write(needs).items():
        if isinstance(value, dict):
            value = "; ".join(f"{part} {', '.join(names)}" for part, names in value.items())
        words.append(f"{name} {value if isinstance(value, str | int) else ', '.join(value)}")
    return ", ".join(words) or "any path"


def of_runs(
    contest: Contest,
    seed: int,
    runs: Mapping[str, Run],
    *,
    title: str = "",
    applied: tuple[Applied, ...] = (),
) -> Report:
    """The report on one world: what our policy did in it, or the only one that ran, beside the others."""
    scene, world = contest.prepare(seed)
    ours = OURS if OURS in runs else next(iter(runs))
    run = runs[ours]
    scores = side_by_side({name: score(one) for name, one in runs.items()})
    plan = Plan(made_at_s=run.start_s, placements=run.placements)
    problems = {(id_, ""): why for id_, why in scene.unresolved.items()}
    resources = {one.id: one for one in scene.gateways}
    told = intents(scene, run)
    placed = sum(bool(one.path) for one in told)
    return Report(
        title=title or f"{contest.topology.name}, {days(contest.days)}",
        summary=(
            f"{len(scene.gateways)} gateways, {len(scene.links)} directed links, {len(told)} intents, of which "
            f"{placed} have a path at the end. Over {days(contest.days)} of a {contest.kind} world (seed {seed}) the "
            f"{ours} policy missed a requirement in {scores[ours].placed_minutes:,.0f} minutes, all intents with a "
            f"path together, and moved {scores[ours].moves_per_day:,.1f} times a day.{_never(told)}"
        ),
        simulated=SIMULATED if contest.bundle else (MADE_UP_INTENTS, *SIMULATED),
        real=(*([REAL_MANIFESTS] if contest.bundle else []), *REAL, *([REAL_CONFIGS] if applied else [])),
        mesh=picture(run.graph, plan, resources=resources, problems=problems, observed=observed(scene, world, run)),
        intents=told,
        policies=tuple(_policy(name, one) for name, one in scores.items()),
        policy=ours,
        applied=applied,
        verdict=verdict(scores),
        gap_text=GAP_TEXT,
    )


def _never(told: tuple[ReportIntent, ...]) -> str:
    """A sentence on intents that had no path in any minute, if there are some."""
    minutes = [one.unplaced_minutes for one in told if one.unplaced_minutes]
    who = "1 intent" if len(minutes) == 1 else f"{len(minutes)} intents"
    return f" {who} never had a path: another {sum(minutes):,.0f} minutes." if minutes else ""


def as_json(told: tuple[ReportIntent, ...]) -> dict[str, Any]:
    """Intents as plain data, by id; of several sources, each has its own entry ``id from source``."""
    names = [one.name for one in told]
    found = {}
    for one in told:
        name = one.name if names.count(one.name) == 1 else f"{one.name} from {one.source}"
        found[name] = {
            "asked": one.asked,
            "source": one.source,
            "destination": one.destination or None,
            "path": one.path or None,
            "predicted_ms": _rounded(one.predicted_ms),
            "actual_ms": _rounded(one.actual_ms),
            "forecasters": list(one.forecasters),
            "forecast_error_ms": _rounded(one.error_ms),
            "share_below_p90": _rounded(one.below_p90),
            "moves": len(one.moves),
            "violation_minutes": one.violation_minutes,
            "unplaced_minutes": one.unplaced_minutes,
            "why_not": one.why_not or None,
        }
    return found


def _policy(name: str, one: Score) -> ReportPolicy:
    return ReportPolicy(
        name=name,
        about=POLICIES[name].what,
        violation_minutes=one.violation_minutes,
        unplaced_minutes=one.unplaced_minutes,
        mean_latency_ms=one.mean_latency_ms,
        p95_latency_ms=one.p95_latency_ms,
        moves_per_day=one.moves_per_day,
        egress_usd=one.egress_usd,
        gap_closed=one.gap_closed,
        plan_seconds=one.plan_seconds,
    )


def _each_minute(per_plan: Floats, every: int, minutes: int) -> Floats:
    return np.repeat(per_plan, every)[:minutes]


def _mean(values: Floats) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
