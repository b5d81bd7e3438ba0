"""How long planning takes: ``make bench-plan``.

Prints a table and writes one JSON object a figure to out/bench-plan.jsonl. Where there is a baseline, it is NetworkX's
Dijkstra, one call an intent on the same weights. It does less: it knows no requirement, promises no bandwidth, keeps no
circuit where it is, and finds neither a runner-up nor a standby nor a reason. The last figures are of the command as
people run it, from the start of the process to its end, on a mesh that made_mesh.py makes; others who use the machine
lengthen its seconds on the clock, not those of the processor.
"""

from __future__ import annotations

import json
import os
import platform
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import made_mesh
import networkx
import numpy as np
from rich.console import Console
from rich.table import Table

from foremesh.cli.plan import NOT_PLACED
from foremesh.model.circuit import Circuit, CircuitSpec, CircuitStatus
from foremesh.model.forecast import Forecast
from foremesh.model.intent import Destination, Encryption, Intent, IntentSpec, Profile, Requirements, Source
from foremesh.model.link import LinkId, MeshGraph
from foremesh.model.meta import Meta
from foremesh.model.plan import Plan
from foremesh.model.resource import GatewaySpec, Location, Resource, ResourceSpec, ResourceType, Role
from foremesh.model.series import Metric
from foremesh.model.units import Bandwidth, Milliseconds, Price, Ratio
from foremesh.routing import PROFILES, Candidate, Demand, Planner, PlannerSettings, build_graph
from foremesh.routing.arrays import Arrays, Topology
from foremesh.routing.ask import Ask, Router
from foremesh.routing.cost import COST_SCALE

OUT = Path(__file__).parents[1] / "out" / "bench-plan.jsonl"
STEPS = 15
"""Steps of the forecasts: a quarter of an hour, minute by minute."""


@dataclass(frozen=True)
class Scene:
    """A mesh with forecasts and demands."""

    gateways: tuple[Resource, ...]
    links: tuple[LinkId, ...]
    forecasts: dict[Metric, Forecast]
    demands: tuple[Demand, ...]

    def graph(self) -> MeshGraph:
        return build_graph(self.gateways, self.links, self.forecasts)


def scene(gateways: int, links: int, demands: int, *, infeasible: int = 0, seed: int = 7) -> Scene:
    """Gateways strewn over a plane, with so many directed links between them.

    Nearly all requirements can be met, but not always by the cheapest path; of ``infeasible`` the latency cannot.
    """
    rng = random.Random(seed)
    places = {f"mesh/g{number:03}": (rng.uniform(0, 60), rng.uniform(0, 40)) for number in range(gateways)}
    made = tuple(_gateway(id, number, rng) for number, id in enumerate(places))
    pairs = _pairs(places, links // 2, rng)
    ids = tuple(sorted((LinkId(src=a, dst=b) for pair in pairs for a, b in (pair, pair[::-1])), key=str))
    base = {frozenset(pair): _distance(places, *pair) * rng.uniform(1.0, 2.5) + 1 for pair in pairs}
    asked = []
    for number in range(demands):
        source, end = rng.sample(list(places), 2)
        hopeless = number < infeasible
        asked.append(_demand(number, source, end, 0.01 if hopeless else _distance(places, source, end) * 3 + 60, rng))
    rtt = np.array([base[frozenset((id.src, id.dst))] for id in ids])
    forecasts = {
        Metric.RTT: _forecast(Metric.RTT, ids, rtt, rtt * 0.2),
        Metric.LOSS: _forecast(Metric.LOSS, ids, np.array([rng.choice((0.0, 0.0, 0.001, 0.005)) for _ in ids]), 0.001),
        Metric.THROUGHPUT: _forecast(Metric.THROUGHPUT, ids, np.array([rng.uniform(0, 4e8) for _ in ids]), 5e7),
        Metric.LOAD: _forecast(Metric.LOAD, tuple(places), np.array([rng.random() / 2 for _ in places]), 0.1),
    }
    return Scene(made, ids, forecasts, tuple(asked))


def _gateway(id: str, number: int, rng: random.Random) -> Resource:
    namespace, _, name = id.partition("/")
    gateway = GatewaySpec(
        role=Role.CORE,
        endpoint=f"203.0.113.{number}:51820",
        capacity=Bandwidth(rng.choice((1e9, 2.5e9, 1e10))),
        risk_groups=(f"provider-{number % 5}",),
    )
    location = Location(provider=f"cloud-{number % 5}", region=f"region-{number % 8}")
    spec = ResourceSpec(
        type=ResourceType.GATEWAY,
        location=location,
        egress_price=Price(rng.choice((0.01, 0.05, 0.09))),
        gateway=gateway,
    )
    return Resource(meta=Meta(name=name, namespace=namespace), spec=spec)


def _distance(places: dict[str, tuple[float, float]], a: str, b: str) -> float:
    (x, y), (u, v) = places[a], places[b]
    return float(((x - u) ** 2 + (y - v) ** 2) ** 0.5)


def _pairs(places: dict[str, tuple[float, float]], count: int, rng: random.Random) -> list[tuple[str, str]]:
    """Everybody linked with one of the nearest of those before, as meshes grow, then more pairs by chance."""
    names = list(places)
    chosen: dict[tuple[str, str], None] = {}
    for index, name in enumerate(names[1:], start=1):
        near = sorted(names[:index], key=lambda other, name=name: _distance(places, name, other))  # type: ignore[misc]
        chosen[rng.choice(near[:5]), name] = None
    rest = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :] if (a, b) not in chosen]
    return [*chosen, *rng.sample(rest, count - len(chosen))]


