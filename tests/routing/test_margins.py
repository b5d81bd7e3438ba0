"""When a circuit stays where it is and when it moves: margins, lost paths, and the reasons given."""

from __future__ import annotations

import pytest
from msgspec import structs

from foremesh.model.link import LinkId
from foremesh.model.policy import CostWeights
from foremesh.model.units import Milliseconds
from routing.demands import circuit, demand, intent, policy
from routing.plans import AZ, LATENCY_ONLY, diamond, needs, only, plan, text
from routing.worlds import link, node, steady

HYSTERESIS = {
    "gain-below-the-margin-holds": (27.5, 30.0, True),
    "gain-equal-to-the-margin-holds": (27.0, 30.0, True),
    "gain-above-the-margin-moves": (26.9, 30.0, False),
    "no-gain-stays": (30.0, 29.0, False),
}


@pytest.mark.parametrize(("best", "in_use", "kept"), HYSTERESIS.values(), ids=HYSTERESIS.keys())
def test_hysteresis(best: float, in_use: float, kept: bool) -> None:
    old = circuit("c", "a", "s", "z", intents=("lab/x",))
    placement = only(plan(diamond(best, in_use), [demand(intent("x"), *AZ)], [old], [LATENCY_ONLY]))
    assert placement.kept == kept
    assert text(placement) == ("a > s > z" if kept or in_use < best else "a > n > z")


def test_the_reason_for_a_move_gives_both_figures() -> None:
    old = circuit("c", "a", "s", "z", intents=("lab/x",))
    placement = only(plan(diamond(18.4, 25.1), [demand(intent("x"), *AZ)], [old], [LATENCY_ONLY]))
    assert placement.reason == "moved from a > s > z to a > n > z: 25.1 -> 18.4 ms, cost 27% lower"


def test_where_no_term_counts_all_paths_cost_the_same() -> None:
    nothing = policy("nothing", weights=CostWeights(**dict.fromkeys(CostWeights.__struct_fields__, 0.0)))
    old = circuit("c", "a", "s", "z", intents=("lab/x",))
    placement = only(plan(diamond(), [demand(intent("x"), *AZ)], [old], [nothing]))
    assert (placement.kept, placement.reason) == (True, "kept a > s > z: a > n > z costs the same")


def test_the_reason_for_staying_gives_the_gain_forgone() -> None:
    old = circuit("c", "a", "s", "z", intents=("lab/x",))
    placement = only(plan(diamond(29.1, 30.0), [demand(intent("x"), *AZ)], [old], [LATENCY_ONLY]))
    assert placement.reason == "kept a > s > z: gain 3.0% by a > n > z is within the 10% margin"
    assert [path.text for path in placement.runners_up] == ["a > n > z"]
    stay = only(plan(diamond(31.0, 30.0), [demand(intent("x"), *AZ)], [old], [LATENCY_ONLY]))
    assert stay.reason == "stays on a > s > z: 30.0 ms"


def test_a_path_that_no_longer_meets_the_requirements_is_left_at_once() -> None:
    old = circuit("c", "a", "s", "z", intents=("lab/x",))
    asked = intent("x", requirements=needs(max_latency=Milliseconds(29.5)))
    placement = only(plan(diamond(29.1, 30.0), [demand(asked, *AZ)], [old], [LATENCY_ONLY]))
    assert not placement.kept
    assert placement.reason == (
        "moved from a > s > z to a > n > z: 29.1 ms; the old path will not do "
        "(maxLatency: asked 29.5ms, nearest 30ms by a > s > z)"
    )


def test_a_path_whose_link_is_gone_is_left_at_once() -> None:
    graph = diamond(50.0, 30.0)
    cut = structs.replace(graph, links=tuple(one for one in graph.links if one.id != LinkId(src="a", dst="s")))
    old = circuit("c", "a", "s", "z", intents=("lab/x",))
    placement = only(plan(cut, [demand(intent("x"), *AZ)], [old]))
    assert placement.reason.startswith("moved from a > s > z to a > n > z: 50.0 ms; the old path will not do (connect")


