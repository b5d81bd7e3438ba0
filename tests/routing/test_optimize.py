"""``optimize_path``: circuits in place, on new predictions."""

from __future__ import annotations

import doctest
import math
import random
from typing import Any

import pytest

from foremesh.model.intent import Profile, Requirements
from foremesh.model.link import MeshGraph
from foremesh.model.units import Bandwidth, Milliseconds
from foremesh.routing import PROFILES, Advice, InUse, PlannerSettings, optimize, optimize_path, select_path
from routing.worlds import both, mesh, node, random_graph

NEAR, FAR = ("ams", "lon", "fra"), ("ams", "par", "fra")


def two_ways(by_lon_ms: float = 10.0, by_par_ms: float = 30.0, free: float = 1e9) -> MeshGraph:
    return mesh(
        *map(node, ("ams", "fra", "lon", "par")),
        links=(
            *both("ams", "lon", by_lon_ms / 2, free=free),
            *both("lon", "fra", by_lon_ms / 2, free=free),
            *both("ams", "par", by_par_ms / 2),
            *both("par", "fra", by_par_ms / 2),
        ),
    )


def circuit(name: str, path: tuple[str, ...] = (), **more: object) -> InUse:
    return InUse(name=name, source="ams", destination="fra", path=path, **more)  # type: ignore[arg-type]


def only(advice: tuple[Advice, ...]) -> Advice:
    (one,) = advice
    return one


def way(one: Advice) -> tuple[str, ...]:
    assert one.path is not None
    return one.path.gateways


def test_the_example_in_the_docstring_runs() -> None:
    result = doctest.testmod(optimize)
    assert result.attempted > 0
    assert result.failed == 0


def test_a_circuit_moves_to_what_will_be_better_and_says_why() -> None:
    one = only(optimize_path(two_ways(), [circuit("c", FAR)]))
    assert (one.moves, one.before, way(one)) == (True, FAR, NEAR)
    assert one.reason.startswith("moved from ams > par > fra to ams > lon > fra: 30.0 -> 10.0 ms, cost ")


def test_it_stays_for_less_than_the_margin() -> None:
    graph = two_ways(by_lon_ms=29.0)
    one = only(optimize_path(graph, [circuit("c", FAR)]))
    assert (one.moves, way(one)) == (False, FAR)
    assert "within the 10% margin" in one.reason
    assert only(optimize_path(graph, [circuit("c", FAR)], PlannerSettings(margin=0.0))).moves


def test_what_has_no_path_yet_gets_the_best() -> None:
    one = only(optimize_path(two_ways(), [circuit("c")]))
    assert (one.moves, way(one)) == (True, NEAR)


def test_it_leaves_a_path_that_will_not_do() -> None:
    needs = Requirements(max_latency=Milliseconds(20))
    one = only(optimize_path(two_ways(by_lon_ms=18.0, by_par_ms=21.0), [circuit("c", FAR, requirements=needs)]))
    assert way(one) == NEAR
    assert "the old path will not do (maxLatency: asked 20ms, nearest 21ms" in one.reason


def test_a_path_with_a_loop_is_left_and_called_that() -> None:
    one = only(optimize_path(two_ways(), [circuit("c", ("ams", "par", "ams", "lon", "fra"))]))
    assert way(one) == NEAR
    assert one.reason.endswith("10.0 ms; the old path will not do (it passes ams twice)")


def test_where_nothing_does_the_requirement_is_named_and_traffic_goes_on() -> None:
    needs = Requirements(max_latency=Milliseconds(5))
    one = only(optimize_path(two_ways(), [circuit("c", NEAR, requirements=needs)]))
    assert one.infeasible is not None
    assert (one.infeasible.requirement, one.infeasible.nearest) == ("maxLatency", "10ms")
    assert (one.moves, way(one)) == (False, NEAR), "a slow path beats none"
    nowhere = only(optimize_path(two_ways(), [circuit("c", requirements=needs)]))
    assert (nowhere.path, nowhere.moves) == (None, False)


def test_circuits_share_what_there_is_by_priority() -> None:
    needs = Requirements(min_bandwidth=Bandwidth(300e6))
    graph = two_ways(free=400e6)
    low, high = circuit("a", requirements=needs), circuit("b", requirements=needs, priority=5)
    placed = {one.name: way(one) for one in optimize_path(graph, [low, high])}
    assert placed == {"a": FAR, "b": NEAR}


