"""Joint placement: who finds no room gets it where others have another way, and no lesser one takes it from anybody."""

from __future__ import annotations

import itertools
import random

import pytest
from msgspec import structs

from foremesh.model.intent import Requirements
from foremesh.model.link import LinkId, MeshGraph
from foremesh.model.plan import Placement, Plan
from foremesh.model.units import Bandwidth, Milliseconds
from foremesh.routing import Demand, PlannerSettings, make_plan, planner
from foremesh.routing.crowd import SEARCH, Effort
from foremesh.routing.packing import NONE, Unit, Way, pack, worth
from routing.crowds import crowd
from routing.demands import candidate, circuit, demand, intent
from routing.plans import AZ, LATENCY_ONLY, bandwidth, diamond, plan, text
from routing.worlds import both, mesh, node, random_graph, random_requirements

FAST = Requirements(min_bandwidth=Bandwidth(6e8), max_latency=Milliseconds(25))
LEAN = PlannerSettings(runners_up=0, explain=False)


def by_name(made: Plan) -> dict[str, Placement]:
    return {one.intent.removeprefix("lab/"): one for one in made.placements}


def test_who_has_another_way_makes_room_for_who_has_not() -> None:
    asked = [
        demand(intent("a-easy", requirements=bandwidth(6e8)), *AZ, class_="one"),
        demand(intent("b-fast", requirements=FAST), *AZ, class_="two"),
    ]
    made = by_name(plan(diamond(), asked))
    assert {name: text(one) for name, one in made.items()} == {"a-easy": "a > s > z", "b-fast": "a > n > z"}
    assert made["a-easy"].reason == "placed on a > s > z: 30.0 ms; a > n > z is left to lab/b-fast"
    assert made["b-fast"].reason == "placed on a > n > z: 20.0 ms"


def test_those_of_higher_priority_make_room_as_well_but_keep_a_path_that_does() -> None:
    asked = [
        demand(intent("high", requirements=bandwidth(6e8), priority=2), *AZ, class_="one"),
        demand(intent("low", requirements=FAST, priority=1), *AZ, class_="two"),
    ]
    assert {name: text(one) for name, one in by_name(plan(diamond(), asked)).items()} == {
        "high": "a > s > z",
        "low": "a > n > z",
    }
    strict = [demand(intent("high", requirements=FAST, priority=2), *AZ, class_="one"), asked[1]]
    assert {name: text(one) for name, one in by_name(plan(diamond(), strict)).items()} == {
        "high": "a > n > z",
        "low": "",
    }


def test_a_circuit_in_place_moves_for_room_and_not_for_a_newcomers_comfort() -> None:
    running = [circuit("c", "a", "n", "z", intents=("lab/old",), class_="one")]
    old = demand(intent("old", requirements=bandwidth(6e8)), *AZ, class_="one")
    comfort = demand(intent("new", requirements=bandwidth(6e8)), *AZ, class_="two")
    graph = diamond(capacity=1e9)
    made = by_name(plan(graph, [old, comfort], running, [LATENCY_ONLY]))
    assert (text(made["old"]), text(made["new"])) == ("a > n > z", "a > s > z")
    need = demand(intent("new", requirements=FAST), *AZ, class_="two")
    made = by_name(plan(graph, [old, need], running, [LATENCY_ONLY]))
    assert (text(made["old"]), text(made["new"])) == ("a > s > z", "a > n > z")
    assert made["old"].reason == ("moved from a > n > z to a > s > z: 20.0 -> 30.0 ms; a > n > z is left to lab/new")


def test_what_was_admitted_stays_so_where_a_newcomer_comes_first_by_name() -> None:
    narrow = mesh(node("a"), node("z"), links=both("a", "z", 10.0, free=4e8, capacity=1e9))
    asked = [demand(intent(name, requirements=bandwidth(6e8)), *AZ, class_=name) for name in ("a-new", "old")]
    made = by_name(plan(narrow, asked, [circuit("c", "a", "z", intents=("lab/old",), class_="old")]))
    assert (text(made["old"]), text(made["a-new"])) == ("a > z", "")


