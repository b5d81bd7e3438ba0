"""Plans: priority, residual bandwidth, sharing, hysteresis, pins, and the reasons given."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

import pytest
from msgspec import structs

from foremesh.model.circuit import Circuit
from foremesh.model.intent import Avoid
from foremesh.model.link import Figure, LinkId, MeshGraph, PredictedLink
from foremesh.model.meta import LabelSelector
from foremesh.model.plan import Plan
from foremesh.model.policy import PolicyMatch
from foremesh.model.units import Bandwidth, Milliseconds
from foremesh.routing import Demand, Planner, PlannerSettings, make_plan
from routing.demands import candidate, circuit, demand, intent, policy
from routing.plans import AZ, LATENCY_ONLY, bandwidth, diamond, needs, only, plan, text
from routing.worlds import both, link, mesh, node, random_graph, random_requirements, steady


def test_a_new_demand_is_placed_on_the_cheapest_path() -> None:
    made = plan(diamond(), [demand(intent("x"), *AZ)])
    placement = only(made)
    assert made.made_at_s == 1000.0
    assert (placement.intent, placement.source, placement.destination) == ("lab/x", "lab/web", "lab/db")
    assert text(placement) == "a > n > z"
    assert [path.text for path in placement.runners_up] == ["a > s > z"]
    assert placement.reason == "placed on a > n > z: 20.0 ms"
    assert not placement.kept


def test_every_candidate_counts_and_the_attachment_with_it() -> None:
    graph = mesh(node("a"), node("y"), node("z"), links=(*both("a", "y", 10.0), *both("a", "z", 12.0)))
    near = candidate("near", "z")
    far = structs_gateways(candidate("far", "y"), {"y": 9.0})
    placement = only(plan(graph, [demand(intent("x"), "a", far, near)]))
    assert (placement.destination, text(placement)) == ("lab/near", "a > z")


def test_a_runner_up_says_where_it_leads_if_that_is_elsewhere() -> None:
    links = (*both("a", "y", 10.0), *both("a", "z", 12.0), *both("y", "z", 10.0))
    graph = mesh(node("a"), node("y"), node("z"), links=links)
    asked = demand(intent("x"), "a", candidate("far", "y"), candidate("near", "z"))
    placement = only(plan(graph, [asked], runners_up=3))
    assert (placement.destination, text(placement)) == ("lab/far", "a > y")
    told = [one.text for one in placement.runners_up]
    assert dict(zip(told, placement.runners_up_to, strict=True)) == {
        "a > z": "lab/near",
        "a > z > y": "",
        "a > y > z": "lab/near",
    }


def test_behind_one_gateway_it_is_the_destination_whose_policies_let_it_pass() -> None:
    links = (*both("a", "y", 10.0), *both("a", "z", 12.0), *both("y", "z", 10.0))
    graph = mesh(node("a"), node("y"), node("z"), links=links)
    asked = demand(intent("x"), "a", candidate("one", "z", labels={"strict": "yes"}), candidate("two", "z"))
    strict = policy(
        "no-detour",
        match=PolicyMatch(destination=LabelSelector(match_labels={"strict": "yes"})),
        avoid=Avoid(gateways=("y",)),
    )
    placement = only(plan(graph, [asked], policies=[strict]))
    assert (placement.destination, text(placement)) == ("lab/one", "a > z")
    assert [one.text for one in placement.runners_up] == ["a > y > z"]
    assert placement.runners_up_to == ("lab/two",)


def structs_gateways(one: Any, gateways: dict[str, float | None]) -> Any:
    return type(one)(resource=one.resource, gateways=gateways, addresses=one.addresses)


def test_the_higher_priority_gets_the_better_path() -> None:
    demands = [
        demand(intent("a-low", requirements=bandwidth(6e8), priority=1), *AZ, class_="one"),
        demand(intent("b-high", requirements=bandwidth(6e8), priority=2), *AZ, class_="two"),
    ]
    made = plan(diamond(), demands)
    assert [(one.intent, text(one)) for one in made.placements] == [
        ("lab/a-low", "a > s > z"),
        ("lab/b-high", "a > n > z"),
    ]


def test_equal_priorities_go_by_intent() -> None:
    demands = [
        demand(intent(name, requirements=bandwidth(6e8)), *AZ, class_=name) for name in ("second", "third", "first")
    ]
    made = plan(diamond(), demands)
    assert {one.intent: text(one) for one in made.placements} == {
        "lab/first": "a > n > z",
        "lab/second": "a > s > z",
        "lab/third": "",
    }
    third = made.placements[2].infeasible
    assert third is not None
    assert third.message == (
        "minBandwidth: asked 600M, nearest 400M by a > n > z; a->n has 400M of 1G left: lab/first has 600M; n->z "
        "(400M left) lacks it too"
    )


def test_reverse_bandwidth_is_promised_on_the_links_the_other_way() -> None:
    back = intent("x", requirements=needs(reverse=Bandwidth(6e8)), priority=1)
    there = demand(intent("y", requirements=bandwidth(6e8)), "z", candidate("web", "a"), class_="y", source="db")
    made = plan(diamond(), [demand(back, *AZ), there])
    assert [text(one) for one in made.placements] == ["a > n > z", "z > s > a"]


def test_one_class_between_the_same_ends_shares_a_path_and_adds_up() -> None:
    demands = [demand(intent(name, requirements=bandwidth(4e8)), *AZ) for name in ("x", "y")]
    made = plan(diamond(), [*demands, demand(intent("z", requirements=bandwidth(4e8)), *AZ, class_="other")])
    assert [text(one) for one in made.placements] == ["a > n > z", "a > n > z", "a > s > z"]
    told = ["lab/x" in one.reason for one in made.placements]
    assert told == [False, True, False], "where else it might have gone is told with the intent that came first"
    assert made.placements[1].reason.endswith(", on the circuit of lab/x")


def test_sources_of_one_intent_are_promised_their_bandwidth_each() -> None:
    asked = intent("x", requirements=bandwidth(6e8))
    made = plan(diamond(free=1e9), [demand(asked, *AZ, source=name) for name in ("web-1", "web-2")])
    assert [bool(one.path) for one in made.placements] == [True, False]


def test_those_who_share_move_together_to_a_path_that_serves_all() -> None:
    loose = intent("loose", priority=1)
    strict = intent("strict", requirements=needs(avoid=Avoid(gateways=("n",))))
    made = plan(diamond(), [demand(loose, *AZ), demand(strict, *AZ)])
    assert [text(one) for one in made.placements] == ["a > s > z", "a > s > z"]
    assert made.placements[0].reason == "placed on a > s > z: 30.0 ms, which serves all that share the circuit"


def test_those_who_share_stay_where_nothing_serves_all() -> None:
    first = intent("first", requirements=needs(max_latency=Milliseconds(25)), priority=1)
    second = intent("second", requirements=needs(avoid=Avoid(gateways=("n",))))
    made = plan(diamond(), [demand(first, *AZ), demand(second, *AZ)])
    assert text(made.placements[0]) == "a > n > z"
    refused = made.placements[1].infeasible
    assert refused is not None
    assert refused.message == (
        "the circuit of class default a > z is shared with lab/first: avoid: asked gateways n, possible without "
        "gateways n by a > n > z; with dedicated: true, a circuit of its own, it gets a > s > z"
    )
    assert (refused.requirement, refused.asked, refused.nearest) == ("dedicated", "false", "true")


def test_who_does_not_fit_onto_a_shared_path_is_told_what_a_circuit_of_its_own_gets() -> None:
    """The advice is true: followed, it gives that very path. Who would get none that way either is not told so, nor who
    shares with sources of his own Intent, whom it would not part."""

    def second(**more: Any) -> Demand:
        return demand(intent("second", requirements=bandwidth(6e8), **more), *AZ, source="web-2")

    first = demand(intent("first", requirements=bandwidth(6e8), priority=1), *AZ)
    refused = plan(diamond(), [first, second()]).placements[1].infeasible
    assert refused is not None
    assert refused.nearest == "true"
    assert refused.message.endswith("; with dedicated: true, a circuit of its own, it gets a > s > z")
    assert text(plan(diamond(), [first, second(dedicated=True)]).placements[1]) == "a > s > z"

    full = demand(intent("zero", requirements=bandwidth(9e8), priority=2), *AZ, class_="other")
    full_too = demand(intent("none", requirements=bandwidth(3e8), priority=2), *AZ, class_="third")
    nowhere = plan(diamond(), [full, full_too, demand(intent("big", requirements=bandwidth(8e8)), *AZ)]).placements[0]
    assert nowhere.infeasible is not None
    assert "dedicated" not in nowhere.infeasible.message
    own = intent("own", requirements=bandwidth(6e8))
    sources = plan(diamond(), [demand(own, *AZ, source=name) for name in ("web", "web-2")]).placements
    assert sources[1].infeasible is not None
    assert sources[1].infeasible.requirement == "minBandwidth"


def test_a_dedicated_intent_shares_with_nobody() -> None:
    demands = [
        demand(intent("first", requirements=needs(avoid=Avoid(gateways=("s",))), priority=1), *AZ),
        demand(intent("second", requirements=needs(avoid=Avoid(gateways=("n",))), dedicated=True), *AZ),
    ]
    assert [text(one) for one in plan(diamond(), demands).placements] == ["a > n > z", "a > s > z"]


def test_a_circuit_that_fills_its_link_stays_on_it() -> None:
    """Its own traffic is part of what the links are predicted to carry."""
    graph = diamond()
    busy = tuple(
        structs.replace(one, free_bps=steady(1e8), capacity_bps=1e9) if "n" in (one.id.src, one.id.dst) else one
        for one in graph.links
    )
    loaded = structs.replace(graph, links=busy)
    asked = [demand(intent("x", requirements=bandwidth(9e8)), *AZ)]
    old = circuit("c", "a", "n", "z", intents=("lab/x",))
    assert only(plan(loaded, asked, [old], [LATENCY_ONLY])).reason == "stays on a > n > z: 20.0 ms"
    assert text(only(plan(loaded, asked, [], [LATENCY_ONLY]))) == "a > s > z", "a stranger's traffic is in the way"


def test_room_that_an_idle_circuit_was_promised_is_not_given_twice() -> None:
    idle = structs.replace(diamond(), links=tuple(structs.replace(one, capacity_bps=1e9) for one in diamond().links))
    demands = [
        demand(intent("x", requirements=bandwidth(9e8), priority=1), *AZ),
        demand(intent("y", requirements=bandwidth(9e8)), *AZ, class_="y"),
    ]
    made = plan(idle, demands, [circuit("c", "a", "n", "z", intents=("lab/x",))])
    assert [text(one) for one in made.placements] == ["a > n > z", "a > s > z"]


PINNED = circuit("c", "a", "n", "z", intents=("lab/x",), pinned=("a", "s", "z"))


def test_a_pinned_path_is_honoured_whatever_it_costs() -> None:
    placement = only(plan(diamond(5.0, 300.0), [demand(intent("x"), *AZ)], [PINNED]))
    assert (text(placement), placement.reason) == ("a > s > z", "pinned to a > s > z: 300.0 ms")


def test_a_pinned_path_that_misses_a_requirement_is_reported() -> None:
    asked = intent("x", requirements=needs(max_latency=Milliseconds(20)))
    placement = only(plan(diamond(), [demand(asked, *AZ)], [PINNED]))
    assert placement.path is None
    assert placement.reason == "pinned to a > s > z: maxLatency: asked 20ms, nearest 30ms by a > s > z"


def test_a_pinned_path_without_its_links_is_reported() -> None:
    broken = circuit("c", "a", "n", "z", intents=("lab/x",), pinned=("a", "z"))
    placement = only(plan(diamond(), [demand(intent("x"), *AZ)], [broken]))
    assert placement.infeasible is not None
    assert placement.infeasible.requirement == "connectivity"


def test_a_pin_binds_everyone_whose_class_and_ends_it_is_about() -> None:
    newcomer = demand(intent("new", priority=9), *AZ)
    made = plan(diamond(5.0, 300.0), [newcomer], [PINNED])
    assert text(only(made)) == "a > s > z"


def test_a_circuit_that_drains_does_not_hold_a_demand_back() -> None:
    graph = mesh(node("a"), node("y"), node("z"), links=(*both("a", "y", 29.0), *both("a", "z", 30.0)))
    circuits = [
        circuit("1-old", "a", "y", intents=("lab/x",), active=False),
        circuit("2-new", "a", "z", intents=("lab/x",)),
    ]
    asked = [demand(intent("x"), "a", candidate("db", "y"), candidate("db-2", "z"))]
    placement = only(plan(graph, asked, circuits))
    assert (placement.kept, text(placement), placement.destination) == (True, "a > z", "lab/db-2")


REFUSALS = {
    "without-candidates": (
        demand(intent("x"), "a"),
        "candidates",
        "candidates: nobody but the source offers what it asks for",
    ),
    "without-gateways-at-the-source": (
        demand(intent("x"), {}, candidate("db", "z")),
        "gateways",
        "gateways: source lab/web attaches to no gateway",
    ),
    "without-gateways-at-the-destination": (
        demand(intent("x"), "a", candidate("db")),
        "gateways",
        "gateways: destination lab/db attaches to no gateway",
    ),
    "destination-outside-the-regions": (
        demand(intent("x", requirements=needs(regions=("eu",))), "a", candidate("db", "z", region="us")),
        "regions",
        "regions: asked eu; destination lab/db is in us",
    ),
    "destination-that-does-not-state-its-region": (
        demand(intent("x", requirements=needs(regions=("eu",))), "a", candidate("db", "z")),
        "regions",
        "regions: asked eu; destination lab/db does not state its region",
    ),
}


@pytest.mark.parametrize(("asked", "requirement", "message"), REFUSALS.values(), ids=REFUSALS.keys())
def test_what_cannot_be_placed_says_why(asked: Demand, requirement: str, message: str) -> None:
    placement = only(plan(diamond(), [asked]))
    assert placement.infeasible is not None
    assert (placement.infeasible.requirement, placement.reason) == (requirement, message)
    assert placement.infeasible.message == message


def test_a_denied_destination_is_passed_over_for_another() -> None:
    match = PolicyMatch(destination=LabelSelector(match_labels={"tier": "secret"}))
    deny = policy("no-secrets", match=match, deny=True)
    graph = mesh(node("a"), node("y"), node("z"), links=(*both("a", "y", 5.0), *both("a", "z", 50.0)))
    secret, plain = candidate("secret", "y", labels={"tier": "secret"}), candidate("plain", "z")
    assert only(plan(graph, [demand(intent("x"), "a", secret, plain)], (), [deny])).destination == "lab/plain"
    refused = only(plan(graph, [demand(intent("x"), "a", secret)], (), [deny])).infeasible
    assert refused is not None
    assert (refused.requirement, refused.message) == ("policy", "MeshPolicy no-secrets denies it")


def test_source_and_destination_behind_one_gateway_need_no_link() -> None:
    placement = only(plan(diamond(), [demand(intent("x", requirements=bandwidth(9e12)), "a", candidate("db", "a"))]))
    assert placement.path is not None
    assert (placement.path.links, placement.reason) == ((), "placed on a: 0.0 ms")


def random_demands(rng: random.Random, graph: MeshGraph) -> list[Demand]:
    names = [one.id for one in graph.nodes]
    made = []
    for index in range(rng.randint(1, 8)):
        asked = intent(
            f"i{index}",
            requirements=structs.replace(random_requirements(rng, graph), regions=()),
            priority=rng.randint(0, 2),
        )
        candidates = [
            candidate(f"d{number}", *rng.sample(names, rng.randint(1, min(2, len(names)))))
            for number in range(rng.randint(1, 2))
        ]
        sources = dict.fromkeys(rng.sample(names, rng.randint(1, min(2, len(names)))), 0.0)
        made.append(demand(asked, sources, *candidates, class_=rng.choice(("one", "two"))))
    return made


def circuits_of(made: Plan, demands: list[Demand]) -> list[Circuit]:
    """The circuits that a plan leads to."""
    classes = {one.key: one.class_ for one in demands}
    paths: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for one in made.placements:
        if one.path and one.path.links:
            paths.setdefault((classes[one.intent, one.source], one.path.gateways), []).append(one.intent)
    return [
        circuit(f"{class_}-{'-'.join(path)}", *path, intents=tuple(intents), class_=class_)
        for (class_, path), intents in paths.items()
    ]


def test_plans_promise_no_link_more_than_it_has_and_one_path_a_circuit() -> None:
    shared = 0
    for seed in range(200):
        rng = random.Random(seed)
        graph = random_graph(rng)
        demands = random_demands(rng, graph)
        made = plan(graph, demands)
        by_key = {one.key: one for one in demands}
        free = {one.id: one.free_bps for one in graph.links}
        promised: dict[LinkId, float] = {}
        circuits: dict[tuple[str, str, str], tuple[LinkId, ...]] = {}
        for one in made.placements:
            if one.path is None:
                assert one.infeasible is not None
                assert one.reason
                continue
            asked = by_key[one.intent, one.source]
            wanted = asked.intent.spec.requirements
            for step in one.path.links:
                promised[step] = promised.get(step, 0.0) + (wanted.min_bandwidth or 0.0)
                promised[step.reverse] = promised.get(step.reverse, 0.0) + (wanted.reverse or 0.0)
            key = (asked.class_, one.path.gateways[0], one.path.gateways[-1])
            shared += key in circuits
            assert circuits.setdefault(key, one.path.links) == one.path.links, f"seed {seed}: {key}"
        for step, taken in promised.items():
            if taken:
                have = free[step]
                assert have is not None, f"seed {seed}: {step}"
                assert taken <= have.pessimistic, f"seed {seed}: {step}"
    assert shared > 20


def test_plans_do_not_depend_on_the_order_of_the_input() -> None:
    for seed in range(80):
        rng = random.Random(seed)
        graph = random_graph(rng)
        demands = random_demands(rng, graph)
        circuits = circuits_of(plan(graph, demands), demands)
        expected = plan(graph, demands, circuits)
        again = plan(
            structs.replace(graph, links=tuple(rng.sample(graph.links, len(graph.links)))),
            rng.sample(demands, len(demands)),
            rng.sample(circuits, len(circuits)),
        )
        assert again == expected, f"seed {seed}"


def test_a_planner_that_made_other_plans_makes_the_same_plan() -> None:
    """What it keeps between plans shows in none, also when figures, links or gateways change in between."""
    changed = 0
    for seed in range(60):
        rng = random.Random(seed)
        graph = random_graph(rng)
        demands = random_demands(rng, graph)
        planner = Planner(demands, (), PlannerSettings(standby=True))
        others = [random_graph(random.Random(seed)), structs.replace(graph, links=graph.links[1:])]
        others.append(structs.replace(graph, nodes=graph.nodes[1:]))
        others.append(carrying(graph, plan(graph, demands), demands))
        circuits = circuits_of(plan(graph, demands), demands)
        for other in (graph, *others, graph):
            expected = plan(other, demands, circuits, standby=True)
            assert planner.plan(other, circuits, made_at_s=1000.0) == expected, f"seed {seed}"
            changed += expected != plan(graph, demands, circuits, standby=True)
    assert changed > 50


def carrying(graph: MeshGraph, made: Plan, demands: list[Demand]) -> MeshGraph:
    """The graph once every placement uses what it was promised."""
    by_key = {one.key: one.intent.spec.requirements for one in demands}
    used: dict[LinkId, float] = {}
    for one in made.placements:
        wanted = by_key[one.intent, one.source]
        for step in one.path.links if one.path else ():
            used[step] = used.get(step, 0.0) + (wanted.min_bandwidth or 0.0)
            used[step.reverse] = used.get(step.reverse, 0.0) + (wanted.reverse or 0.0)

    def loaded(one: PredictedLink) -> PredictedLink:
        if one.free_bps is None:
            return one
        taken = used.get(one.id, 0.0)
        left = Figure(median=one.free_bps.median - taken, pessimistic=one.free_bps.pessimistic - taken)
        return structs.replace(one, free_bps=left)

    return structs.replace(graph, links=tuple(loaded(one) for one in graph.links))


def test_traffic_that_follows_the_plan_changes_no_plan() -> None:
    placed = 0
    for seed in range(150):
        rng = random.Random(seed)
        graph = random_graph(rng)
        wide = tuple(one for one in graph.links if one.id.underlay == "internet")
        graph = structs.replace(graph, links=wide)
        demands = random_demands(rng, graph)
        first = plan(graph, demands)
        second = plan(carrying(graph, first, demands), demands, circuits_of(first, demands))
        assert [one.path and one.path.gateways for one in second.placements] == [
            one.path and one.path.gateways for one in first.placements
        ], f"seed {seed}"
        placed += sum(one.path is not None for one in second.placements)
    assert placed > 100


def test_what_an_idle_circuit_does_not_carry_is_not_free() -> None:
    """Somebody else fills the link by which the circuit runs; a measured circuit is not taken for that traffic."""
    busy = mesh(node("a"), node("z"), links=both("a", "z", 10.0, free=450e6, capacity=1e9))
    demands = [
        demand(intent("x", requirements=bandwidth(200e6), priority=1), *AZ),
        demand(intent("y", requirements=bandwidth(500e6)), *AZ, class_="y"),
    ]
    circuits = [circuit("c", "a", "z", intents=("lab/x",))]
    made = make_plan(busy, demands, circuits, (), made_at_s=0.0, measured_bps={"lab/c": (0.0, 0.0)})
    assert [bool(one.path) for one in made.placements] == [True, False]
    used = make_plan(busy, demands, circuits, (), made_at_s=0.0, measured_bps={"lab/c": (250e6, 0.0)})
    assert [bool(one.path) for one in used.placements] == [True, False], "650 Mbit/s less the 200 promised to x"
    room = dataclasses.replace(demands[1], intent=intent("y", requirements=bandwidth(450e6)))
    fits = make_plan(busy, [demands[0], room], circuits, (), made_at_s=0.0, measured_bps={"lab/c": (250e6, 0.0)})
    assert [bool(one.path) for one in fits.placements] == [True, True]


def test_a_link_that_only_one_direction_measures_is_still_a_path() -> None:
    graph = mesh(node("a"), node("z"), links=(link("a", "z", 10.0), link("z", "a", None)))
    assert text(only(plan(graph, [demand(intent("x"), *AZ)]))) == "a > z"
