"""Traffic that is moved makes round trips longer where it comes to, and shorter where it leaves."""

from __future__ import annotations

import numpy as np
import pytest

from foremesh.model.intent import Avoid, Requirements
from foremesh.model.link import MeshGraph
from foremesh.model.queue import waiting
from foremesh.model.units import Bandwidth, Milliseconds
from foremesh.routing import PlannerSettings, make_plan, select_path
from foremesh.routing.crowding import length
from routing.demands import candidate, circuit, demand, intent
from routing.plans import AZ, LATENCY_ONLY, bandwidth, diamond, only, plan, text

CAPACITY = 1e9
RISE_MS = 1.0
NAMES = ("big", "small")


def half_full(by_north: float = 20.0, by_south: float = 21.0, used: float = 0.5) -> MeshGraph:
    """Two ways from a to z over links of which half is in use, and of which it is known how they queue."""
    return diamond(by_north, by_south, free=CAPACITY * (1 - used), capacity=CAPACITY, queueing=RISE_MS)


def queue(used: float) -> float:
    return used / (1 - used)


@pytest.mark.parametrize("used", [-0.1, 0.0, 0.3, 0.9, 0.95, 1.1, 3.0])
def test_one_link_queues_as_all_do(used: float) -> None:
    assert length.py_func(used) == waiting(np.array([used]))[0]


def test_a_path_counts_what_its_own_traffic_adds() -> None:
    chosen = select_path(half_full(), {"a": 0.0}, {"z": 0.0}, bandwidth(0.3 * CAPACITY)).path
    assert chosen is not None
    added = 2 * RISE_MS * (queue(0.8) - queue(0.5))
    assert chosen.figures.latency_ms == pytest.approx(20.0 + added)
    assert sum(chosen.terms.values()) == pytest.approx(chosen.figures.cost)


def test_a_limit_that_only_holds_without_the_own_traffic_is_not_kept() -> None:
    needs = Requirements(max_latency=Milliseconds(22.0), min_bandwidth=Bandwidth(0.3 * CAPACITY))
    selection = select_path(half_full(), {"a": 0.0}, {"z": 0.0}, needs)
    assert selection.path is None
    assert selection.infeasible is not None
    assert selection.infeasible.requirement == "maxLatency"
    assert float(selection.infeasible.nearest.removesuffix("ms")) == pytest.approx(26.0, abs=0.1)


def test_links_that_queue_in_a_way_nobody_knows_stay_as_they_are_forecast() -> None:
    unknown = diamond(free=0.5 * CAPACITY, capacity=CAPACITY)
    chosen = select_path(unknown, {"a": 0.0}, {"z": 0.0}, bandwidth(0.3 * CAPACITY)).path
    assert chosen is not None
    assert chosen.figures.latency_ms == pytest.approx(20.0)


def test_demands_spread_where_together_they_would_queue() -> None:
    asked = [
        demand(intent(f"i{number}", requirements=bandwidth(0.2 * CAPACITY)), *AZ, class_=f"c{number}")
        for number in range(2)
    ]
    made = plan(half_full(), asked, policies=[LATENCY_ONLY])
    assert sorted(text(one) for one in made.placements) == ["a > n > z", "a > s > z"]
    alone = plan(diamond(20.0, 21.0, free=0.5 * CAPACITY), asked, policies=[LATENCY_ONLY])
    assert {text(one) for one in alone.placements} == {"a > n > z"}


def test_who_stays_adds_nothing_and_those_behind_him_are_taken_to_stay() -> None:
    """What is forecast holds for the traffic that is there already, of whoever has not had his turn too."""
    asked = [
        demand(intent(f"i{number}", requirements=bandwidth(0.2 * CAPACITY)), *AZ, class_=f"c{number}")
        for number in range(2)
    ]
    running = [
        circuit(f"circuit{number}", "a", "n", "z", intents=(f"lab/i{number}",), class_=f"c{number}")
        for number in range(2)
    ]
    made = plan(half_full(20.0, 30.0), asked, running, [LATENCY_ONLY])
    assert [text(one) for one in made.placements] == ["a > n > z"] * 2
    assert [one.path.figures.latency_ms for one in made.placements if one.path] == [pytest.approx(20.0)] * 2


def test_who_leaves_makes_room_for_the_next() -> None:
    away = Requirements(min_bandwidth=Bandwidth(0.4 * CAPACITY), avoid=Avoid(gateways=("n",)))
    asked = [
        demand(intent("big", requirements=away, priority=1), *AZ, class_="c0"),
        demand(intent("small", requirements=Requirements(max_latency=Milliseconds(30))), *AZ, class_="c1"),
    ]
    running = [circuit(name, "a", "n", "z", intents=(f"lab/{name}",), class_=f"c{i}") for i, name in enumerate(NAMES)]
    big, small = plan(half_full(20.0, 20.5), asked, running, [LATENCY_ONLY]).placements
    assert (text(big), text(small)) == ("a > s > z", "a > n > z")
    assert small.path is not None
    left = 2 * RISE_MS * (queue(0.5) - queue(0.1))
    assert small.path.figures.latency_ms == pytest.approx(20.0 - left)


def test_what_a_circuit_does_not_send_is_not_taken_from_its_path() -> None:
    asked = demand(intent("x", requirements=bandwidth(0.3 * CAPACITY)), *AZ)
    running = [circuit("x", "a", "n", "z", intents=("lab/x",))]
    for sent in (0.0, 0.1 * CAPACITY):
        made = make_plan(
            half_full(), [asked], running, (), PlannerSettings(), made_at_s=0.0, measured_bps={"lab/x": (sent, 0.0)}
        )
        path, other = only(made).path, only(made).runners_up[0]
        assert path is not None
        assert path.text == "a > n > z"
        assert path.figures.latency_ms == pytest.approx(20.0), "whoever stays adds nothing"
        added = 2 * RISE_MS * (queue(0.5 + sent / CAPACITY) - queue(0.5))
        assert other.figures.latency_ms == pytest.approx(21.0 + added)


def test_traffic_back_queues_on_the_links_back() -> None:
    needs = Requirements(reverse=Bandwidth(0.3 * CAPACITY))
    chosen = select_path(half_full(), {"a": 0.0}, {"z": 0.0}, needs).path
    assert chosen is not None
    assert chosen.figures.latency_ms == pytest.approx(20.0 + 2 * RISE_MS * (queue(0.8) - queue(0.5)))


def test_a_round_trip_never_gets_below_nothing() -> None:
    graph = diamond(2.0, 30.0, free=0.1 * CAPACITY, capacity=CAPACITY, queueing=RISE_MS)
    asked = demand(intent("x", requirements=bandwidth(0.05 * CAPACITY)), "a", candidate("db", "z"))
    running = [circuit("x", "a", "n", "z", intents=("lab/x",))]
    path = only(plan(graph, [asked], running, [LATENCY_ONLY])).path
    assert path is not None
    assert path.figures.latency_ms is not None
    assert path.figures.latency_ms >= 0