def test_of_newcomers_those_are_placed_that_ask_for_most_together() -> None:
    narrow = mesh(node("a"), node("z"), links=both("a", "z", 10.0))
    sizes = {"a": 5e8, "b": 4e8, "c": 6e8}
    asked = [demand(intent(name, requirements=bandwidth(bps)), *AZ, class_=name) for name, bps in sizes.items()]
    assert {name for name, one in by_name(plan(narrow, asked)).items() if one.path} == {"b", "c"}


def test_those_who_share_a_circuit_move_together() -> None:
    asked = [demand(intent(name, requirements=bandwidth(3e8)), *AZ, class_="one") for name in ("a1", "a2")]
    asked.append(demand(intent("b-fast", requirements=FAST), *AZ, class_="two"))
    made = by_name(plan(diamond(), asked))
    assert {name: text(one) for name, one in made.items()} == {
        "a1": "a > s > z",
        "a2": "a > s > z",
        "b-fast": "a > n > z",
    }


def test_who_has_to_share_a_circuit_gets_room_on_it() -> None:
    """The circuit of class one has no room for its second demand, until a stranger moves."""
    near = Requirements(min_bandwidth=Bandwidth(4e8), max_latency=Milliseconds(25))
    asked = [
        demand(intent("a-one", requirements=near, priority=1), *AZ, class_="one"),
        demand(intent("b-other", requirements=bandwidth(4e8), priority=1), *AZ, class_="two"),
        demand(intent("c-one", requirements=near), *AZ, class_="one"),
    ]
    made = by_name(plan(diamond(), asked))
    assert {name: text(one) for name, one in made.items()} == {
        "a-one": "a > n > z",
        "b-other": "a > s > z",
        "c-one": "a > n > z",
    }


def test_of_two_that_would_share_a_circuit_one_is_placed_where_there_is_no_room_for_both() -> None:
    near = Requirements(min_bandwidth=Bandwidth(5e8), max_latency=Milliseconds(25))
    asked = [demand(intent("a-big", requirements=bandwidth(6e8)), *AZ, class_="one")]
    asked += [demand(intent(name, requirements=near), *AZ, class_="two") for name in ("b1", "b2")]
    made = by_name(plan(diamond(free=9e8), asked))
    assert {name: text(one) for name, one in made.items()} == {"a-big": "a > s > z", "b1": "a > n > z", "b2": ""}


def test_what_one_may_use_as_well_stays_the_circuit_of_another() -> None:
    """An any-cast demand might be carried by the circuit to y, too, which has to move for a third."""
    ways = [*both("a", "y", 10.0), *both("a", "m", 10.0), *both("m", "y", 10.0), *both("a", "z", 30.0)]
    graph = mesh(*(node(name) for name in "amyz"), links=tuple(ways))
    near = Requirements(min_bandwidth=Bandwidth(6e8), max_latency=Milliseconds(12))
    asked = [
        demand(intent("a1", requirements=bandwidth(6e8), priority=1), "a", candidate("y", "y"), class_="one"),
        demand(intent("a2", requirements=bandwidth(3e8)), "a", candidate("y", "y"), candidate("z", "z"), class_="one"),
        demand(intent("b", requirements=near), "a", candidate("y", "y"), class_="two"),
    ]
    made = by_name(plan(graph, asked, policies=[LATENCY_ONLY]))
    assert all(one.path for one in made.values())
    assert text(made["b"]) == "a > y"
    assert text(made["a1"]) == "a > m > y"


def served(made: Plan, demands: list[Demand]) -> tuple[float, set[str]]:
    sizes = {one.key: one.intent.spec.requirements.min_bandwidth or 0.0 for one in demands}
    placed = [one for one in made.placements if one.path and not one.infeasible]
    return sum(sizes[one.intent, one.source] for one in placed), {one.intent for one in placed}


