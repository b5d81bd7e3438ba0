"""How likely paths keep their limits, and what that makes of a plan: the rule of stability, and its weighing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from msgspec import structs

from foremesh.model.circuit import Circuit
from foremesh.model.link import Figure, MeshGraph
from foremesh.model.units import Milliseconds, Ratio
from foremesh.routing.arrays import Arrays
from foremesh.routing.ask import Ask, Router
from foremesh.routing.demand import PlannerSettings
from foremesh.routing.outlook import Outlook
from foremesh.routing.planner import make_plan, prepare
from foremesh.routing.stability import Moves, flattered
from routing.demands import circuit, demand, intent
from routing.plans import AZ, LATENCY_ONLY, diamond, needs, only, plan, text

NOW = datetime(2025, 1, 6, 12, tzinfo=UTC)


def knowing(graph: MeshGraph, error_ms: float) -> MeshGraph:
    """The same graph, whose forecasts were off by so much of late."""
    return structs.replace(graph, links=tuple(structs.replace(one, rtt_error_ms=error_ms) for one in graph.links))


def spread(graph: MeshGraph, more_ms: float) -> MeshGraph:
    """The same graph with round trips that are pessimistically so much longer."""
    links = (
        structs.replace(one, rtt_ms=Figure(median=one.rtt_ms.median, pessimistic=one.rtt_ms.median + more_ms))
        if one.rtt_ms
        else one
        for one in graph.links
    )
    return structs.replace(graph, links=tuple(links))


def in_place(**status: object) -> Circuit:
    old = circuit("c", "a", "s", "z", intents=("lab/x",))
    return structs.replace(old, status=structs.replace(old.status, **status))


def ask(max_latency: float | None = None, max_loss: float | None = None) -> Ask:
    asked = needs(
        max_latency=None if max_latency is None else Milliseconds(max_latency),
        max_loss=None if max_loss is None else Ratio(max_loss),
    )
    return prepare(demand(intent("x", requirements=asked), *AZ), ()).asks[0][1]


def odds(graph: MeshGraph, asked: Ask) -> float:
    router = Router(Arrays(graph))
    route = router.best(prepare(demand(intent("x"), *AZ), ()).asks[0][1])
    assert route is not None
    return Outlook(router).broken(route, asked)


def test_a_limit_at_the_median_is_broken_half_of_the_time() -> None:
    graph = spread(diamond(20.0, 90.0), 5.0)
    assert odds(graph, ask(20.0)) == pytest.approx(0.5)
    assert odds(graph, ask(1000.0)) == pytest.approx(0.0)
    assert odds(graph, ask(1.0)) == pytest.approx(1.0, abs=1e-3)


def test_links_that_err_for_themselves_add_up_less_than_their_worst() -> None:
    graph = spread(diamond(20.0, 90.0), 5.0)  # two links: 20 ms in the middle, 30 ms if both are slow at once
    assert odds(graph, ask(20.0 + 5.0 * 2**0.5)) == pytest.approx(0.1, abs=1e-6)


def test_what_is_not_limited_cannot_be_broken() -> None:
    assert odds(spread(diamond(20.0, 90.0), 50.0), ask()) == 0.0


def test_the_best_of_more_paths_is_flattered_more() -> None:
    drawn = np.random.default_rng(1).standard_normal((200_000, 5))
    for paths in (2, 3, 5):
        assert flattered(paths, 2.0) == pytest.approx(2 * drawn[:, :paths].max(axis=1).mean(), rel=0.06)
    assert flattered(1, 2.0) == 0.0


MOVES = {
    "what-forecasts-err-by-is-no-gain": (29.0, 3.0, "a > s > z"),
    "more-than-that-is": (20.0, 3.0, "a > n > z"),
    "where-they-do-not-err-little-will-do": (29.0, 0.0, "a > n > z"),
    "but-a-move-has-its-worth": (29.5, 0.0, "a > s > z"),
}


@pytest.mark.parametrize(("best", "error_ms", "taken"), MOVES.values(), ids=MOVES.keys())
def test_a_move_has_to_beat_the_errors_of_forecasts(best: float, error_ms: float, taken: str) -> None:
    made = plan(knowing(diamond(best, 30.0), error_ms), [demand(intent("x"), *AZ)], [in_place()], [LATENCY_ONLY])
    assert text(only(made)) == taken


def test_without_known_errors_the_margin_holds() -> None:
    placement = only(plan(diamond(28.0, 30.0), [demand(intent("x"), *AZ)], [in_place()], [LATENCY_ONLY]))
    assert "within the 10% margin" in placement.reason


def at(seconds: float, graph: MeshGraph, old: Circuit, **requirements: object) -> str:
    asked = demand(intent("x", requirements=needs(**requirements)), *AZ)
    later_s = (NOW + timedelta(seconds=seconds)).timestamp()
    return text(only(make_plan(graph, [asked], [old], [LATENCY_ONLY], PlannerSettings(), made_at_s=later_s)))


def test_a_circuit_dwells_where_it_moved_to_unless_its_limits_break() -> None:
    graph, old = knowing(diamond(20.0, 30.0), 0.1), in_place(moved_at=NOW)
    assert at(300, graph, old) == "a > s > z"
    assert at(601, graph, old) == "a > n > z"
    assert at(300, graph, old, max_latency=Milliseconds(25.0)) == "a > n > z"


def test_a_dead_path_is_left_at_once() -> None:
    graph = knowing(diamond(20.0, 30.0), 0.1)
    dead = tuple(
        structs.replace(one, loss=Figure(median=1.0 if "s" in (one.id.src, one.id.dst) else 0.0, pessimistic=1.0))
        for one in graph.links
    )
    assert at(1, structs.replace(graph, links=dead), in_place(moved_at=NOW)) == "a > n > z"


def test_there_is_no_reflex_back() -> None:
    graph, old = knowing(diamond(28.5, 30.0), 0.1), in_place(moved_at=NOW, moved_from=("a", "n", "z"))
    assert at(700, graph, old) == "a > s > z"
    assert at(1300, graph, old) == "a > n > z"
    assert at(700, knowing(diamond(20.0, 30.0), 0.1), old) == "a > n > z"


def test_a_link_that_became_the_best_fills_step_by_step() -> None:
    circuits = [
        circuit(f"c{number}", "a", "s", "z", intents=(f"lab/x{number}",), class_=f"class-{number}")
        for number in range(40)
    ]
    demands = [demand(intent(f"x{number}"), *AZ, class_=f"class-{number}") for number in range(40)]
    graph = knowing(diamond(20.0, 30.0), 0.1)

    def moved(made_at_s: float) -> set[str]:
        made = make_plan(graph, demands, circuits, [LATENCY_ONLY], PlannerSettings(), made_at_s=made_at_s)
        return {one.intent for one in made.placements if text(one) == "a > n > z"}

    first, again, later = moved(0.0), moved(0.0), moved(30.0)
    assert first == again
    assert 1 <= len(first) <= 4
    assert 1 <= len(later) <= 4
    assert len({frozenset(moved(30.0 * turn)) for turn in range(8)}) > 1


def test_moves_are_counted_by_link() -> None:
    moves = Moves(now_s=0.0, circuits=1, share=0.1)
    assert moves.admits(in_place(), [1, 2])
    assert not moves.admits(in_place(), [2, 3])
    assert moves.admits(in_place(), [3])


def test_noise_within_what_forecasts_err_by_makes_nothing_flap() -> None:
    drawn, path, changes = np.random.default_rng(3).normal(0.0, 1.0, (200, 2)), ("a", "s", "z"), 0
    for north, south in 30.0 + drawn:
        old = circuit("c", *path, intents=("lab/x",))
        made = plan(knowing(diamond(north, south), 0.8), [demand(intent("x"), *AZ)], [old], [LATENCY_ONLY])
        placed = only(made).path
        assert placed is not None
        changes += placed.gateways != path
        path = placed.gateways
    greedy = int(np.count_nonzero(np.diff(np.argmin(drawn, axis=1))))
    assert changes < greedy / 3
