"""Traffic that no path serves any more: it takes the least bad one, and never one that is dead while another is not."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from msgspec import structs

from foremesh.model.intent import Avoid, Profile, Requirements
from foremesh.model.link import Figure, LinkId, MeshGraph, PredictedLink
from foremesh.model.plan import Placement
from foremesh.model.policy import CostWeights
from foremesh.model.units import Bandwidth, Milliseconds, Price, Ratio
from foremesh.routing import PROFILES, PlannerSettings, make_plan
from foremesh.routing.ask import Ask
from foremesh.routing.rescue import LESS_CAUTIOUS, NEARLY
from routing.demands import candidate, circuit, demand, intent, policy
from routing.worlds import Candidate, Judge, both, mesh, node, random_graph, random_requirements, simple_paths

AZ = ("a", candidate("db", "z"))
BY_S = circuit("c", "a", "s", "z", intents=("lab/x",))


def ways(north: dict[str, Any], south: dict[str, Any]) -> MeshGraph:
    """From a to z by n and by s; the first link of each has these figures."""
    return mesh(
        *(node(name) for name in "ansz"),
        links=(
            *both("a", "n", **{"rtt_ms": 20.0, **north}),
            *both("n", "z", 1.0),
            *both("a", "s", **{"rtt_ms": 20.0, **south}),
            *both("s", "z", 1.0),
        ),
    )


def placed(graph: MeshGraph, needs: Requirements, *, circuits: Any = (BY_S,), policies: Any = (), **more: Any) -> Any:
    asked = demand(intent("x", requirements=needs), *AZ)
    made = make_plan(graph, [asked], circuits, policies, PlannerSettings(**more), made_at_s=0.0)
    (placement,) = made.placements
    return placement


def text(placement: Placement) -> str:
    return placement.path.text if placement.path else ""


FAST = Requirements(max_latency=Milliseconds(15))
DEAD: dict[str, Any] = {"loss": 1.0}
UNKNOWN: dict[str, Any] = {"rtt_ms": None, "loss": None}

CASES = {
    "a-dead-path-is-left-for-a-slow-one": ({"rtt_ms": 400.0}, DEAD, "a > n > z"),
    "a-dead-path-is-left-for-one-of-which-nothing-is-known": (UNKNOWN, DEAD, "a > n > z"),
    "a-path-that-is-measured-is-not-left-for-an-unknown-one": (UNKNOWN, {"rtt_ms": 400.0}, "a > s > z"),
    "an-unknown-path-is-left-for-a-measured-one": ({"rtt_ms": 400.0}, UNKNOWN, "a > n > z"),
    "a-dead-path-is-kept-where-all-are-dead": (DEAD, {**DEAD, "rtt_ms": 90.0}, "a > s > z"),
    "it-stays-where-the-gain-is-within-the-margin": ({"rtt_ms": 98.0}, {"rtt_ms": 100.0}, "a > s > z"),
    "it-moves-to-what-is-less-bad-by-more": ({"rtt_ms": 60.0}, {"rtt_ms": 100.0}, "a > n > z"),
    "what-holds-at-the-medians-goes-first": ({"rtt_ms": 13.0, "p90": 500.0}, {"rtt_ms": 20.0}, "a > n > z"),
    "what-holds-halfway-goes-before": ({"rtt_ms": 13.5, "p90": 14.2}, {"rtt_ms": 10.0, "p90": 400.0}, "a > n > z"),
    "what-nearly-does-stays": ({"rtt_ms": 13.0, "p90": 400.0}, {"rtt_ms": 14.1}, "a > s > z"),
}


@pytest.mark.parametrize(("north", "south", "way"), CASES.values(), ids=CASES.keys())
def test_the_least_bad_path_is_taken(north: dict[str, Any], south: dict[str, Any], way: str) -> None:
    placement = placed(ways(north, south), FAST)
    assert text(placement) == way
    assert placement.infeasible is not None
    assert placement.infeasible.requirement == "maxLatency"
    assert placement.reason.startswith(placement.infeasible.message)


def test_a_dead_link_loses_even_where_loss_costs_nothing() -> None:
    careless = policy("careless", weights=CostWeights(loss=0.0))
    assert text(placed(ways({"rtt_ms": 900.0}, DEAD), FAST, policies=(careless,))) == "a > n > z"


def test_what_never_was_placed_takes_what_holds_at_the_medians() -> None:
    placement = placed(ways({"rtt_ms": 13.0, "p90": 500.0}, {}), FAST, circuits=())
    assert text(placement) == "a > n > z"
    assert placement.infeasible is not None


def test_what_never_was_placed_stays_unplaced() -> None:
    for circuits in ((), (circuit("c", "a", "s", "z", intents=("lab/other",)),)):
        placement = placed(ways({}, {}), FAST, circuits=circuits)
        assert placement.path is None
        assert placement.infeasible is not None


WORDS = {
    "avoided": Requirements(max_latency=Milliseconds(15), avoid=Avoid(gateways=("n",))),
    "too-dear": Requirements(max_latency=Milliseconds(15), max_egress_price=Price(0.01)),
    "too-many-hops": Requirements(max_latency=Milliseconds(15), max_hops=1),
}


@pytest.mark.parametrize("needs", WORDS.values(), ids=WORDS.keys())
def test_what_somebody_forbids_is_no_way_out(needs: Requirements) -> None:
    graph = ways({"price": 0.05}, {"price": 0.05})
    cut = structs.replace(graph, links=tuple(one for one in graph.links if one.id != LinkId(src="a", dst="s")))
    assert placed(cut, needs).path is None


def test_a_pin_is_not_undone() -> None:
    pinned = structs.replace(BY_S, spec=structs.replace(BY_S.spec, path=("a", "s", "z")))
    assert placed(ways({}, {}), FAST, circuits=(pinned,)).path is None


def test_those_that_can_be_served_come_first() -> None:
    """The rescued has the higher priority, and yet only what is left."""
    graph = ways({"free": 500e6}, {"free": 500e6, "rtt_ms": 40.0})
    first = intent(
        "x", requirements=Requirements(max_latency=Milliseconds(15), min_bandwidth=Bandwidth(4e8)), priority=9
    )
    second = intent("y", requirements=Requirements(max_latency=Milliseconds(30), min_bandwidth=Bandwidth(4e8)))
    asked = [demand(first, *AZ), demand(second, *AZ, class_="y")]
    made = make_plan(graph, asked, [BY_S], (), made_at_s=0.0)
    assert [(text(one), one.infeasible is None) for one in made.placements] == [
        ("a > s > z", False),
        ("a > n > z", True),
    ]


def test_who_shares_a_circuit_is_rescued_along_with_it() -> None:
    graph = ways({"rtt_ms": 50.0}, {**DEAD})
    both_in = circuit("c", "a", "s", "z", intents=("lab/x", "lab/y"))
    asked = [
        demand(intent("x", requirements=FAST), *AZ),
        demand(intent("y", requirements=Requirements(max_loss=Ratio(0.001))), *AZ),
    ]
    made = make_plan(graph, asked, [both_in], (), made_at_s=0.0)
    assert [(text(one), one.infeasible is None) for one in made.placements] == [
        ("a > n > z", False),
        ("a > n > z", True),
    ]


def test_without_explanations_the_answer_is_the_same() -> None:
    graph = ways({"rtt_ms": 60.0}, {"rtt_ms": 100.0})
    told, untold = placed(graph, FAST), placed(graph, FAST, explain=False)
    assert (untold.path, untold.destination) == (told.path, told.destination)
    assert untold.infeasible is not None
    assert untold.infeasible.message == "it does not meet the requirements"


PASSING = {"max_latency": None, "max_loss": None, "min_bandwidth": None, "reverse": None}


def is_dead(one: PredictedLink) -> bool:
    return one.loss is not None and one.loss.median >= 0.99


def is_measured(one: PredictedLink) -> bool:
    return one.rtt_ms is not None and one.loss is not None


def less_cautious(graph: MeshGraph, caution: float) -> MeshGraph:
    def middle(figure: Figure | None) -> Figure | None:
        if figure is None:
            return None
        return structs.replace(figure, pessimistic=figure.median + caution * (figure.pessimistic - figure.median))

    links = (
        structs.replace(one, rtt_ms=middle(one.rtt_ms), loss=middle(one.loss), free_bps=middle(one.free_bps))
        for one in graph.links
    )
    return structs.replace(graph, links=tuple(links))


def some_dead(rng: random.Random, graph: MeshGraph) -> MeshGraph:
    dead = Figure(median=1.0, pessimistic=1.0)
    links = (structs.replace(one, loss=dead) if rng.random() < 0.3 else one for one in graph.links)
    return structs.replace(graph, links=tuple(links))


def usable(graph: MeshGraph, ask: Ask, in_use: tuple[str, ...]) -> list[Candidate]:
    """The paths of which the cheapest has to be taken, by the definitions alone."""
    needs = ask.requirements
    loose = replace(ask, requirements=structs.replace(needs, **PASSING))
    nearly = structs.replace(
        needs,
        max_latency=needs.max_latency and Milliseconds(needs.max_latency * NEARLY),
        max_loss=needs.max_loss and Ratio(min(1.0, needs.max_loss * NEARLY)),
        min_bandwidth=needs.min_bandwidth and Bandwidth(needs.min_bandwidth / NEARLY),
        reverse=needs.reverse and Bandwidth(needs.reverse / NEARLY),
    )
    judge, patient = Judge(graph, loose), Judge(graph, replace(ask, requirements=nearly))
    permitted = [path for path in simple_paths(graph, loose) if judge.meets(path)]
    alive = [path for path in permitted if not any(map(is_dead, path.links))]
    measured = [path for path in alive if all(map(is_measured, path.links))]
    stays = [path for path in measured if path.gateways == in_use and patient.meets(path)]
    if stays:
        return stays
    for caution in LESS_CAUTIOUS:
        strict = Judge(less_cautious(graph, caution), ask)
        middling = [
            path
            for path in measured
            if strict.meets(Candidate(path.gateways, tuple(strict.by_id[one.id] for one in path.links)))
        ]
        if middling:
            return middling
    return measured or alive


def test_agrees_with_trying_every_path() -> None:
    rescued, dead_ends = 0, 0
    for seed in range(700):
        rng = random.Random(seed)
        graph = some_dead(rng, random_graph(rng))
        source, end = rng.sample([one.id for one in graph.nodes], 2)
        needs = structs.replace(
            random_requirements(rng, graph), max_latency=Milliseconds(rng.choice((1, 12, 60))), regions=()
        )
        weights = PROFILES[Profile.BALANCED]
        ask = Ask(sources={source: 0.0}, destinations={end: 0.0}, requirements=needs, weights=weights, reserved_bps={})
        in_use = rng.choice([*simple_paths(graph, ask), None])
        if in_use is None:
            continue
        asked = demand(intent("x", requirements=needs), source, candidate("db", end))
        old = circuit("c", *in_use.gateways, intents=("lab/x",))
        made = make_plan(graph, [asked], [old], (), made_at_s=0.0, measured_bps={"lab/c": (0.0, 0.0)})
        (placement,) = made.placements
        if placement.infeasible is None:
            continue
        expected = usable(graph, ask, old.status.path)
        if not expected:
            taken = placement.path.links if placement.path else ()
            assert not taken or any(
                not is_measured(one) or is_dead(one) for one in graph.links if one.id in {*taken}
            ), f"seed {seed}"
            dead_ends += 1
            continue
        assert placement.path is not None, f"seed {seed}"
        assert placement.path.links in {tuple(one.id for one in path.links) for path in expected}, f"seed {seed}"
        cheapest = min(map(Judge(graph, ask).cost, expected))
        margin = 0.9 if placement.path.gateways == old.status.path else 1.0
        assert placement.path.figures.cost is not None
        assert placement.path.figures.cost * margin <= cheapest * (1 + 1e-6) + 1e-6, f"seed {seed}"
        rescued += 1
    assert rescued > 50
    assert dead_ends > 5