def test_no_link_is_promised_more_than_it_has_and_every_path_keeps_its_limits() -> None:
    for seed in range(8):
        graph, demands, policies = crowd(seed, priorities=(0, 1, 2))
        made = make_plan(graph, demands, (), policies, LEAN, made_at_s=0.0)
        asked = {one.key: one.intent.spec.requirements for one in demands}
        promised: dict[LinkId, float] = {}
        for one in made.placements:
            if one.path is None:
                continue
            needs = asked[one.intent, one.source]
            assert needs.min_bandwidth is not None
            if needs.max_latency is not None:
                assert one.path.figures.latency_p90_ms is not None
                assert one.path.figures.latency_p90_ms <= needs.max_latency + 1e-6, f"seed {seed}: {one.intent}"
            for step in one.path.links:
                promised[step] = promised.get(step, 0.0) + needs.min_bandwidth
        free = {one.id: one.free_bps.pessimistic for one in graph.links if one.free_bps}
        assert all(bps <= free[step] for step, bps in promised.items()), f"seed {seed}"


def test_nobody_loses_by_the_coming_of_a_lower_priority() -> None:
    lost = 0
    for seed in range(8):
        graph, demands, policies = crowd(seed, priorities=(0, 1, 2))
        everybody = served(make_plan(graph, demands, (), policies, LEAN, made_at_s=0.0), demands)[1]
        for least in (1, 2):
            upper = [one for one in demands if one.intent.spec.priority >= least]
            alone = served(make_plan(graph, upper, (), policies, LEAN, made_at_s=0.0), upper)[1]
            assert alone == everybody & {one.intent.id for one in upper}, f"seed {seed}"
            lost += len(upper) - len(alone)
    assert lost > 5, "or priority was never asked for"


@pytest.mark.parametrize("links", [300_000, 3_000_000])
def test_effort_is_bounded_by_plan_and_not_by_priority(monkeypatch: pytest.MonkeyPatch, links: int) -> None:
    """However many priorities there are; and what those above get hangs on none below, also where effort is short."""
    efforts = list[Effort]()

    def short() -> Effort:
        efforts.append(Effort(links=links, rounds=2_000))
        return efforts[-1]

    monkeypatch.setattr(planner, "Effort", short)
    graph, demands, policies = crowd(4, priorities=tuple(range(24)))
    everybody = served(make_plan(graph, demands, (), policies, LEAN, made_at_s=0.0), demands)[1]
    search = SEARCH + len(graph.links)
    assert links / 2 <= links - efforts[0].links <= links + 24 * search, "a search that was begun is ended"
    assert 0 <= efforts[0].rounds < 2_000
    for least in (8, 16):
        upper = [one for one in demands if one.intent.spec.priority >= least]
        alone = served(make_plan(graph, upper, (), policies, LEAN, made_at_s=0.0), upper)[1]
        assert alone == everybody & {one.intent.id for one in upper}


def test_the_order_of_the_input_makes_no_difference() -> None:
    for seed in range(4):
        rng = random.Random(seed)
        graph, demands, policies = crowd(seed)
        again = structs.replace(graph, links=tuple(rng.sample(graph.links, len(graph.links))))
        expected = make_plan(graph, demands, (), policies, LEAN, made_at_s=0.0)
        assert make_plan(again, rng.sample(demands, len(demands)), (), policies, LEAN, made_at_s=0.0) == expected


def circuits_of(made: Plan, demands: list[Demand]) -> list[object]:
    classes = {one.key: one.class_ for one in demands}
    return [
        circuit(
            one.intent.rpartition("/")[2],
            *one.path.gateways,
            intents=(one.intent,),
            class_=classes[one.intent, one.source],
        )
        for one in made.placements
        if one.path
    ]


