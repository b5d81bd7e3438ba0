"""Demands placed by one compiled function get what they would get one by one; and the order in which a search looks at
links changes no answer."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest

from foremesh.model.intent import Profile, Requirements
from foremesh.model.link import MeshGraph
from foremesh.model.units import Bandwidth, Milliseconds
from foremesh.routing import PROFILES, Demand, PlannerSettings, make_plan, runs
from foremesh.routing.arrays import Arrays
from foremesh.routing.ask import Ask, Router
from foremesh.routing.jobs import Job
from foremesh.routing.labels import first_route
from foremesh.routing.placing import Placing
from routing.demands import candidate, demand, intent
from routing.test_replan import random_demands, random_mesh, random_policies
from routing.worlds import link, mesh, node

ONE_PATH = PlannerSettings(runners_up=0)


def one_by_one(placing: Placing, jobs: Iterable[Job]) -> None:
    for job in jobs:
        placing.seek(job)


@pytest.fixture
def together(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many demands were placed at once, run by run; runs of two are enough."""
    sizes, place = list[int](), runs._Run.place

    def counted(run: runs._Run) -> None:
        sizes.append(len(run._rows))
        place(run)

    monkeypatch.setattr(runs._Run, "place", counted)
    monkeypatch.setattr(runs, "FEWEST", 2)
    return sizes


def test_plans_are_those_made_one_by_one(monkeypatch: pytest.MonkeyPatch, together: list[int]) -> None:
    placed = 0
    for seed in range(40):
        rng = random.Random(seed)
        graph = random_mesh(rng)
        demands, policies = random_demands(rng, graph), random_policies(rng, graph)
        made = make_plan(graph, demands, (), policies, ONE_PATH, made_at_s=0.0)
        with monkeypatch.context() as patch:
            patch.setattr("foremesh.routing.planner.seek_all", one_by_one)
            assert made == make_plan(graph, demands, (), policies, ONE_PATH, made_at_s=0.0), f"seed {seed}"
        placed += sum(one.path is not None for one in made.placements)
    assert placed > 400
    assert sum(size for size in together if size > 1) > placed / 3


def line(*free_bps: float) -> tuple[MeshGraph, list[Demand]]:
    """A chain of gateways, and demands from end to end that each take 10 Mbit/s of it."""
    names = [f"g{number:02}" for number in range(len(free_bps) + 1)]
    links = [link(*names[place : place + 2], free=free) for place, free in enumerate(free_bps)]
    graph = mesh(*map(node, names), links=tuple(links))
    asked = Requirements(min_bandwidth=Bandwidth(10e6))
    ends = (names[0], candidate("z", names[-1]))
    return graph, [demand(intent(f"i{n}", requirements=asked), *ends, class_=f"own-{n}") for n in range(8)]


def test_who_comes_later_gets_what_is_left_and_paths_may_be_longer_than_expected(
    monkeypatch: pytest.MonkeyPatch, together: list[int]
) -> None:
    monkeypatch.setattr(runs, "STEPS", 1)
    graph, demands = line(*[1e9] * 12, 45e6, *[1e9] * 12)
    made = make_plan(graph, demands, (), (), ONE_PATH, made_at_s=0.0)
    assert max(together) == len(demands)
    figures = [one.path.figures for one in made.placements if one.path]
    assert [one.bandwidth_bps for one in figures] == [45e6, 35e6, 25e6, 15e6]
    assert {one.hops for one in figures} == {25}


def test_demands_whose_tables_have_no_room_together_are_placed_in_several_runs(
    monkeypatch: pytest.MonkeyPatch, together: list[int]
) -> None:
    graph, demands = line(1e9, 1e9)
    whole = make_plan(graph, demands, (), (), ONE_PATH, made_at_s=0.0)
    together.clear()
    monkeypatch.setattr(runs, "MOST_BYTES", 1)
    assert make_plan(graph, demands, (), (), ONE_PATH, made_at_s=0.0) == whole
    assert max(together) == 1
    assert sum(together) == len(demands)


@pytest.mark.parametrize("tied", [True, False], ids=["many-cost-the-same", "all-cost-something-else"])
def test_the_order_in_which_links_are_looked_at_changes_no_answer(tied: bool) -> None:
    differ = 0
    for seed in range(300):
        rng = random.Random(seed)
        names = [f"g{number}" for number in range(rng.randint(3, 14))]
        links = [
            link(
                one, other, rng.choice((0.0, 10.0, 20.0)) if tied else rng.uniform(0, 30), price=rng.choice((0.0, 0.1))
            )
            for one in names
            for other in names
            if one != other and rng.random() < 0.5
        ]
        router = Router(Arrays(mesh(*map(node, names), links=tuple(links))))
        some = rng.sample(names, 3)
        limits = {"max_latency": Milliseconds(rng.choice((20, 30, 50)))} if rng.random() < 0.5 else {}
        if rng.random() < 0.3:
            limits["max_hops"] = rng.randint(1, 3)
        ask = Ask(
            sources={some[0]: 0.0},
            destinations=dict.fromkeys(some[1:], 0.0),
            requirements=Requirements(**limits),
            weights=PROFILES[rng.choice((Profile.COST, Profile.LATENCY))],
        )
        problem = router.frame(ask, router.prices(ask))
        assert problem.order is not None
        route = first_route(problem)
        assert route == first_route(replace(problem, order=None)), f"seed {seed}"
        assert route is None or route == first_route(replace(problem, known=route.cost)), f"seed {seed}"
        differ += route is not None
    assert differ > 100, "there must be answers to compare"


def test_an_order_follows_links_that_become_cheaper() -> None:
    topology, rng = Arrays(random_mesh(random.Random(7))).topology, np.random.default_rng(7)
    ends = (topology.src, topology.dst, topology.out_start, topology.into_start)
    least = rng.permutation(len(topology.link_ids)) + 100
    order = topology.ordered(least)
    for _ in range(20):
        links = rng.choice(least.size, 3, replace=False)
        least[links] -= rng.integers(1, 100, 3) * least.size  # which leaves no two the same
        order = order.lowered(links, *ends, least)
        for ours, theirs in zip(order, topology.ordered(least), strict=True):
            np.testing.assert_array_equal(ours, theirs)
