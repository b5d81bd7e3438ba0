"""How good and how fast the path search is: ``make bench-routing``.

Prints a table and writes one JSON object a figure to out/bench-routing.jsonl. All of it runs in one thread. Seconds are
those on the clock, which others who use the machine lengthen, unless processor time is said. What was made before a
plan, such as the mesh and the intents, is kept out of the rounds of the garbage collector, as it would be in a process
that made it long ago.

- *exact*: a thousand random questions over real topologies, asking for everything at once, put to the search and to
  HiGHS as mixed-integer programs: how often feasibility or cost differ.
- *full*: a plan from nothing; beside it the same label setting written on NetworkX (planning/label_setting.py), timed
  on a sample of the same intents and counted by the intent. It only searches: it promises no bandwidth, and gives
  neither figures nor reasons.
- *replan*: a link changed, and the plan after it, a hundred times (planning/replanning.py).
- *large*: the same for ten times the mesh, in a process of its own for the sake of its memory.
- *joint*: many demands on links that cannot hold them all, beside HiGHS placing all at once (planning/joint.py).
- *stability*: how good choices are and how seldom they change, on recordings and in simulated worlds
  (planning/stability.py).
"""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_name] = "1"

from dataplane.figures import Figure, Sheet  # noqa: E402
from parts import Part, Say, run  # noqa: E402
from planning import joint, large, replanning, stability  # noqa: E402
from planning.label_setting import Graph, Question  # noqa: E402
from planning.scene import Scene, scene  # noqa: E402
from planning.timed import quickest  # noqa: E402

from foremesh.routing import Planner, PlannerSettings  # noqa: E402
from foremesh.routing.arrays import Arrays  # noqa: E402
from foremesh.routing.ask import Ask, Router  # noqa: E402

OUT = Path(__file__).parents[1] / "out" / "bench-routing.jsonl"
FULL, LARGE = (1_000, 50_000, 10_000), (10_000, 500_000, 20_000)
"""Gateways, directed links, intents."""
QUICK = 10
"""By how much ``--quick`` divides sizes and numbers."""
EXACT_QUESTIONS = 1_000
SAMPLE = 40
"""Intents that NetworkX is timed on, and that have to have the same answers."""
REPEATS = 3
"""Plans made; the quickest counts, for what else the machine does only adds to it."""