def _demand(number: int, source: str, end: str, latency_ms: float, rng: random.Random) -> Demand:
    requirements = Requirements(
        max_latency=Milliseconds(latency_ms),
        max_loss=Ratio(0.03),
        min_bandwidth=Bandwidth(rng.choice((1e6, 5e6, 20e6))),
        max_hops=rng.choice((None, 6)),
        encryption=Encryption.END_TO_END,
    )
    spec = IntentSpec(
        from_=Source(resource=f"app-{number}"),
        to=Destination(resource=f"db-{number}"),
        requirements=requirements,
        profile=rng.choice(list(Profile)),
        priority=rng.randint(0, 3),
    )

    def workload(name: str) -> Resource:
        return Resource(meta=Meta(name=name, namespace="shop"), spec=ResourceSpec(type=ResourceType.CONTAINER))

    return Demand(
        intent=Intent(meta=Meta(name=f"intent-{number}", namespace="shop"), spec=spec),
        source=workload(f"app-{number}"),
        source_gateways={source: 0.5},
        candidates=(Candidate(resource=workload(f"db-{number}"), gateways={end: 0.5}),),
        class_=f"class-{number}",
    )


def _forecast(metric: Metric, keys: tuple[Any, ...], middle: np.ndarray, spread: np.ndarray | float) -> Forecast:
    values = np.stack([middle - spread, middle, middle + spread]).clip(0)
    steps = np.repeat(values[:, :, None], STEPS, axis=2)
    return Forecast(metric, keys, 60.0, 0.0, steps, ("last",) * len(keys), ("",) * len(keys))


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


def seconds(work: Callable[[], object], repeats: int) -> float:
    """The best of several runs, after one that is not counted: what else the machine does only adds to it."""
    work()
    taken = []
    for _ in range(repeats):
        begun = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begun)
    return min(taken)


def dijkstra(made: Scene) -> Callable[[], object]:
    """NetworkX on the weights of the Balanced profile; making its graph is not counted."""
    router = Router(Arrays(made.graph()))
    nobody = Ask(sources={}, destinations={}, requirements=Requirements(), weights=PROFILES[Profile.BALANCED])
    costs = router.prices(nobody).link.tolist()
    graph = networkx.DiGraph()
    graph.add_weighted_edges_from(
        (id.src, id.dst, cost / COST_SCALE) for id, cost in zip(router.arrays.topology.link_ids, costs, strict=True)
    )
    ends = [(*one.source_gateways, *one.candidates[0].gateways) for one in made.demands]

    def work() -> None:
        for source, end in ends:
            networkx.dijkstra_path(graph, source, end)

    return work


def snapshot(made: Scene) -> Callable[[], object]:
    """From forecasts to a priced snapshot, as every plan begins; who is linked with whom is known from before."""
    topology = Topology(made.graph())

    def work() -> None:
        router = Router(Arrays(made.graph(), topology))
        router.prices(Ask(sources={}, destinations={}, requirements=Requirements(), weights=PROFILES[Profile.BALANCED]))

    return work


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


