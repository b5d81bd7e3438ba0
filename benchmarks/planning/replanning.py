"""One link changed after another, a plan after each: how long until it is there, and whether it is the plan from
nothing."""

from __future__ import annotations

import random
import time

import numpy as np
from dataplane.figures import Figure, Sheet
from msgspec import structs
from parts import Say

from foremesh.model import link as model
from foremesh.model.link import MeshGraph, PredictedLink
from foremesh.model.units import Ratio
from foremesh.routing import Planner, PlannerSettings
from planning.scene import Scene

CHANGES = 100
"""Links changed, one at a time, anywhere in the mesh; each stays as it has become."""
CHECKS = 3
"""After how many of them a plan from nothing is made as well."""
FACTORS = (0.5, 0.8, 0.95, 1.05, 1.25, 2.0, 4.0)
"""What round trips become; one link in eight dies instead."""
TARGET_MS = 50.0


def changed(rng: random.Random, link: PredictedLink) -> PredictedLink:
    if rng.random() < 0.125:
        dead = Ratio(1.0)
        return structs.replace(link, loss=model.Figure(median=dead, pessimistic=dead))
    factor, rtt_ms = rng.choice(FACTORS), link.rtt_ms
    assert rtt_ms is not None
    longer = model.Figure(median=rtt_ms.median * factor, pessimistic=rtt_ms.pessimistic * factor)
    return structs.replace(link, rtt_ms=longer)


def measure(sheet: Sheet, bench: str, made: Scene, say: Say, count: int = CHANGES) -> None:
    """Add what it takes; the plans are those of ``PlannerSettings(runners_up=0)``."""
    settings, rng = PlannerSettings(runners_up=0), random.Random(1)
    planner, graph = Planner(made.demands, (), settings), made.graph
    planner.plan(graph, (), made_at_s=0.0)
    begun = time.process_time()
    planner.warm()
    warming_ms = (time.process_time() - begun) * 1e3
    spent_ms, placed, full, differ = list[float](), list[int](), 0, 0
    for turn in range(1 + count):
        links = list(graph.links)
        number = rng.randrange(len(links))
        links[number] = changed(rng, links[number])
        graph, last = MeshGraph(nodes=graph.nodes, links=tuple(links)), planner.last
        begun = time.process_time()
        plan = planner.replan(graph, (), made_at_s=0.0)
        spent_ms.append((time.process_time() - begun) * 1e3)
        assert last is not None
        full += bool(last.told)
        if not last.told:
            placed.append(last.placed)
        if turn % max(1, count // CHECKS) == 1:
            differ += Planner(made.demands, (), settings).plan(graph, (), made_at_s=0.0) != plan
            say(f"{turn} links changed, {np.median(spent_ms):.1f} ms")
    first, rest = spent_ms[0], spent_ms[1:]
    what = f"replan after one link of {len(graph.links):,} changed, median of {count}, processor time"
    sheet.add(Figure(bench, what, float(np.median(rest)), "ms", target=TARGET_MS))
    for share in (90, 99):
        text = f"the same, {share} of a hundred are quicker"
        sheet.add(Figure(bench, text, float(np.percentile(rest, share)), "ms"))
    sheet.add(Figure(bench, "the same, the first one after a full plan", first, "ms"))
    sheet.add(Figure(bench, "what is worked out for it after a full plan, while nobody waits", warming_ms, "ms"))
    sheet.add(Figure(bench, "intents placed anew, mean", float(np.mean(placed)), "intents"))
    sheet.add(Figure(bench, "full plans made instead", full, "plans"))
    sheet.add(Figure(bench, "replans that differ from the plan from nothing", differ, "plans", target=0))
