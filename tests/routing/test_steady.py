"""Plans are weighed by how likely limits are broken: on a circuit's own path, and on those of others that it fills."""

from __future__ import annotations

import pytest
from msgspec import structs

from foremesh.model.intent import Requirements
from foremesh.model.link import Figure, MeshGraph
from foremesh.model.plan import Plan
from foremesh.model.units import Bandwidth, Milliseconds
from routing.demands import circuit, demand, intent
from routing.plans import AZ, LATENCY_ONLY, diamond, only, plan, text

CAPACITY = 1e9
NORTH, SOUTH = "a > n > z", "a > s > z"


def world(by_north: float, by_south: float, *, north: float = 0.0, south: float = 0.0) -> MeshGraph:
    """Two ways over links that are half full and queue; pessimistically each link's round trip is so much longer."""
    graph = diamond(by_north, by_south, free=0.5 * CAPACITY, capacity=CAPACITY, queueing=1.0)
    links = []
    for one in graph.links:
        assert one.rtt_ms is not None
        more = north if "n" in (one.id.src, one.id.dst) else south
        figure = Figure(median=one.rtt_ms.median, pessimistic=one.rtt_ms.median + more)
        links.append(structs.replace(one, rtt_ms=figure))
    return structs.replace(graph, links=tuple(links))


def asked(latency: float, bandwidth: float = 0.0) -> Requirements:
    return Requirements(
        max_latency=Milliseconds(latency), min_bandwidth=Bandwidth(bandwidth * CAPACITY) if bandwidth else None
    )


def two(*, big: int = 0, tight: int = 0, weigh: bool = True) -> dict[str, str]:
    """One that sends much from the south, where it may come too late, and one in the north with little to spare."""
    demands = [
        demand(intent("big", requirements=asked(29.0, 0.3), priority=big), *AZ, class_="c0"),
        demand(intent("tight", requirements=asked(23.0), priority=tight), *AZ, class_="c1"),
    ]
    circuits = [
        circuit("big", "a", "s", "z", intents=("lab/big",), class_="c0"),
        circuit("tight", "a", "n", "z", intents=("lab/tight",), class_="c1"),
    ]
    made: Plan = plan(world(20.0, 25.0, south=3.0), demands, circuits, [LATENCY_ONLY], weigh_risk=weigh)
    return {one.intent: text(one) for one in made.placements}


def test_nobody_saves_his_limit_by_breaking_another_s() -> None:
    assert two() == {"lab/big": SOUTH, "lab/tight": NORTH}


def test_without_weighing_he_does() -> None:
    assert two(weigh=False)["lab/big"] == NORTH


def test_a_higher_priority_goes_first() -> None:
    assert two(big=1)["lab/big"] == NORTH
    assert two(tight=1)["lab/big"] == SOUTH


LIKELIER = {
    "a-limit-just-missed-for-certain-is-left-for-one-that-may-hold": (24.0, 4.0, NORTH),
    "not-for-one-that-will-not": (27.0, 0.5, SOUTH),
}


@pytest.mark.parametrize(("by_north", "more", "taken"), LIKELIER.values(), ids=LIKELIER.keys())
def test_where_no_path_is_certain_the_likelier_is_taken(by_north: float, more: float, taken: str) -> None:
    old = circuit("c", "a", "s", "z", intents=("lab/x",))
    one = demand(intent("x", requirements=asked(25.0)), *AZ)
    placement = only(plan(world(by_north, 25.2, north=more), [one], [old], [LATENCY_ONLY]))
    assert text(placement) == taken
    assert placement.infeasible is not None


def test_a_small_risk_is_no_reason_to_move() -> None:
    old = circuit("c", "a", "s", "z", intents=("lab/x",))
    one = demand(intent("x", requirements=asked(32.9)), *AZ)
    graph = world(31.0, 25.0, south=4.0)
    assert text(only(plan(graph, [one], [old], [LATENCY_ONLY], weigh_risk=False))) == NORTH
    placement = only(plan(graph, [one], [old], [LATENCY_ONLY]))
    assert text(placement) == SOUTH
    assert placement.kept


def test_circuits_that_share_a_path_are_weighed_together() -> None:
    demands = [demand(intent(name, requirements=asked(25.0)), *AZ) for name in ("x", "y")]
    old = circuit("c", "a", "s", "z", intents=("lab/x", "lab/y"))
    made = plan(world(24.0, 25.2, north=4.0), demands, [old], [LATENCY_ONLY])
    assert {text(one) for one in made.placements} == {NORTH}
    again = plan(world(24.0, 25.2, north=4.0), demands, [old], [LATENCY_ONLY])
    assert again == made