def loaded(graph: MeshGraph, made: Plan, demands: list[Demand]) -> MeshGraph:
    """The graph once everybody uses what he was promised."""
    sizes = {one.key: one.intent.spec.requirements.min_bandwidth or 0.0 for one in demands}
    used: dict[LinkId, float] = {}
    for one in made.placements:
        for step in one.path.links if one.path else ():
            used[step] = used.get(step, 0.0) + sizes[one.intent, one.source]

    def less(one: object) -> object:
        bps = one.free_bps.median - used.get(one.id, 0.0)  # type: ignore[attr-defined]
        figure = structs.replace(one.free_bps, median=bps, pessimistic=bps)  # type: ignore[attr-defined]
        return structs.replace(one, free_bps=figure)  # type: ignore[type-var]

    return structs.replace(graph, links=tuple(less(one) for one in graph.links))


def test_a_plan_that_was_carried_out_moves_hardly_anybody_and_drops_nobody() -> None:
    moved = placed = 0
    for seed in range(8):
        graph, demands, policies = crowd(seed)
        first = make_plan(graph, demands, (), policies, LEAN, made_at_s=0.0)
        second = make_plan(
            loaded(graph, first, demands), demands, circuits_of(first, demands), policies, LEAN, made_at_s=0.0
        )
        before, after = served(first, demands)[1], served(second, demands)[1]
        assert before <= after, f"seed {seed}"
        ways = {one.intent: one.path.gateways for one in first.placements if one.path}
        moved += sum(
            one.path.gateways != ways.get(one.intent) for one in second.placements if one.intent in ways and one.path
        )
        placed += len(ways)
    assert moved <= 0.02 * placed, f"{moved} of {placed}"


def random_crowd(rng: random.Random) -> tuple[MeshGraph, list[Demand]]:
    """A small mesh and demands of all kinds, some of which share circuits, or may end here or there."""
    graph = random_graph(rng)
    graph = structs.replace(graph, links=tuple(one for one in graph.links if one.id.underlay == "internet"))
    names = [one.id for one in graph.nodes]
    demands = []
    for number in range(rng.randint(8, 25)):
        needs = structs.replace(
            random_requirements(rng, graph), regions=(), min_bandwidth=Bandwidth(rng.randint(1, 9) * 50e6)
        )
        if rng.random() < 0.5:
            needs = Requirements(min_bandwidth=needs.min_bandwidth, reverse=needs.reverse)
        asked = intent(f"i{number:02}", requirements=needs, priority=rng.randint(0, 2))
        ends = [candidate(f"d{one}", *rng.sample(names, rng.randint(1, 2))) for one in range(rng.randint(1, 2))]
        sources = dict.fromkeys(rng.sample(names, rng.randint(1, 2)), 0.0)
        demands.append(demand(asked, sources, *ends, class_=rng.choice(("one", "two", f"c{number}"))))
    return graph, demands


def test_whatever_is_asked_promises_hold_and_priorities_count() -> None:
    placed = 0
    for seed in range(120):
        graph, demands = random_crowd(random.Random(seed))
        made = make_plan(graph, demands, (), (), LEAN, made_at_s=0.0)
        by_key = {one.key: one for one in demands}
        promised: dict[LinkId, float] = {}
        ways: dict[tuple[str, str, str], tuple[LinkId, ...]] = {}
        for one in made.placements:
            if one.path is None or one.infeasible is not None:
                continue
            asked = by_key[one.intent, one.source]
            circuit_of = (asked.class_, one.path.gateways[0], one.path.gateways[-1])
            assert ways.setdefault(circuit_of, one.path.links) == one.path.links, f"seed {seed}"
            for step in one.path.links:
                promised[step] = promised.get(step, 0.0) + asked.asked_bps[0]
                promised[step.reverse] = promised.get(step.reverse, 0.0) + asked.asked_bps[1]
        free = {one.id: one.free_bps.pessimistic for one in graph.links if one.free_bps}
        assert all(bps <= free[step] for step, bps in promised.items() if bps), f"seed {seed}"
        everybody = served(made, demands)[1]
        for least in (1, 2):
            upper = [one for one in demands if one.intent.spec.priority >= least]
            alone = served(make_plan(graph, upper, (), (), LEAN, made_at_s=0.0), upper)[1]
            assert alone == everybody & {one.intent.id for one in upper}, f"seed {seed}"
            placed += len(alone)
    assert placed > 500