@dataclass
class Sheet:
    """Figures as they come in; the smaller the better, all of them."""

    rows: list[dict[str, Any]]

    def add(
        self, bench: str, metric: str, value: float, unit: str, target: float, baseline: float | None = None
    ) -> None:
        self.rows.append(
            {
                "bench": bench,
                "metric": metric,
                "value": round(value, 4),
                "unit": unit,
                "baseline": None if baseline is None else round(baseline, 4),
                "ratio": None if baseline is None else round(value / baseline, 4),
                "target": target,
                "ok": value <= target,
                "machine": f"{platform.machine()} {os.cpu_count()} cores, Python {platform.python_version()}",
                "date": datetime.now(UTC).isoformat(timespec="seconds"),
            }
        )

    def print(self) -> None:
        table = Table(title="Planning, smaller is better; baseline: NetworkX's Dijkstra, which does less (see above)")
        for column in ("bench", "metric", "value", "unit", "baseline", "ratio", "target", "ok"):
            table.add_column(column, justify="left" if column in ("bench", "metric", "unit") else "right")
        for row in self.rows:
            table.add_row(*("" if row[one.header] is None else str(row[one.header]) for one in table.columns))
        Console(width=130).print(table)

    def write(self, path: Path) -> None:
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in self.rows))


def main() -> None:
    sheet = Sheet([])
    cold, warm = compiling()
    sheet.add("start", "first import: compiles", cold, "s", 10)
    sheet.add("start", "later imports", warm, "s", 3)

    small, large = scene(40, 122, 50), scene(100, 9900, 500, infeasible=50)
    sheet.add("snapshot", "graph, arrays, prices: 122 links", 1e3 * seconds(snapshot(small), 21), "ms", 2)
    sheet.add("snapshot", "graph, arrays, prices: 9,900 links", 1e3 * seconds(snapshot(large), 5), "ms", 80)

    graph = small.graph()
    planner = Planner(small.demands, (), PlannerSettings(runners_up=0))
    circuits = in_place(planner.plan(graph, (), made_at_s=0.0), small.demands)
    taken = seconds(lambda: planner.plan(graph, circuits, made_at_s=0.0), 21)
    baseline = seconds(dijkstra(small), 5)
    bench, lost = "40 gateways, 122 links", 50 - len(circuits)
    sheet.add(bench, f"plan of 50 demands, {lost} without a path", 1e3 * taken, "ms", 20, 1e3 * baseline)
    planner = Planner(small.demands, (), PlannerSettings(runners_up=0, explain=False))
    taken = seconds(lambda: planner.plan(graph, circuits, made_at_s=0.0), 21)
    sheet.add(bench, "the same without reasons", 1e3 * taken, "ms", 10, 1e3 * baseline)
    sheet.add(bench, "a demand of these", 1e3 * taken / 50, "ms", 0.2, 1e3 * baseline / 50)

    full = large.graph()
    planner = Planner(large.demands, (), PlannerSettings(runners_up=2, standby=True))
    plan = planner.plan(full, (), made_at_s=0.0)
    served = sum(one.path is not None for one in plan.placements)
    taken = seconds(lambda: planner.plan(full, (), made_at_s=0.0), 3)
    baseline = seconds(dijkstra(large), 1)
    bench = "100 gateways, 9,900 links"
    metric = f"plan of 500 demands, {500 - served} without a path, standby, 2 runners-up"
    sheet.add(bench, metric, taken, "s", 2, baseline)
    planner = Planner(large.demands, (), PlannerSettings(runners_up=0))
    circuits = in_place(plan, large.demands)
    taken = seconds(lambda: planner.plan(full, circuits, made_at_s=0.0), 3)
    sheet.add(bench, "plan of 500 demands in place", taken, "s", 1, baseline)

    with tempfile.TemporaryDirectory() as folder:
        made_mesh.write(Path(folder), gateways_count=100, workloads=100, intents=500, seed=1)
        for output in ("table", "json"):
            clock, processor = command(folder, "-o", output)
            bench = f"foremesh plan -o {output}"
            sheet.add(bench, "100 gateways, 500 intents: the whole command", clock, "s", 3)
            sheet.add(bench, "the same, processor time", processor, "s", 3)

    sheet.print()
    sheet.write(OUT)
    sys.exit(0 if all(row["ok"] for row in sheet.rows) else 1)


if __name__ == "__main__":
    main()
