"""A plan of a large mesh, in a process of its own for the sake of its memory: part *large* of ``bench_routing``."""

from __future__ import annotations

import resource
import subprocess
import sys

from dataplane.figures import Figure, Sheet
from parts import Say

from foremesh.routing import Planner, PlannerSettings
from planning.scene import scene
from planning.timed import quickest


def measure(sheet: Sheet, say: Say, size: tuple[int, int, int]) -> None:
    """Time and memory; ``size`` is gateways, directed links, intents."""
    gateways, links, intents = size
    say(f"making {gateways:,} gateways, {links:,} links, {intents:,} intents, and a plan, in another process")
    program = [sys.executable, "-m", "planning.large", *map(str, size)]
    done = subprocess.run(program, check=True, stdout=subprocess.PIPE, text=True)
    seconds, peak_gib, placed = map(float, done.stdout.split())
    bench = f"{gateways:,} gateways, {links:,} links"
    sheet.add(Figure(bench, f"plan of {intents:,} intents ({placed:,.0f} placed)", seconds, "s", target=120))
    sheet.add(Figure(bench, "most memory, scene and all", peak_gib, "GiB", target=8))


def _plan(gateways: int, links: int, intents: int) -> None:
    """Prints seconds, GiB, and how many were placed."""
    made = scene(gateways, links, intents)
    planner = Planner(made.demands, (), PlannerSettings(runners_up=0))
    taken, _, plan = quickest(lambda: planner.plan(made.graph, (), made_at_s=0.0), 1)
    peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 2**30
    print(taken, peak_gib, sum(one.path is not None for one in plan.placements))


if __name__ == "__main__":
    _plan(*map(int, sys.argv[1:]))
