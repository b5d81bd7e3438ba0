"""Who is in place moves in time for what is forecast, and not for what passes: by forecasts step by step."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from foremesh.model.circuit import Circuit
from foremesh.model.link import Course, Figure, LinkId, MeshGraph, PredictedLink
from foremesh.model.plan import Placement
from foremesh.model.series import Metric
from foremesh.model.units import Bandwidth, Milliseconds, Ratio
from foremesh.routing.demand import PlannerSettings
from foremesh.routing.graph import build_graph
from foremesh.routing.horizon import schedule
from foremesh.routing.planner import make_plan
from routing.demands import candidate, circuit, demand, intent
from routing.plans import AZ, LATENCY_ONLY, diamond, needs, only, text
from routing.test_graph import forecast, gateway
from routing.worlds import steady

NORTH, SOUTH = "a > n > z", "a > s > z"
MINUTE_S = 60.0
NOTHING = {"lab/c": (0.0, 0.0)}
NOW_S = 14 * 3600.0
"""14:00 UTC, of some day."""


def along(field: str, steps: Sequence[float]) -> Figure:
    """What forecasts make of so many steps: the mean, and the worst."""
    return Figure(median=sum(steps) / len(steps), pessimistic=min(steps) if field == "free_bps" else max(steps))


def foretold(graph: MeshGraph, by: str, total_ms: Sequence[float], **others: Sequence[float]) -> MeshGraph:
    """The graph with the path by n or s forecast to take so long, minute by minute; the other is known to err by
    nothing. Of other figures, the steps of the same links."""
    name = {"north": "n", "south": "s"}[by]

    def told(one: PredictedLink) -> PredictedLink:
        one = structs.replace(one, rtt_error_ms=0.0)
        if {one.id.src, one.id.dst} != {"a", name}:
            return one
        rtt_ms = [ms - 1.0 for ms in total_ms]
        figures = {"rtt_ms": rtt_ms, **others}
        course = Course(step_s=MINUTE_S, **{field: tuple(map(steady, steps)) for field, steps in figures.items()})
        return structs.replace(one, course=course, **{field: along(field, steps) for field, steps in figures.items()})

    return structs.replace(graph, links=tuple(map(told, graph.links)))


def in_place(path: str = SOUTH, **status: object) -> Circuit:
    old = circuit("c", *path.split(" > "), intents=("lab/x",))
    return structs.replace(old, status=structs.replace(old.status, **status))


def placed(graph: MeshGraph, path: str = SOUTH, *, next_s: float = MINUTE_S, **requirements: object) -> Placement:
    """Where a circuit is that has sent nothing so far."""
    asked = demand(intent("x", requirements=needs(**requirements)), *AZ)
    how = PlannerSettings(next_s=next_s)
    return only(make_plan(graph, [asked], [in_place(path)], [LATENCY_ONLY], how, made_at_s=NOW_S, measured_bps=NOTHING))


def congested(start: int, minutes: int, *, steps: int = 60, usual: float = 20.0, then: float = 40.0) -> list[float]:
    return [then if start <= step < start + minutes else usual for step in range(steps)]


# A congestion that is to come.


@pytest.mark.parametrize("queues", [None, 1.0], ids=["searched", "weighed"])
@pytest.mark.parametrize("limited", [True, False], ids=["a-limit-would-be-broken", "only-costs-would-rise"])
def test_a_congestion_to_come_moves_a_circuit_before_it_begins_and_not_hours_early(
    limited: bool, queues: float | None
) -> None:
    """Four hours ahead are known; the path in use is the better one until two hours from the start. Where it is known
    how links queue, risks are weighed besides, with the same outcome."""
    limit = {"max_latency": Milliseconds(30.0)} if limited else {}
    begins, moved_at = 120, None
    calm = diamond(25.0, 20.0, free=5e8, capacity=1e9, queueing=queues)
    for minute in range(0, begins + 1, 3):
        left = max(0, begins - minute)
        graph = foretold(calm, "south", congested(left, 240 - left, steps=240))
        if text(placed(graph, next_s=3 * MINUTE_S, **limit)) == NORTH:
            moved_at = minute
            break
    assert moved_at is not None
    assert begins - 3 <= moved_at <= begins


def test_in_twenty_minutes_is_soon_enough() -> None:
    graph = foretold(diamond(25.0, 20.0), "south", congested(20, 40))
    stays = placed(graph, max_latency=Milliseconds(30.0))
    assert text(stays) == SOUTH
    assert stays.kept
    assert stays.reason == (
        "kept a > s > z: it is forecast to break maxLatency from 14:20 UTC on, and is left before that"
    )
    cheaper = placed(graph)
    assert cheaper.reason == (
        "kept a > s > z: a > n > z is forecast to be worth a move from 14:20 UTC on, and there is time until then"
    )


@pytest.mark.parametrize("next_s", [60.0, 300.0, 1260.0])
def test_who_plans_seldom_moves_early(next_s: float) -> None:
    """The last plan that can still move it before the congestion does."""
    for begins in (20, 4, 0):
        graph = foretold(diamond(25.0, 20.0), "south", congested(begins, 60 - begins))
        taken = text(placed(graph, next_s=next_s, max_latency=Milliseconds(30.0)))
        assert taken == (NORTH if begins * MINUTE_S < next_s else SOUTH)


def test_a_move_in_time_says_from_when_it_is_needed() -> None:
    graph = foretold(diamond(25.0, 20.0), "south", congested(3, 57))
    moved = placed(graph, next_s=300.0, max_latency=Milliseconds(30.0))
    assert text(moved) == NORTH
    assert moved.reason == (
        "moved from a > s > z to a > n > z: 25.0 ms; the old path will not do "
        "(maxLatency: asked 30ms, nearest 40ms by a > s > z, from 14:03 UTC on)"
    )
    cheaper = placed(graph, next_s=300.0)
    assert cheaper.reason == (
        "moved from a > s > z to a > n > z: 39.0 -> 25.0 ms, cost 37% lower; "
        "a > s > z is forecast to be worse from 14:03 UTC on"
    )


def test_those_who_share_a_circuit_wait_and_leave_together() -> None:
    """Only one of them has a limit that the congestion breaks."""
    asked = [
        demand(intent("x"), *AZ),
        demand(intent("y", requirements=needs(max_latency=Milliseconds(30.0))), *AZ),
    ]
    old = circuit("c", *SOUTH.split(" > "), intents=("lab/x", "lab/y"))
    for begins, taken in ((20, SOUTH), (0, NORTH)):
        graph = foretold(diamond(25.0, 20.0), "south", congested(begins, 60 - begins))
        made = make_plan(graph, asked, [old], [LATENCY_ONLY], PlannerSettings(), made_at_s=NOW_S)
        assert [text(one) for one in made.placements] == [taken, taken]
        assert not any(one.infeasible for one in made.placements)


def test_what_forecasters_say_of_every_step_reaches_the_plan() -> None:
    """From forecasts as they are made of series, by way of the graph."""
    names = {name: gateway(name) for name in "ansz"}
    links = [LinkId(src=f"lab/{src}", dst=f"lab/{dst}") for src, dst in ("an", "nz", "as", "sz")]
    links += [link.reverse for link in links]
    slow = {LinkId(src="lab/a", dst="lab/s"), LinkId(src="lab/s", dst="lab/a")}
    minutes = {
        link: congested(20, 40) if link in slow else [1.0 if "z" in link.src + link.dst else 24.0] * 60
        for link in links
    }
    found = {Metric.RTT: forecast(Metric.RTT, {link: [steps] * 3 for link, steps in minutes.items()})}
    graph = build_graph(names.values(), links, found)
    asked = demand(intent("x", requirements=needs(max_latency=Milliseconds(30.0))), "lab/a", candidate("db", "lab/z"))
    old = circuit("c", "lab/a", "lab/s", "lab/z", intents=("lab/x",))
    placement = only(make_plan(graph, [asked], [old], [LATENCY_ONLY], PlannerSettings(), made_at_s=NOW_S))
    assert placement.reason == (
        "kept a > s > z: it is forecast to break maxLatency from 14:20 UTC on, and is left before that"
    )


# A dip, or a spike, that passes.


def test_where_risks_are_weighed_a_short_spike_is_waited_out_as_well() -> None:
    calm = diamond(25.0, 20.0, free=5e8, capacity=1e9, queueing=1.0)
    for minutes, taken in ((1, SOUTH), (30, NORTH)):
        graph = foretold(calm, "south", congested(0, minutes))
        assert text(placed(graph, max_latency=Milliseconds(30.0))) == taken


def test_a_spike_that_is_shorter_than_a_move_is_worth_is_waited_out() -> None:
    """An hour ahead is known; a move is worth 2 % of it, which is a minute and twelve seconds."""
    limit = {"max_latency": Milliseconds(30.0)}
    short = placed(foretold(diamond(25.0, 20.0), "south", congested(0, 1)), **limit)
    assert (text(short), short.kept) == (SOUTH, True)
    assert short.reason == (
        "kept a > s > z: it is forecast to break maxLatency from now for 1 min, and a move is worth more than that"
    )
    assert text(placed(foretold(diamond(25.0, 20.0), "south", congested(0, 2)), **limit)) == NORTH


def test_a_spike_that_breaks_no_limit_may_be_longer() -> None:
    """Six minutes of a sixth more are less than two per cent of an hour."""
    graph = foretold(diamond(23.0, 24.0), "south", congested(10, 6, usual=22.9, then=27.0))
    stays = placed(graph)
    assert text(stays) == SOUTH
    assert stays.reason == (
        "kept a > s > z: a > n > z is forecast to be better from 14:10 UTC for 6 min, "
        "and a move is worth more than that"
    )


def test_a_dip_of_another_path_is_let_pass() -> None:
    """By the north it is much quicker, for three minutes of sixty."""
    graph = foretold(diamond(20.0, 25.0), "north", congested(3, 57, usual=16.0, then=24.99))
    assert text(placed(graph)) == SOUTH


def test_a_dip_of_bandwidth_or_a_rise_of_loss_is_no_other_thing() -> None:
    usual, dip = [1e9] * 60, [1e9] * 30 + [1e6] * 30
    short = [1e9] * 59 + [1e6]
    for free, taken in ((usual, SOUTH), (dip, SOUTH), (dip[::-1], NORTH), (short[::-1], SOUTH)):
        graph = foretold(diamond(25.0, 20.0), "south", [20.0] * 60, free_bps=free)
        assert text(placed(graph, min_bandwidth=Bandwidth(1e8))) == taken
    for lost, taken in (([0.05] * 30 + [0.0] * 30, NORTH), ([0.0] * 30 + [0.05] * 30, SOUTH)):
        graph = foretold(diamond(25.0, 20.0), "south", [20.0] * 60, loss=lost)
        assert text(placed(graph, max_loss=Ratio(0.01))) == taken


# There and back.


def test_moves_there_and_back_have_to_be_worth_both() -> None:
    """The path in use is a fifth worse for a while, and a tenth better for the rest: one move is not worth it for the
    rest, and there and back costs twice two per cent."""
    made = {}
    for minutes in (4, 8, 16, 40):
        graph = foretold(diamond(20.0, 20.0), "south", congested(0, minutes, usual=18.0, then=24.0))
        made[minutes] = text(placed(graph))
    assert made == {4: SOUTH, 8: SOUTH, 16: NORTH, 40: NORTH}


def test_neither_is_done_if_together_they_are_not_worth_it() -> None:
    graph = foretold(diamond(20.0, 20.0), "south", congested(0, 8, usual=18.0, then=24.0))
    steps = graph.links[0].course or next(one.course for one in graph.links if one.course)
    assert steps is not None
    path = SOUTH
    for minute in range(0, 50, 2):  # the same hour as it comes, an hour known ahead of every plan
        later = congested(0, max(0, 8 - minute), usual=18.0, then=24.0)
        path = text(placed(foretold(diamond(20.0, 20.0), "south", later), path))
        assert path == SOUTH


costs = st.lists(st.integers(0, 20), min_size=1, max_size=7)


@given(st.data(), costs, st.integers(0, 8), st.integers(1, 8))
@settings(max_examples=300)
def test_of_all_that_could_be_done_the_cheapest_is(data: st.DataObject, stay: list[int], worth: int, soon: int) -> None:
    go = data.draw(st.lists(st.integers(0, 20), min_size=len(stay), max_size=len(stay)))
    allowed = [step for step in range(len(stay)) if step == 0 or step >= soon]

    def price(changes: Sequence[int]) -> float:
        on = [sum(change <= step for change in changes) % 2 for step in range(len(stay))]
        return sum((stay, go)[way][step] for step, way in enumerate(on)) + worth * len(changes)

    every = [some for count in range(len(allowed) + 1) for some in combinations(allowed, count)]
    found = schedule(stay, go, worth / len(stay), soon)
    assert set(found) <= set(allowed)
    assert price(found) == pytest.approx(min(map(price, every)))
    if price(()) == pytest.approx(price(found)):
        assert found == ()


# Where nothing changes.


@given(
    st.floats(5.0, 60.0),
    st.floats(5.0, 60.0),
    st.sampled_from([None, 0.0, 0.5, 3.0]),
    st.sampled_from([None, 15.0, 30.0]),
    st.sampled_from([SOUTH, NORTH]),
    st.sampled_from([None, 1.0]),
)
@settings(max_examples=100)
def test_flat_steps_decide_what_no_steps_do(
    by_north: float, by_south: float, error_ms: float | None, limit: float | None, path: str, queues: float | None
) -> None:
    """Steps that say of every minute what is said of all of them change no decision."""
    plain = diamond(by_north, by_south, free=5e8, capacity=1e9, queueing=queues)
    plain = structs.replace(plain, links=tuple(structs.replace(one, rtt_error_ms=error_ms) for one in plain.links))

    def flat(one: PredictedLink) -> PredictedLink:
        assert one.rtt_ms is not None
        assert one.loss is not None
        assert one.free_bps is not None
        course = Course(
            step_s=MINUTE_S, rtt_ms=(one.rtt_ms,) * 10, loss=(one.loss,) * 10, free_bps=(one.free_bps,) * 10
        )
        return structs.replace(one, course=course)

    told = structs.replace(plain, links=tuple(map(flat, plain.links)))
    asks = {} if limit is None else {"max_latency": Milliseconds(limit)}
    both = [placed(graph, path, **asks) for graph in (plain, told)]
    assert text(both[0]) == text(both[1])
    assert both[0].kept == both[1].kept
