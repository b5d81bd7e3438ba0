"""What a circuit uses beyond what it asked for goes where the circuit goes, and is counted once."""

from __future__ import annotations

import random

import pytest
from msgspec import structs

from foremesh.model.intent import Profile, Requirements
from foremesh.model.link import Figure, LinkId, MeshGraph
from foremesh.model.plan import Plan
from foremesh.model.units import Bandwidth
from foremesh.routing import make_plan
from foremesh.routing.demand import InPlace, traffic_in_place
from routing.demands import candidate, circuit, demand, intent
from routing.plans import plan
from routing.test_planner import circuits_of, random_demands
from routing.worlds import both, mesh, node, random_graph

AZ = ("a", candidate("db", "z"))
USED = 800e6


def two_ways(*, by_b: float = 1e9, by_c: float = 1e9) -> MeshGraph:
    """From a to z by b or by c, alike, each of 1 Gbit/s, of which so much is free."""
    wide = {"capacity": 1e9}
    return mesh(
        *(node(name) for name in "abcz"),
        links=(
            *both("a", "b", 10.0, free=by_b, **wide),
            *both("b", "z", 10.0, free=by_b, **wide),
            *both("a", "c", 10.0, free=by_c, **wide),
            *both("c", "z", 10.0, free=by_c, **wide),
        ),
    )


def paths(plan: Plan) -> list[str]:
    return [one.path.text if one.path else "" for one in plan.placements]


def test_a_circuit_is_not_driven_away_by_its_own_traffic() -> None:
    """It fills most of its path, the other is empty: there it would be just the same."""
    asked = [demand(intent("x", profile=Profile.THROUGHPUT), *AZ)]
    here = [circuit("c", "a", "b", "z", intents=("lab/x",))]
    known = {"lab/c": (USED, USED)}
    filled = two_ways(by_b=1e9 - USED)
    assert paths(make_plan(filled, asked, here, (), made_at_s=0.0, measured_bps=known)) == ["a > b > z"]
    blind = make_plan(filled, asked, here, (), made_at_s=0.0)
    assert paths(blind) == ["a > c > z"], "without the circuit's demand, its traffic is somebody else's"


def test_a_circuit_makes_way_for_others_with_all_that_it_uses() -> None:
    """y reserves more than is left beside x, which reserves nothing: one of the two takes the other path."""
    asked = [
        demand(intent("x", profile=Profile.THROUGHPUT), *AZ, class_="x"),
        demand(intent("y", requirements=Requirements(min_bandwidth=Bandwidth(500e6)), priority=1), *AZ, class_="y"),
    ]
    here = [circuit("c", "a", "b", "z", intents=("lab/x",), class_="x")]
    known = {"lab/c": (USED, 0.0)}
    made = make_plan(two_ways(by_b=1e9 - USED), asked, here, (), made_at_s=0.0, measured_bps=known)
    assert paths(made) == ["a > b > z", "a > c > z"]


def test_two_that_use_much_and_reserve_nothing_are_not_put_on_one_path() -> None:
    asked = [demand(intent(name, profile=Profile.THROUGHPUT), *AZ, class_=name) for name in ("x", "y")]
    here = [circuit(name, "a", "b", "z", intents=(f"lab/{name}",), class_=name) for name in ("x", "y")]
    known = {f"lab/{name}": (450e6, 0.0) for name in ("x", "y")}
    made = make_plan(two_ways(by_b=100e6), asked, here, (), made_at_s=0.0, measured_bps=known)
    assert sorted(paths(made)) == ["a > b > z", "a > c > z"]
    settled = [
        circuit(name, *path.split(" > "), intents=(f"lab/{name}",), class_=name)
        for name, path in zip(("x", "y"), paths(made), strict=True)
    ]
    again = make_plan(two_ways(by_b=550e6, by_c=550e6), asked, settled, (), made_at_s=0.0, measured_bps=known)
    assert paths(again) == paths(made), "and there they stay"


@pytest.mark.parametrize(
    ("asked", "sent", "found"),
    [
        pytest.param((0, 0), 90.0, [InPlace((0, 0), (45, 0)), InPlace((0, 0), (45, 0))], id="nobody-asked"),
        pytest.param((20, 10), 15.0, [InPlace((10, 0)), InPlace((5, 0))], id="less-than-asked"),
        pytest.param((20, 10), 60.0, [InPlace((20, 0), (20, 0)), InPlace((10, 0), (10, 0))], id="more-than-asked"),
        pytest.param((20, 0), 10.0, [InPlace((10, 0)), InPlace((0, 0))], id="one-asked"),
        pytest.param((20, 10), None, [InPlace((20, 0)), InPlace((10, 0))], id="not-measured"),
    ],
)
def test_traffic_is_shared_as_it_was_asked_for(
    asked: tuple[int, int], sent: float | None, found: list[InPlace]
) -> None:
    here = circuit("c", "a", "z", intents=("lab/x", "lab/y"))
    needs = [Requirements(min_bandwidth=Bandwidth(bps) if bps else None) for bps in asked]
    demands = [(demand(intent(name, requirements=one), *AZ), here) for name, one in zip("xy", needs, strict=True)]
    shared = traffic_in_place(demands, {} if sent is None else {"lab/c": (sent, 0.0)})
    assert [(pytest.approx(one.granted), pytest.approx(one.more)) for one in shared if one] == [
        (one.granted, one.more) for one in found
    ]


def used(graph: MeshGraph, taken_bps: dict[LinkId, float]) -> MeshGraph:
    """The graph once links carry so much more."""
    links = []
    for one in graph.links:
        bps, free = taken_bps.get(one.id, 0.0), one.free_bps
        if free is not None and bps:
            free = Figure(median=free.median - bps, pessimistic=free.pessimistic - bps)
        links.append(structs.replace(one, free_bps=free))
    return structs.replace(graph, links=tuple(links))


def test_what_nobody_but_oneself_sends_changes_no_plan() -> None:
    """One demand in each of many meshes: whatever it sends, beyond what it asked for too, it is placed as before."""
    moved = 0
    for seed in range(300):
        rng = random.Random(seed)
        graph = random_graph(rng)
        graph = structs.replace(
            graph,
            links=tuple(structs.replace(one, queueing_ms=None) for one in graph.links if one.id.underlay == "internet"),
        )
        asked = random_demands(rng, graph)[:1]
        first = plan(graph, asked)
        here = circuits_of(first, asked)
        path = first.placements[0].path
        if path is None or not path.links or path.figures.bandwidth_bps is None:
            continue
        free = {one.id: one.free_bps.pessimistic for one in graph.links if one.free_bps}
        room = [min(free.get(way, 0.0) for way in ways) for ways in (path.links, [one.reverse for one in path.links])]
        there, back = (share * rng.random() for share in room)
        taken = dict.fromkeys(path.links, there) | {one.reverse: back for one in path.links}
        known = {one.id: (there, back) for one in here}
        again = make_plan(used(graph, taken), asked, here, (), made_at_s=0.0, measured_bps=known)
        assert again.placements[0].path is not None, f"seed {seed}"
        assert again.placements[0].path.gateways == path.gateways, f"seed {seed}"
        blind = make_plan(
            used(graph, taken), asked, here, (), made_at_s=0.0, measured_bps=dict.fromkeys(known, (0.0, 0.0))
        )
        other = blind.placements[0]
        moved += other.infeasible is not None or other.path is None or other.path.gateways != path.gateways
    assert moved > 10, "not to know of it does make a difference"
