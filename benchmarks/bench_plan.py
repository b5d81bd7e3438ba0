"""How long people wait for a plan: ``make bench-plan``.

Prints a table and writes one JSON object a figure to out/bench-plan.jsonl. The command is timed as people run it, from
the start of the process to its end, on a mesh that made_mesh.py makes; others who use the machine lengthen its seconds
on the clock, not those of the processor.

- *start*: importing the planner, with nothing compiled yet and with all kept.
- *again*: a plan of what has its circuits already, as the operator makes it every minute, beside the first plan.
- *command*: ``foremesh plan``.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import made_mesh
from dataplane.figures import Figure, Sheet
from parts import Part, Say, run
from planning.scene import scene
from planning.timed import quickest

from foremesh.cli.plan import NOT_PLACED
from foremesh.model.circuit import Circuit, CircuitSpec, CircuitStatus
from foremesh.model.meta import Meta
from foremesh.model.plan import Plan
from foremesh.routing import Demand, Planner, PlannerSettings

OUT = Path(__file__).parents[1] / "out" / "bench-plan.jsonl"


def start(sheet: Sheet, say: Say, quick: bool) -> None:
    """Compiling takes as long however quick."""
    cold, warm = compiling()
    sheet.add(Figure("start", "first import: compiles, processor time", cold, "s"))
    sheet.add(Figure("start", "later imports, processor time", warm, "s", target=3.0))


def again(sheet: Sheet, say: Say, quick: bool) -> None:
    """With a standby and two runners-up each."""
    size = (40, 400, 50) if quick else (100, 9900, 500)
    made, settings = scene(*size), PlannerSettings(standby=True)
    planner = Planner(made.demands, (), settings)
    first_s, _, plan = quickest(lambda: planner.plan(made.graph, (), made_at_s=0.0), 3)
    circuits = in_place(plan, made.demands)
    taken_s, _, _ = quickest(lambda: planner.plan(made.graph, circuits, made_at_s=0.0), 3)
    bench = f"{size[0]} gateways, {size[1]:,} links, {size[2]} intents"
    sheet.add(Figure(bench, "first plan, standbys, runners-up", first_s, "s", target=2.0))
    sheet.add(Figure(bench, f"plan with {len(circuits)} circuits in place", taken_s, "s", baseline=first_s, target=2.0))


def whole_command(sheet: Sheet, say: Say, quick: bool) -> None:
    """Table and JSON."""
    size = 20 if quick else 100
    with tempfile.TemporaryDirectory() as folder:
        made_mesh.write(Path(folder), gateways_count=size, workloads=size, intents=5 * size, seed=1)
        for output in ("table", "json"):
            clock, processor = command(folder, "-o", output, repeats=1 if quick else 5)
            bench = f"foremesh plan -o {output}"
            sheet.add(Figure(bench, f"{size} gateways, {5 * size} intents", clock, "s", target=3.0))
            sheet.add(Figure(bench, "the same, processor time", processor, "s", target=3.0))
            say(f"{output}: {clock:.2f} s")


def in_place(plan: Plan, demands: tuple[Demand, ...]) -> list[Circuit]:
    """The circuits that a plan leads to."""
    by_key = {demand.key: demand for demand in demands}
    return [
        Circuit(
            meta=Meta(name=one.intent.partition("/")[2], namespace="mesh"),
            spec=CircuitSpec(
                from_=one.path.gateways[0], to=one.path.gateways[-1], class_=by_key[one.intent, one.source].class_
            ),
            status=CircuitStatus(path=one.path.gateways, intents=(one.intent,)),
        )
        for one in plan.placements
        if one.path and one.path.links
    ]


def compiling() -> tuple[float, float]:
    """Seconds of processor time to import the planner in a new process: with nothing compiled yet, with all kept."""
    taken = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(2):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            environment = {**os.environ, "XDG_CACHE_HOME": folder}
            subprocess.run([sys.executable, "-c", "import foremesh.routing.kernels"], env=environment, check=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            taken.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return taken[0], taken[1]


def command(folder: str, *options: str, repeats: int = 5) -> tuple[float, float]:
    """Seconds on the clock and of processor time that ``foremesh plan`` takes with a folder, the least of several runs;
    a first one that is not counted compiles what is not compiled yet.

    Raises:
        RuntimeError: If it made no plan.
    """
    program = [str(Path(sys.executable).with_name("foremesh")), "plan", "-f", folder, *options]
    clock, processor = [], []
    for _ in range(repeats + 1):
        before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        done = subprocess.run(program, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
        clock.append(time.perf_counter() - begun)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        processor.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        if done.returncode not in (0, NOT_PLACED):
            raise RuntimeError(f"{' '.join(program)} ended with {done.returncode}: {done.stderr}; nothing was measured")
    return min(clock[1:]), min(processor[1:])


PARTS = {
    "start": Part(start, "1 min"),
    "again": Part(again, "10 s"),
    "command": Part(whole_command, "40 s, quick 10 s"),
}


def main() -> int:
    """Exit status: 0, or 1 if a target is missed."""
    return run(
        "Planning, smaller is better",
        PARTS,
        OUT,
        description="Measure how long people wait for a plan.",
        epilog="On two cores that do nothing else",
        quick="smaller meshes, fewer runs: to see that it works",
    )


if __name__ == "__main__":
    sys.exit(main())
