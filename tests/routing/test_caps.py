"""What caps and dwell times hold, whoever proposes the move: searching, weighing risks, or making room jointly."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from msgspec import structs

from foremesh.model.circuit import Circuit
from foremesh.model.intent import Requirements
from foremesh.model.link import Figure, MeshGraph
from foremesh.model.plan import Plan
from foremesh.model.units import Bandwidth, Milliseconds
from foremesh.routing.demand import PlannerSettings
from foremesh.routing.planner import make_plan
from routing.demands import circuit, demand, intent
from routing.plans import AZ, LATENCY_ONLY, diamond, text

NORTH, SOUTH = "a > n > z", "a > s > z"
CAPACITY = 1e9
NOW = datetime(2025, 1, 6, 12, tzinfo=UTC)
CIRCUITS = 40


def told(
    graph: MeshGraph, *, by_south_ms: float = 0.0, north_bps: float | None = None, dead: bool = False
) -> MeshGraph:
    """Forecasts that err by little, links in the south pessimistically so much longer, in the north with so much
    free."""
    links = []
    for one in graph.links:
        assert one.rtt_ms is not None
        south = "s" in (one.id.src, one.id.dst)
        more_ms = by_south_ms if south else 0.0
        one = structs.replace(
            one,
            rtt_error_ms=0.0,
            rtt_ms=Figure(median=one.rtt_ms.median, pessimistic=one.rtt_ms.median + more_ms),
        )
        if north_bps is not None and not south:
            one = structs.replace(one, free_bps=Figure(median=north_bps, pessimistic=north_bps))
        if dead and south:
            one = structs.replace(one, loss=Figure(median=1.0, pessimistic=1.0))
        links.append(one)
    return structs.replace(graph, links=tuple(links))


def running(count: int, moved_at: datetime | None = None) -> list[Circuit]:
    found = []
    for number in range(count):
        old = circuit(f"c{number}", "a", "s", "z", intents=(f"lab/x{number}",), class_=f"class-{number}")
        found.append(structs.replace(old, status=structs.replace(old.status, moved_at=moved_at)))
    return found


def moved(graph: MeshGraph, needs: Requirements, circuits: list[Circuit], *, at_s: float = 0.0, more: int = 0) -> Plan:
    demands = [
        demand(intent(f"x{number}", requirements=needs), *AZ, class_=f"class-{number}")
        for number in range(len(circuits) + more)
    ]
    made_at_s = NOW.timestamp() + at_s
    return make_plan(graph, demands, circuits, [LATENCY_ONLY], PlannerSettings(), made_at_s=made_at_s)


def on(made: Plan, path: str) -> int:
    return sum(text(one) == path for one in made.placements)


RISKY = Requirements(max_latency=Milliseconds(34.001))
"""In the south, what is kept pessimistically (twice 2 ms more than 30) and broken once in 28 times."""


def risky(*, dead: bool = False) -> MeshGraph:
    """Both ways cost about the same, and links queue, so that risks are weighed."""
    plain = diamond(29.0, 30.0, free=0.5 * CAPACITY, capacity=CAPACITY, queueing=1.0)
    return told(plain, by_south_ms=2.0, dead=dead)


def test_who_weighs_risks_comes_to_a_link_step_by_step() -> None:
    alone = moved(risky(), RISKY, running(1))
    assert on(alone, NORTH) == 1
    counts = [on(moved(risky(), RISKY, running(CIRCUITS), at_s=30.0 * turn), NORTH) for turn in range(4)]
    assert all(1 <= count <= 4 for count in counts)


def test_who_has_just_moved_stays_though_another_path_is_less_of_a_risk() -> None:
    circuits = running(1, moved_at=NOW)
    assert on(moved(risky(), RISKY, circuits, at_s=300.0), SOUTH) == 1
    assert on(moved(risky(), RISKY, circuits, at_s=601.0), NORTH) == 1


BROKEN = {
    "a-limit-may-be-broken": (risky(), Requirements(max_latency=Milliseconds(33.0))),
    "the-path-is-dead": (risky(dead=True), RISKY),
}


@pytest.mark.parametrize(("graph", "needs"), BROKEN.values(), ids=BROKEN.keys())
def test_nobody_is_held_where_limits_break(graph: MeshGraph, needs: Requirements) -> None:
    assert on(moved(graph, needs, running(CIRCUITS, moved_at=NOW), at_s=1.0), NORTH) == CIRCUITS


ASKED = Requirements(min_bandwidth=Bandwidth(20e6))


@pytest.mark.parametrize("room", [1, 2, 4, 8, 40], ids=lambda room: f"room-for-{room}")
def test_joint_placement_moves_nobody_past_the_cap(room: int) -> None:
    """Links in the north, the better way, hold a few: whoever is crowded out there is looked at again."""
    graph = told(diamond(20.0, 30.0, free=CAPACITY, capacity=CAPACITY), north_bps=room * 20e6)
    for turn in range(3):
        made = moved(graph, ASKED, running(CIRCUITS), at_s=30.0 * turn)
        assert 1 <= on(made, NORTH) <= min(room, 4)
        assert on(made, SOUTH) == CIRCUITS - on(made, NORTH)


def test_joint_placement_leaves_those_alone_who_have_just_moved() -> None:
    graph = told(diamond(20.0, 30.0, free=CAPACITY, capacity=CAPACITY), north_bps=40e6)
    made = moved(graph, ASKED, running(CIRCUITS, moved_at=NOW), at_s=60.0)
    assert on(made, SOUTH) == CIRCUITS


def test_for_a_newcomer_s_room_they_move_all_the_same() -> None:
    """He would have no place at all; as few make room as can be, and none of them loses his."""
    graph = told(diamond(20.0, 30.0, free=0.2 * CAPACITY, capacity=CAPACITY), north_bps=0.5 * CAPACITY)
    circuits = running(8, moved_at=NOW)
    demands = [
        demand(
            intent(f"x{number}", requirements=Requirements(min_bandwidth=Bandwidth(1e8))), *AZ, class_=f"class-{number}"
        )
        for number in range(8)
    ]
    big = Requirements(min_bandwidth=Bandwidth(6e8))
    demands.append(demand(intent("z-new", requirements=big), *AZ, class_="new"))
    made = make_plan(graph, demands, circuits, [LATENCY_ONLY], PlannerSettings(), made_at_s=NOW.timestamp() + 60.0)
    places = {one.intent: text(one) for one in made.placements}
    assert places.pop("lab/z-new") == SOUTH
    assert sorted(places.values()) == [NORTH] * 4 + [SOUTH] * 4
