"""Joint placement beside the mixed-integer program of all demands at once: part *joint* of ``bench_routing``.

Demands of one priority that the links of real topologies cannot all hold by their shortest ways; half of the questions
cannot be served in full. HiGHS places as much bandwidth as fits, and that at the least cost, each within half a percent
and half a minute; where it proves less in that time, what it has not ruled out counts. Costs leave out the term of free
bandwidth, which is no sum over links.
"""

from __future__ import annotations

import time
from statistics import fmean
from unittest.mock import patch

from dataplane.figures import Figure, Sheet
from parts import Say

from foremesh.model.link import MeshGraph
from foremesh.model.plan import Placement, Plan
from foremesh.routing import Demand, PlannerSettings, make_plan

QUESTIONS = 32
"""Each of sixteen topologies twice."""
GAP, MOST_S = 5e-3, 30.0
"""Within which HiGHS has to prove its answer, and for how long it may try."""
SETTINGS = PlannerSettings(runners_up=0, explain=False)


def measure(sheet: Sheet, say: Say, *, questions: int = QUESTIONS) -> None:
    """Placing jointly, one after the other, and HiGHS."""
    from routing.crowds import asks, crowd
    from routing.milp import Joint

    served, alone, most, taken, used = [], [], [], [], []
    costs, same = list[float](), list[float]()
    for seed in range(questions):
        graph, demands, policies = crowd(seed)
        begun = time.process_time()
        made = make_plan(graph, demands, (), policies, SETTINGS, made_at_s=0.0)
        taken.append(time.process_time() - begun)
        with patch("foremesh.routing.planner.contended", return_value=False):
            one_by_one = make_plan(graph, demands, (), policies, SETTINGS, made_at_s=0.0)
        begun = time.process_time()
        program = Joint(graph, asks(demands, policies))
        most.append(program.most_served_bps(gap=GAP, most_s=MOST_S))
        used.append(time.process_time() - begun)
        served.append(_bps(made, demands))
        alone.append(_bps(one_by_one, demands))
        chosen = [one.path is not None for one in made.placements]
        cost = sum(one.path.figures.cost or 0.0 for one in made.placements if one.path)
        least = program.least_cost(chosen, gap=GAP, most_s=MOST_S)
        if least is not None:
            same.append(cost / least)
        theirs = program.mean_cost(most[-1] * (1 - GAP), gap=GAP, most_s=MOST_S)
        if theirs is not None:
            costs.append(cost / sum(chosen) / theirs)
        say(f"{seed + 1}: {len(demands)} demands, {served[-1] / most[-1]:.2%} of what HiGHS serves")
    bench = f"{len(served)} crowds on real topologies of up to 50 gateways"
    sheet.add(
        Figure(
            bench,
            "bandwidth placed, of HiGHS's",
            sum(served) / 1e9,
            "Gbit/s",
            baseline=sum(most) / 1e9,
            target=0.98,
            judged="ratio >= target",
        )
    )
    sheet.add(Figure(bench, "the same, one after the other", sum(alone) / 1e9, "Gbit/s", baseline=sum(most) / 1e9))
    worst = min(ours / bound for ours, bound in zip(served, most, strict=True))
    sheet.add(Figure(bench, "least share of HiGHS's in any", worst, ""))
    sheet.add(
        Figure(
            bench,
            f"cost of a demand placed, beside HiGHS's (in the {len(costs)} that it solved)",
            fmean(costs),
            "",
            target=1.02,
        )
    )
    sheet.add(
        Figure(
            bench,
            f"cost, beside the least for the same demands (in the {len(same)} that it solved)",
            fmean(same),
            "",
            target=1.02,
        )
    )
    sheet.add(Figure(bench, "processor time a plan, beside HiGHS's", fmean(taken), "s", baseline=fmean(used)))
    shares = [_shared(*crowd(seed)[:2]) for seed in range(questions)]
    kept, unshared = (sum(one) / 1e9 for one in zip(*shares, strict=True))
    sheet.add(Figure(bench, "bandwidth kept for standbys, beside no sharing", kept, "Gbit/s", baseline=unshared))


def _bps(made: Plan, demands: list[Demand]) -> float:
    sizes = {one.key: one.asked_bps[0] for one in demands}
    return sum(sizes[one.intent, one.source] for one in made.placements if one.path)


def _shared(graph: MeshGraph, demands: list[Demand]) -> tuple[float, float]:
    """Bandwidth kept on all links for the standbys of a third of the demands, and the sum of what they would take."""
    some = demands[: len(demands) // 3]
    settings = PlannerSettings(runners_up=0, explain=False, standby=True)
    made = make_plan(graph, some, (), (), settings, made_at_s=0.0)
    sizes = {one.key: one.asked_bps[0] for one in some}
    needed: dict[object, dict[object, float]] = {}
    total = 0.0
    for one in made.placements:
        if not (one.standby_reserved and one.path and one.standby):
            continue
        size = sizes[one.intent, one.source]
        links = [link for link in one.standby.links if link not in one.path.links]
        total += size * len(links)
        for failure in _failures(one):
            for link in links:
                by_failure = needed.setdefault(link, {})
                by_failure[failure] = by_failure.get(failure, 0.0) + size
    return sum(max(by_failure.values()) for by_failure in needed.values()), total


def _failures(one: Placement) -> list[object]:
    if one.path is None:
        return []
    return [*one.path.gateways[1:-1], *(frozenset((link.src, link.dst)) for link in one.path.links)]
