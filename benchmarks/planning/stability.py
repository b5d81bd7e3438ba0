"""How steady choices are: relays on an all-pairs matrix, parallel paths of a recording, policies in simulated worlds.

Recordings are read where FOREMESH_SHARED says; without it, its parts say so and judge nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from dataplane.figures import Figure, Sheet
from parts import Say

from foremesh.simulation import matrix, parallel
from foremesh.simulation import topology as topologies
from foremesh.simulation.contest import Contest, compete
from foremesh.simulation.policies import REACTIVE
from foremesh.simulation.score import OURS, best_reactive, duel, gap_closed
from foremesh.telemetry.recorded import load

TOPOLOGY, DAYS, SEEDS = "topozoo/Geant2012", 1.0, range(1, 21)
APERIODIC_SEEDS = range(1, 6)
POLICIES = (*REACTIVE, OURS, "oracle")

UNFORESEEN = "faults that nobody can foresee: minutes until the next plan are lost to every policy but the oracle"


def shared(name: str, say: Say) -> Path | None:
    """Where a recording is; None, and a word about it, if nobody says where recordings are."""
    folder = os.environ.get("FOREMESH_SHARED")
    path = Path(folder) / "data" / name if folder else None
    if path is None or not path.exists():
        say(f"{name} is not there: set FOREMESH_SHARED to the folder above data/{name}")
        return None
    return path


def relays(sheet: Sheet, say: Say) -> None:
    """Direct or relayed, slice by slice."""
    path = shared("planetlab_rtt_ms.npz", say)
    if path is None:
        return
    found = matrix.to_json(matrix.judge(matrix.load(path)))
    bench = f"{path.name}: direct or relayed"
    sheet.add(Figure(bench, "mean round trip", found["chosen_ms"], "ms", baseline=found["direct_ms"], target=132.5))
    sheet.add(Figure(bench, "pairs worse than direct", 100 * found["share_worse"], "%", target=4.0))
    sheet.add(Figure(bench, "mean round trip of the oracle", found["oracle_ms"], "ms"))


def triples(path: Path) -> tuple[list[np.ndarray], float]:
    """Paths of a recording that are parallel, as ``simulation.parallel`` groups them, where all have samples; and
    seconds between these."""
    series = load(path)
    names = sorted(series, key=str)
    medians = [float(np.nanmedian(series[name].values)) for name in names]
    found, step_s = [], 0.0
    for group in parallel.groups(medians):
        known = [series[names[number]] for number in group]
        kept = [dict(zip(one.times_s.tolist(), one.values.tolist(), strict=True)) for one in known]
        common = sorted(set.intersection(*({at for at, value in one.items() if value == value} for one in kept)))
        found.append(np.array([[one[at] for one in kept] for at in common]))
        step_s = step_s or float(np.median(np.diff(known[0].times_s)))
    return found, step_s


def probes(sheet: Sheet, say: Say) -> None:
    """One of three parallel paths at every sample."""
    path = shared("atlas_rtt_ms.parquet", say)
    if path is None:
        return
    groups, step_s = triples(path)
    found = {
        name: [parallel.outcome(one, rule(one, step_s), step_s) for one in groups]
        for name, rule in parallel.RULES.items()
    }
    lost = {name: 100 * float(np.mean([one.lost for one in some])) for name, some in found.items()}
    moves = {name: float(np.mean([one.moves_per_day for one in some])) for name, some in found.items()}
    bench = f"{path.name}: one of three alike, {len(groups)} groups"
    for name in parallel.RULES:
        ours, median = name == "foremesh", "one-hour median"
        figures = ((f"{name}: round trip above the oracle's", lost, "%", 1.0), (f"{name}: moves", moves, "1/day", 0.5))
        for metric, values, unit, most in figures:
            baseline, target = (values[median], most) if ours else (None, None)
            judged = "ratio <= target"
            sheet.add(Figure(bench, metric, values[name], unit, baseline=baseline, target=target, judged=judged))


def worlds(sheet: Sheet, say: Say, seeds: Iterable[int], kind: str) -> None:
    """Policies in simulated worlds."""
    contest = Contest(topology=topologies.load(TOPOLOGY), kind=kind, days=DAYS, policies=POLICIES)
    seeds = list(seeds)
    say(f"{len(seeds)} {kind} worlds of {DAYS:g} days, {len(POLICIES)} policies")
    scores = [*compete(contest, seeds, jobs=1).values()]
    bench = f"{TOPOLOGY}, {len(seeds)} {kind} worlds"
    mine = [world[OURS] for world in scores]
    best = [best_reactive(world).violation_minutes for world in scores]
    minutes = float(np.mean([one.violation_minutes for one in mine]))
    steady = float(np.mean([world["reactive-hysteresis"].moves_per_day for world in scores]))
    moved = float(np.mean([one.moves_per_day for one in mine]))
    sheet.add(Figure(bench, "violation minutes, by the best reactive's", minutes, "min", baseline=float(np.mean(best))))
    if kind == "diurnal":
        share = gap_closed(mine, scores)
        won = duel(scores, best_reactive).won
        if share is not None:
            sheet.add(_least(bench, "gap to the oracle closed", 100 * share, "%", 60.0))
        sheet.add(_least(bench, f"seeds won of {len(seeds)}", won, "seeds", 0.9 * len(seeds)))
        what = "moves, by those of reactive with hysteresis"
        sheet.add(Figure(bench, what, moved, "1/day", baseline=steady, target=1.0, judged="ratio <= target"))
    else:
        worst = max(one.violation_minutes / least for one, least in zip(mine, best, strict=True))
        sheet.add(Figure(bench, "violation minutes over the best reactive's, worst", worst, "ratio", target=1.01))


def _least(bench: str, metric: str, value: float, unit: str, least: float) -> Figure:
    """A figure that should be no less than something."""
    return Figure(bench, metric, value, unit, baseline=least, target=1.0, judged="ratio >= target", bound_by=UNFORESEEN)


def measure(sheet: Sheet, say: Say, *, part: int = 1) -> None:
    """All of it, or as many worlds fewer."""
    relays(sheet, say)
    probes(sheet, say)
    for seeds, kind in ((SEEDS, "diurnal"), (APERIODIC_SEEDS, "aperiodic")):
        worlds(sheet, say, list(seeds)[: max(1, len(seeds) // part)], kind)