def test_the_margin_is_a_setting() -> None:
    old = circuit("c", "a", "s", "z", intents=("lab/x",))
    demands = [demand(intent("x"), *AZ)]
    assert only(plan(diamond(20.0, 30.0), demands, [old], margin=0.5)).kept
    assert not only(plan(diamond(29.0, 30.0), demands, [old], [LATENCY_ONLY], margin=0.0)).kept


MARGINS_MS = {
    "saving-less-holds": (15.1, 25.0, "kept a > s > z: gain 9.9 ms by a > n > z is within the 10 ms margin"),
    "saving-as-much-holds": (15.0, 25.0, "kept a > s > z: gain 10.0 ms by a > n > z is within the 10 ms margin"),
    "saving-more-moves": (14.9, 25.0, "moved from a > s > z to a > n > z: 25.0 -> 14.9 ms, cost 40% lower"),
    "the-share-has-to-be-saved-as-well": (
        190.0,
        205.0,
        "kept a > s > z: gain 7.3% by a > n > z is within the 10% margin",
    ),
}


@pytest.mark.parametrize(("best", "in_use", "reason"), MARGINS_MS.values(), ids=MARGINS_MS.keys())
def test_a_margin_in_milliseconds(best: float, in_use: float, reason: str) -> None:
    old = circuit("c", "a", "s", "z", intents=("lab/x",))
    made = only(plan(diamond(best, in_use), [demand(intent("x"), *AZ)], [old], [LATENCY_ONLY], margin_ms=10.0))
    assert made.reason == reason


def test_a_round_trip_that_is_not_known_saves_no_milliseconds() -> None:
    old = circuit("c", "a", "s", "z", intents=("lab/x",))
    graph = diamond(20.0, 90.0, price=0.0)
    links = tuple(
        structs.replace(one, rtt_ms=None) if one.id == LinkId(src="n", dst="z") else one for one in graph.links
    )
    blind = structs.replace(graph, links=(*links, link("z", "y", 5.0)), nodes=(*graph.nodes, node("y")))
    cheap = policy("cheap", weights=CostWeights(latency=0.1, hops=0, bandwidth=0, loss=5, egress_price=0, load=0))
    lossy = structs.replace(
        blind,
        links=tuple(
            structs.replace(one, loss=steady(0.02)) if one.id.src == "a" and one.id.dst == "s" else one
            for one in blind.links
        ),
    )
    asked = [demand(intent("x"), *AZ)]
    assert text(only(plan(lossy, asked, [old], [cheap]))) == "a > n > z"
    kept = only(plan(lossy, asked, [old], [cheap], margin_ms=1.0))
    assert kept.reason == "kept a > s > z: the round trip by a > n > z is not known"


@pytest.mark.parametrize("settings", [{"margin_ms": 10.0}, {"margin": 0.9}], ids=["milliseconds", "share"])
def test_no_margin_holds_a_circuit_on_a_dead_path(settings: dict[str, float]) -> None:
    old = circuit("c", "a", "s", "z", intents=("lab/x",))
    careless = policy("careless", weights=CostWeights(loss=0.0001, bandwidth=0, hops=0, load=0))
    by_south = (diamond(20.0, 19.0), {"s": 0.5, "n": 0.5}), (diamond(20.0, 19.0), {"s": 1.0, "n": 0.5})
    held = []
    for graph, loss in by_south:
        lossy = (structs.replace(one, loss=steady(loss.get(one.id.dst, 0.0))) for one in graph.links)
        bad = structs.replace(graph, links=tuple(lossy))
        held.append(text(only(plan(bad, [demand(intent("x"), *AZ)], [old], [careless], **settings))))
    assert held == ["a > s > z", "a > n > z"], "lossy is not dead"


def test_a_move_away_from_loss_says_so() -> None:
    graph = diamond(20.0, 30.0)
    lossy = tuple(
        structs.replace(one, loss=steady(1.0)) if "n" in (one.id.src, one.id.dst) else one for one in graph.links
    )
    running = circuit("c", "a", "n", "z", intents=("lab/x",))
    placement = only(plan(structs.replace(graph, links=lossy), [demand(intent("x"), *AZ)], [running]))
    assert placement.reason.startswith("moved from a > n > z to a > s > z: 20.0 -> 30.0 ms, loss 100.0% -> 0.0%, cost ")