def random_packing(rng: random.Random) -> tuple[list[Unit], dict[int, int], list[int]]:
    links = range(rng.randint(1, 4))
    room = {link: rng.randint(2, 9) for link in links}
    units, first = [], []
    for _ in range(rng.randint(1, 6)):
        size = rng.randint(1, 5)
        ways = tuple(
            Way(
                cost=rng.randint(1, 9),
                value=size,
                loads=dict.fromkeys(rng.sample(links, rng.randint(1, len(links))), size),
            )
            for _ in range(rng.randint(1, 3))
        )
        units.append(Unit(ways, must=False))
        first.append(NONE)
    for index, unit in enumerate(units):
        tried = [*first]
        tried[index] = 0
        if rng.random() < 0.5 and worth(units, room, tried)[0] >= 0:
            first = tried
            units[index] = Unit(unit.ways, must=rng.random() < 0.5)
    return units, room, first


def test_small_packings_are_the_best_there_are() -> None:
    short = 0
    for seed in range(300):
        units, room, first = random_packing(random.Random(seed))
        choices = itertools.product(*([NONE, *range(len(unit.ways))] for unit in units))
        best = max(worth(units, room, choice) for choice in choices)
        found = worth(units, room, pack(units, room, first))
        assert found >= worth(units, room, first), f"seed {seed}"
        assert found[0] >= 0, f"seed {seed}: it does not fit, or leaves somebody out"
        short += found < best
    assert short <= 3, f"{short} of 300"


def test_agrees_with_a_mixed_integer_program() -> None:
    pytest.importorskip("highspy", reason="the mixed-integer programs need highspy")
    from routing.crowds import asks
    from routing.milp import Joint

    ours = most = cost = least = 0.0
    for seed in (0, 1, 3, 4, 6, 8, 9, 11, 13, 14):
        graph, demands, policies = crowd(seed)
        made = make_plan(graph, demands, (), policies, LEAN, made_at_s=0.0)
        bps, placed = served(made, demands)
        program = Joint(graph, asks(demands, policies))
        ours, most = ours + bps, most + program.most_served_bps(gap=2e-3)
        chosen = [one.intent.id in placed for one in sorted(demands, key=lambda one: one.key)]
        cost += sum(one.path.figures.cost or 0.0 for one in made.placements if one.path)
        proven = program.least_cost(chosen, gap=2e-3)
        assert proven is not None
        least += proven
    assert ours >= 0.98 * most, f"{ours / most:.2%} of what can be served"
    assert cost <= 1.02 * least, f"{cost / least - 1:.2%} dearer than need be"


def test_a_wide_mesh_is_planned_as_before() -> None:
    """Where links hold everybody, nobody asks anybody to move."""
    asked = [demand(intent(f"i{number}", requirements=bandwidth(1e8)), *AZ, class_=f"c{number}") for number in range(4)]
    made = plan(diamond(), asked, policies=[LATENCY_ONLY])
    assert {text(one) for one in made.placements} == {"a > n > z"}


def test_any_cast_demands_may_change_their_ends_to_make_room() -> None:
    graph = mesh(*(node(name) for name in "ayz"), links=(*both("a", "y", 30.0), *both("a", "z", 10.0)))
    asked = [
        demand(
            intent("a-any", requirements=bandwidth(6e8)),
            "a",
            candidate("far", "y"),
            candidate("near", "z"),
            class_="one",
        ),
        demand(intent("b-near", requirements=bandwidth(6e8)), "a", candidate("near", "z"), class_="two"),
    ]
    made = by_name(plan(graph, asked, policies=[LATENCY_ONLY]))
    assert {name: one.destination for name, one in made.items()} == {"a-any": "lab/far", "b-near": "lab/near"}