def sizes(whole: tuple[int, int, int], quick: bool) -> tuple[int, int, int]:
    gateways, links, intents = (one // (QUICK if quick else 1) for one in whole)
    return gateways, links, intents


def exact(sheet: Sheet, say: Say, quick: bool) -> None:
    """The search against HiGHS."""
    from routing.milp import least_cost
    from routing.topologies import NAMES, question

    count, differ, feasible = EXACT_QUESTIONS // (QUICK if quick else 1), 0, 0
    for seed in range(count):
        graph, ask = question(seed)
        router = Router(Arrays(graph))
        route, expected = router.best(ask), least_cost(graph, ask)
        if route is None or expected is None:
            differ += (route is None) != (expected is None)
        else:
            feasible += 1
            cost = router.path(route, ask, router.prices(ask)).figures.cost or 0.0
            differ += abs(cost - expected) > 1e-6 * max(1.0, expected)
        if seed % 100 == 99:
            say(f"{seed + 1} questions to HiGHS, {feasible} feasible, {differ} answers differ")
    bench = f"{count} questions over {len(NAMES)} real topologies"
    sheet.add(Figure(bench, f"answers unlike HiGHS's ({feasible} feasible)", differ, "questions", target=0))


def asks_of(made: Scene, numbers: Iterable[int]) -> list[Ask]:
    """Questions as the planner puts them, with nothing promised."""
    from foremesh.routing.planner import prepare

    return [prepare(made.demands[number], ()).asks[0][1] for number in numbers]


def full(sheet: Sheet, say: Say, quick: bool) -> None:
    """A plan from nothing, beside NetworkX."""
    size = sizes(FULL, quick)
    say(f"making {size[0]} gateways, {size[1]} links, {size[2]} intents")
    made = scene(*size)
    bench = f"{size[0]:,} gateways, {size[1]:,} links"
    planner = Planner(made.demands, (), PlannerSettings(runners_up=0))
    taken, used, plan = quickest(lambda: planner.plan(made.graph, (), made_at_s=0.0), REPEATS)
    placed = sum(one.path is not None for one in plan.placements)
    what = f"plan of {size[2]:,} intents ({made.constrained:,} constrained, {placed:,} placed)"
    sheet.add(Figure(bench, what, taken, "s", target=2.0, bound_by="see docs/reference/bench-routing.md"))
    sheet.add(Figure(bench, "the same, processor time", used, "s"))
    say(f"{taken:.2f} s; now NetworkX on {SAMPLE} of them")
    router = Router(Arrays(made.graph))
    step = max(1, size[2] // SAMPLE)
    asks = asks_of(made, range(0, size[2], step)[:SAMPLE])
    graph = Graph(router.frame(asks[0], router.prices(asks[0])))
    spent, differ = 0.0, 0
    for ask in asks:
        problem = router.frame(ask, router.prices(ask))
        asked = Question.of(problem)
        begun = time.perf_counter()
        theirs = graph.best(asked)
        spent += time.perf_counter() - begun
        ours = router.best(ask)
        differ += (None if ours is None else (ours.cost, ours.steps)) != theirs
    baseline = spent / len(asks)
    sheet.add(
        Figure(
            bench,
            f"intents a second, NetworkX's on {len(asks)}",
            size[2] / taken,
            "1/s",
            baseline=1 / baseline,
            target=50.0,
            judged="ratio >= target",
        )
    )
    sheet.add(Figure(bench, f"answers of these {len(asks)} that differ", differ, "intents", target=0))
    for text, settings in (
        ("the same with 2 runners-up", PlannerSettings()),
        ("the same with standby", PlannerSettings(runners_up=0, standby=True)),
    ):
        planner = Planner(made.demands, (), settings)
        made_plan = partial(planner.plan, made.graph, (), made_at_s=0.0)
        taken, used, _ = quickest(made_plan, 1)
        sheet.add(Figure(bench, text, taken, "s"))
        sheet.add(Figure(bench, f"{text}, processor time", used, "s"))
        say(f"{text}: {taken:.2f} s")


def replan(sheet: Sheet, say: Say, quick: bool) -> None:
    """The plan after a link changed."""
    size = sizes(FULL, quick)
    say(f"making {size[0]} gateways, {size[1]} links, {size[2]} intents")
    made = scene(*size)
    gc.collect()
    gc.freeze()
    replanning.measure(sheet, f"{size[0]:,} gateways, {size[1]:,} links", made, say)
    gc.unfreeze()


def _large(sheet: Sheet, say: Say, quick: bool) -> None:
    large.measure(sheet, say, sizes(LARGE, quick))


def _joint(sheet: Sheet, say: Say, quick: bool) -> None:
    joint.measure(sheet, say, questions=joint.QUESTIONS // (QUICK if quick else 1))


def _stability(sheet: Sheet, say: Say, quick: bool) -> None:
    stability.measure(sheet, say, part=QUICK if quick else 1)


PARTS = {
    "exact": Part(exact, "5 min, quick 20 s"),
    "full": Part(full, "1 min, quick 10 s"),
    "replan": Part(replan, "1 min, quick 10 s"),
    "large": Part(_large, "3 min, quick 20 s"),
    "joint": Part(_joint, "20 min, quick 2 min"),
    "stability": Part(_stability, "10 min, quick 1 min"),
}


def main() -> int:
    """Exit status: 0, or 1 if a target is missed."""
    return run(
        "Routing: exactness and time",
        PARTS,
        OUT,
        description="Measure how good and how fast the path search is.",
        epilog="On two cores that do nothing else",
        quick=f"a {QUICK}th of everything; targets are for the whole",
    )


if __name__ == "__main__":
    sys.exit(main())