def test_what_a_circuit_carries_is_not_counted_against_itself() -> None:
    """By lon 400 Mbit/s are left beside the 300 that the circuit sends there itself."""
    needs = Requirements(min_bandwidth=Bandwidth(500e6))
    graph = two_ways(free=400e6)
    mine = circuit("c", NEAR, requirements=needs, carries_bps=(300e6, 0.0))
    assert way(only(optimize_path(graph, [mine]))) == NEAR
    assert way(only(optimize_path(graph, [circuit("c", requirements=needs)]))) == FAR


def test_one_circuit_without_a_path_is_select_path() -> None:
    for seed in range(40):
        rng = random.Random(seed)
        graph = random_graph(rng)
        source, destination = rng.sample([one.id for one in graph.nodes], 2)
        profile = rng.choice(list(Profile))
        one = only(optimize_path(graph, [InUse(name="c", source=source, destination=destination, profile=profile)]))
        chosen = select_path(graph, {source: 0.0}, {destination: 0.0}, weights=PROFILES[profile])
        assert one.path == chosen.path, f"seed {seed}"


def test_the_order_of_the_input_does_not_matter() -> None:
    needs = Requirements(min_bandwidth=Bandwidth(150e6))
    every = [circuit(f"c{number}", (NEAR, FAR)[number % 2], requirements=needs) for number in range(6)]
    expected = optimize_path(two_ways(free=400e6), every)
    assert [one.name for one in expected] == [f"c{number}" for number in range(6)]
    assert optimize_path(two_ways(free=400e6), every[::-1]) == expected


@pytest.mark.parametrize(
    ("circuits", "said"),
    [
        pytest.param([circuit("c"), circuit("c")], "2 circuits are called c", id="called-alike"),
        pytest.param(
            [circuit("c", ("ams", "lon"))], "is from ams to fra, and its path is ams > lon", id="path-elsewhere"
        ),
    ],
)
def test_what_makes_no_sense_is_refused(circuits: list[InUse], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        optimize_path(two_ways(), circuits)


@pytest.mark.parametrize(
    ("circuits", "settings", "said"),
    [
        ([circuit("c", carries_bps=(math.nan, 0.0))], None, "circuit c: carries_bps there is nan"),
        ([circuit("c", requirements=Requirements(max_hops=-1))], None, "circuit c: requirements.max_hops is -1"),
        (
            [circuit("c")],
            PlannerSettings(margin=math.nan),
            "settings.margin is nan; it must be a number from 0 to",
        ),
        ([circuit("c")], PlannerSettings(dwell_s=-1.0), "settings.dwell_s is -1"),
        ([circuit("c")], PlannerSettings(most_moves=2.0), "settings.most_moves is 2; it must be a number from 0 to 1"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(
    circuits: list[InUse], settings: PlannerSettings | None, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        optimize_path(two_ways(), circuits, settings)
    with pytest.raises(ValueError, match=r"free_bps.median is -1"):
        optimize_path(two_ways(free=-1.0), [circuit("c")])


@pytest.mark.parametrize(
    ("circuits", "settings", "said"),
    [
        (None, None, "circuits is None; it must be a list of InUse"),
        (["web"], None, "one of the circuits is 'web'; it must be an InUse"),
        ([circuit("c", priority="high")], None, "circuit c: priority is 'high'; it must be a whole number"),
        ([circuit("c", profile="Fast")], None, "circuit c: profile is 'Fast'; it must be a Profile"),
        ([circuit("c", "ams")], None, r"circuit c: path is 'ams'; .* give a tuple such as \('ams',\)"),
        ([circuit("c", list(NEAR))], None, "circuit c: path is .* give a tuple"),
        ([circuit("c", carries_bps=(1.0,))], None, "circuit c: carries_bps is .*; it must be a tuple of bit/s there"),
        ([circuit("c", carries_bps=5.0)], None, "circuit c: carries_bps is 5.0"),
        ([circuit("c", requirements=Requirements(regions="eu"))], None, "circuit c: requirements.regions is 'eu'"),
        ([InUse(name="c", source=None, destination="fra")], None, "circuit c: source is None; it must be a string"),
        ([circuit("c")], {"margin": 0.1}, "settings is .*; it must be a PlannerSettings"),
    ],
)
def test_what_is_of_another_type_is_refused_by_name(circuits: Any, settings: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        optimize_path(two_ways(), circuits, settings)
