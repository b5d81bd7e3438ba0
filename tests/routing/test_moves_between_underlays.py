"""A circuit that goes to another underlay between the same gateways moves: the same margins, dwell times and reasons
hold as between gateways."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec import structs

from foremesh.model.circuit import Circuit
from foremesh.model.intent import Requirements
from foremesh.model.link import MeshGraph
from foremesh.model.plan import Placement
from foremesh.model.units import Milliseconds
from foremesh.routing import PlannerSettings, make_plan
from routing.demands import circuit, demand, intent
from routing.plans import AZ, LATENCY_ONLY, only
from routing.worlds import both, mesh, node

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def two_ways(internet: float, mpls: float, **figures: Any) -> MeshGraph:
    """Two links between the same two gateways, each with its round trip."""
    parallel = (*both("a", "z", internet, **figures), *both("a", "z", mpls, underlay="mpls", **figures))
    return mesh(node("a"), node("z"), links=parallel)


def on(*underlays: str, pinned: bool = False, **status: Any) -> Circuit:
    """A circuit from a to z; its label tells over which underlay, if one is given."""
    made = circuit("c", "a", "z", intents=("lab/x",), pinned=("a", "z") if pinned else ())
    label = structs.replace(made.status.labels[0], underlays=underlays)
    return structs.replace(made, status=structs.replace(made.status, labels=(label,), **status))


def placed(graph: MeshGraph, old: Circuit, *, at_s: float = 0.0, needs: Requirements | None = None) -> Placement:
    made = make_plan(
        graph,
        [demand(intent("x", requirements=needs), *AZ)],
        [old],
        [LATENCY_ONLY],
        PlannerSettings(),
        made_at_s=NOW.timestamp() + at_s,
    )
    return only(made)


def underlay(one: Placement) -> str:
    assert one.path is not None
    return one.path.links[0].underlay


HYSTERESIS = {
    "gain-equal-to-the-margin-holds": (27.0, 30.0, "mpls"),
    "gain-above-the-margin-moves": (26.9, 30.0, "internet"),
    "no-gain-stays": (30.0, 29.0, "mpls"),
}


@pytest.mark.parametrize("pinned", [False, True], ids=["free", "pinned"])
@pytest.mark.parametrize(("best", "in_use", "taken"), HYSTERESIS.values(), ids=HYSTERESIS.keys())
def test_hysteresis(best: float, in_use: float, taken: str, pinned: bool) -> None:
    one = placed(two_ways(best, in_use), on("mpls", pinned=pinned))
    assert underlay(one) == taken
    assert one.kept == (taken == "mpls" and best < in_use)


def test_reasons_name_the_underlays() -> None:
    stays = placed(two_ways(29.1, 30.0), on("mpls"))
    assert stays.reason == "kept a > z (mpls): gain 3.0% by a > z (internet) is within the 10% margin"
    moves = placed(two_ways(20.0, 30.0), on("mpls"))
    assert moves.reason == "moved from a > z (mpls) to a > z (internet): 30.0 -> 20.0 ms, cost 33% lower"
    pinned = placed(two_ways(29.1, 30.0), on("mpls", pinned=True))
    assert pinned.reason == f"pinned to a > z (mpls): 30.0 ms; {stays.reason}"
    first = placed(two_ways(30.0, 29.0), on("mpls", intents=()))
    assert first.reason == "placed on a > z (mpls): 29.0 ms"


def test_a_path_without_parallel_links_is_told_as_ever() -> None:
    graph = mesh(node("a"), node("z"), links=both("a", "z", 30.0, underlay="mpls"))
    assert placed(graph, on("mpls")).reason == "stays on a > z: 30.0 ms"


def test_who_has_just_moved_stays() -> None:
    old = on("mpls", moved_at=NOW, moved_from=("a", "z"), moved_from_underlays=("internet",))
    early = placed(two_ways(20.0, 30.0), old, at_s=300.0)
    assert underlay(early) == "mpls"
    assert "kept a > z (mpls): it has just moved" in early.reason
    assert underlay(placed(two_ways(20.0, 30.0), old, at_s=700.0)) == "internet"


@pytest.mark.parametrize(("left", "taken"), [("internet", "mpls"), ("lte", "internet")])
def test_there_is_no_reflex_back_to_the_very_underlay(left: str, taken: str) -> None:
    """5 % is more than a move is worth where errors are known, and less than the margin that a way back is due."""
    graph = two_ways(28.5, 30.0)
    known = tuple(structs.replace(one, rtt_error_ms=0.1) for one in graph.links)
    old = on("mpls", moved_at=NOW, moved_from=("a", "z"), moved_from_underlays=(left,))
    assert underlay(placed(structs.replace(graph, links=known), old, at_s=700.0)) == taken
    assert underlay(placed(structs.replace(graph, links=known), old, at_s=1300.0)) == "internet"


def test_an_underlay_that_breaks_a_limit_is_left_at_once() -> None:
    old = on("mpls", moved_at=NOW)
    one = placed(two_ways(29.1, 30.0), old, at_s=1.0, needs=Requirements(max_latency=Milliseconds(29.5)))
    assert underlay(one) == "internet"
    assert one.reason == (
        "moved from a > z (mpls) to a > z (internet): 29.1 ms; the old path will not do "
        "(maxLatency: asked 29.5ms, nearest 30ms by a > z (mpls))"
    )


def test_an_underlay_that_is_gone_is_left() -> None:
    graph = two_ways(29.1, 30.0)
    one = placed(structs.replace(graph, links=graph.links[:2]), on("mpls"))
    assert underlay(one) == "internet"
    assert one.reason.startswith("moved from a > z (mpls) to a > z: 29.1 ms; the old path will not do")


def test_where_nobody_tells_which_underlay_it_is_the_better_one_is_no_move() -> None:
    one = placed(two_ways(20.0, 30.0), on())
    assert (underlay(one), one.kept, one.reason) == ("internet", False, "stays on a > z (internet): 20.0 ms")


def test_where_risks_are_weighed_it_stays_all_the_same() -> None:
    """Links queue, so every move is weighed once more, against all whose links it would fill."""
    graph = two_ways(29.5, 30.0, free=5e8, capacity=1e9, queueing=1.0)
    assert underlay(placed(graph, on("mpls"))) == "mpls"
    assert underlay(placed(graph, on("internet"))) == "internet"
    assert underlay(placed(two_ways(20.0, 30.0, free=5e8, capacity=1e9, queueing=1.0), on("mpls"))) == "internet"
