"""Standby paths against every simple path: nothing shares less, and of what shares as little nothing is cheaper."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from msgspec import structs

from foremesh.model.circuit import LabelAllocation, LabelState
from foremesh.model.intent import Avoid, Profile, Requirements
from foremesh.model.link import Figure, MeshGraph, Node
from foremesh.model.plan import Path, Placement
from foremesh.model.resource import Role
from foremesh.model.units import Bandwidth, Milliseconds
from foremesh.routing import PROFILES, PlannerSettings, make_plan
from foremesh.routing.ask import Ask
from routing.demands import candidate, circuit, demand, intent
from routing.worlds import Candidate, Judge, both, link, mesh, node, random_graph, random_requirements, simple_paths

STANDBY = PlannerSettings(standby=True, runners_up=0)


def planned(graph: MeshGraph, needs: Requirements | None = None, ends: tuple[str, str] = ("a", "z")) -> Placement:
    asked = demand(intent("x", requirements=needs), ends[0], candidate("db", ends[1]))
    (placement,) = make_plan(graph, [asked], (), (), STANDBY, made_at_s=0.0).placements
    return placement


def standby(graph: MeshGraph, needs: Requirements | None = None) -> str:
    path = planned(graph, needs).standby
    return path.text if path else ""


def risky(name: str, *groups: str) -> Node:
    return structs.replace(node(name), risk_groups=groups)


def fan(*by: Node, rtt_ms: dict[str, float] | None = None, extra: tuple[Any, ...] = ()) -> MeshGraph:
    """From a to z by way of each of these, the first being the best."""
    times = {one.id: 10.0 * number for number, one in enumerate(by, start=1)} | (rtt_ms or {})
    ways = [one for name in (node.id for node in by) for one in (*both("a", name, times[name]), *both(name, "z", 1.0))]
    return mesh(node("a"), node("z"), *by, links=(*ways, *extra))


def test_a_path_that_shares_no_gateway_goes_first() -> None:
    graph = fan(node("m"), node("n"), extra=(*both("m", "o", 1.0), *both("o", "z", 1.0)))
    made = planned(structs.replace(graph, nodes=(*graph.nodes, node("o"))))
    assert made.path is not None
    assert made.standby is not None
    assert (made.path.text, made.standby.text) == ("a > m > z", "a > n > z")


def test_a_path_that_shares_no_risk_goes_before_a_cheaper_one() -> None:
    assert standby(fan(risky("m", "power"), risky("n", "power"), risky("o", "water"))) == "a > o > z"
    assert standby(fan(risky("m", "power"), risky("n", "power"))) == "a > n > z"


def test_where_a_gateway_has_to_be_shared_links_are_not() -> None:
    graph = mesh(
        *(node(name) for name in "amnoz"),
        links=(
            *both("a", "m", 1.0),
            *both("m", "z", 1.0),
            *both("m", "z", 30.0, underlay="mpls"),  # type: ignore[arg-type]
            *both("a", "n", 20.0),
            *both("n", "m", 20.0),
        ),
    )
    made = planned(graph)
    assert made.standby is not None
    assert [str(one) for one in made.standby.links] == ["a->n/internet", "n->m/internet", "m->z/mpls"]


def test_it_meets_the_requirements_if_any_other_path_does() -> None:
    graph = fan(node("m"), node("n"), extra=both("m", "z", 2.0, underlay="mpls"))  # type: ignore[arg-type]
    assert standby(graph, Requirements(max_latency=Milliseconds(15))) == "a > m > z (mpls)", "by the other underlay"
    assert standby(graph, Requirements(max_latency=Milliseconds(11.5))) == "a > n > z", "none does, so only sets count"


def test_what_is_forbidden_is_no_standby() -> None:
    assert standby(fan(node("m"), node("n"), node("o")), Requirements(avoid=Avoid(gateways=("n",)))) == "a > o > z"


def test_without_another_path_there_is_none() -> None:
    assert planned(mesh(node("a"), node("z"), links=both("a", "z", 1.0))).standby is None
    assert planned(fan(node("m")), ends=("a", "a")).standby is None


def test_a_dead_link_is_no_standby_while_there_are_others() -> None:
    dead = (link("a", "n", 20.0, loss=1.0), link("n", "z", 1.0))
    alive = (link("a", "m", 1.0), link("m", "z", 1.0), link("m", "o", 9.0), link("o", "z", 9.0))
    graph = mesh(*(node(name) for name in "amnoz"), links=(*dead, *alive))
    assert standby(graph) == "a > m > o > z"
    assert standby(mesh(*(node(name) for name in "amnz"), links=(*dead, *alive[:2]))) == "a > n > z"


def test_all_that_share_a_circuit_have_one_standby() -> None:
    graph = fan(node("m"), node("n"), node("o"))
    asked = [
        demand(intent("x"), "a", candidate("db", "z")),
        demand(intent("y", requirements=Requirements(avoid=Avoid(gateways=("n",)))), "a", candidate("db", "z")),
    ]
    made = make_plan(graph, asked, (), (), STANDBY, made_at_s=0.0)
    assert [one.standby.text if one.standby else "" for one in made.placements] == ["a > o > z", "a > o > z"]


def test_looking_for_a_standby_promises_nothing() -> None:
    graph = fan(node("m"), node("n"))
    wide = Requirements(min_bandwidth=Bandwidth(9e8))
    asked = [demand(intent(name, requirements=wide), "a", candidate("db", "z"), class_=name) for name in ("x", "y")]
    made = make_plan(graph, asked, (), (), STANDBY, made_at_s=0.0)
    bare = make_plan(graph, asked, (), (), PlannerSettings(runners_up=0), made_at_s=0.0)
    assert [one.path for one in made.placements] == [one.path for one in bare.placements]
    assert [one.standby.text if one.standby else "" for one in made.placements] == ["a > n > z", "a > m > z"]


def test_it_is_looked_for_only_where_it_is_wanted() -> None:
    asked = demand(intent("x"), "a", candidate("db", "z"))
    (placement,) = make_plan(fan(node("m"), node("n")), [asked], (), (), made_at_s=0.0).placements
    assert placement.standby is None


def shared(graph: MeshGraph, path: Path, other: Candidate) -> tuple[int, int, int]:
    """Gateways, links and fates that another path has in common with one, ends apart."""
    nodes = {one.id: one for one in graph.nodes}
    inside = set(path.gateways[1:-1])
    groups = {group for gateway in inside for group in nodes[gateway].risk_groups}
    taken = {*path.links, *(one.reverse for one in path.links)}
    theirs = other.gateways[1:-1]
    return (
        len(inside & {*theirs}),
        sum(one.id in taken for one in other.links),
        sum(not groups.isdisjoint(nodes[gateway].risk_groups) for gateway in theirs),
    )


def with_risks(rng: random.Random, graph: MeshGraph) -> MeshGraph:
    kinds = ("power", "water", "fibre")
    nodes = (structs.replace(one, risk_groups=tuple(rng.sample(kinds, rng.randint(0, 2)))) for one in graph.nodes)
    links = (structs.replace(one, loss=None) if one.loss and one.loss.median >= 0.9 else one for one in graph.links)
    return structs.replace(graph, nodes=tuple(nodes), links=tuple(links))


def test_agrees_with_trying_every_path() -> None:
    found = {"disjoint": 0, "sharing": 0, "none": 0, "short of the requirements": 0}
    for seed in range(900):
        rng = random.Random(seed)
        graph = with_risks(rng, random_graph(rng))
        source, end = rng.sample([one.id for one in graph.nodes], 2)
        needs = structs.replace(random_requirements(rng, graph), regions=())
        made = planned(graph, needs, (source, end))
        if made.path is None:
            continue
        weights = PROFILES[Profile.BALANCED]
        ask = Ask(
            sources={source: 0.0},
            destinations={end: 0.0},
            requirements=needs,
            weights=weights,
            traffic_bps=(needs.min_bandwidth or 0.0, needs.reverse or 0.0),
            reserved_bps={},
        )
        sets = Requirements(encryption=needs.encryption, avoid=needs.avoid)
        loose = replace(ask, requirements=sets)
        others = [path for path in simple_paths(graph, ask) if tuple(one.id for one in path.links) != made.path.links]
        judge = Judge(graph, ask)
        meeting = [path for path in others if judge.meets(path)]
        allowed = meeting or [path for path in others if Judge(graph, loose).meets(path)]
        if not allowed:
            assert made.standby is None, f"seed {seed}"
            found["none"] += 1
            continue
        assert made.standby is not None, f"seed {seed}"
        links = made.standby.links
        (chosen,) = (path for path in allowed if tuple(one.id for one in path.links) == links)
        path = made.path
        best = min((shared(graph, path, one), judge.cost(one)) for one in allowed)
        assert shared(graph, path, chosen) == best[0], f"seed {seed}"
        assert judge.cost(chosen) == pytest.approx(best[1], rel=1e-6, abs=1e-7), f"seed {seed}"
        assert made.standby.figures.cost == pytest.approx(best[1], rel=1e-6, abs=1e-7), f"seed {seed}"
        found["short of the requirements"] += not meeting
        found["sharing" if any(best[0]) else "disjoint"] += 1
    assert min(found.values()) > 20, found


def test_an_edge_gateway_is_no_way_round() -> None:
    graph = fan(node("m"), node("n", Role.EDGE), node("o"))
    assert standby(graph) == "a > o > z"


def test_a_rescued_circuit_has_a_standby_too() -> None:
    asked = demand(intent("x", requirements=Requirements(max_latency=Milliseconds(1))), "a", candidate("db", "z"))
    old = circuit("c", "a", "m", "z", intents=("lab/x",))
    (placement,) = make_plan(fan(node("m"), node("n")), [asked], [old], (), STANDBY, made_at_s=0.0).placements
    assert placement.path is not None
    assert placement.standby is not None
    assert (placement.path.text, placement.standby.text) == ("a > m > z", "a > n > z")


def protected_by(graph: MeshGraph, standby: str, *, in_use: str = "amz", needs: Requirements | None = None) -> str:
    """The standby that a plan has for a circuit which has one already; paths by the letters of their gateways."""
    asked = demand(intent("x", requirements=needs), "a", candidate("db", "z"))
    old = circuit("c", *in_use, intents=("lab/x",))
    active, second = (
        LabelAllocation(number=number, state=state, path=tuple(path), underlays=("internet",) * (len(path) - 1))
        for number, (state, path) in enumerate(((LabelState.ACTIVE, in_use), (LabelState.STANDBY, standby)))
    )
    old = structs.replace(old, status=structs.replace(old.status, labels=(active, second)))
    (placement,) = make_plan(graph, [asked], [old], (), STANDBY, made_at_s=0.0).placements
    assert placement.path is not None
    assert placement.path.gateways == tuple("amz")
    return placement.standby.text if placement.standby else ""


THREE = fan(node("m"), node("n"), node("o"), rtt_ms={"o": 22.0})
"""By o is a little worse than by n."""
FAR = fan(node("m"), node("n"), node("o"), rtt_ms={"o": 60.0})
DEAD = Figure(median=1.0, pessimistic=1.0)


@pytest.mark.parametrize(
    ("graph", "there", "found"),
    [
        (THREE, "aoz", "a > o > z"),
        (THREE, "anz", "a > n > z"),
        (FAR, "aoz", "a > n > z"),
        (fan(risky("m", "power"), risky("n", "water"), risky("o", "power")), "aoz", "a > n > z"),
        (fan(node("m"), node("n"), extra=both("n", "m", 1.0)), "anmz", "a > n > z"),
        (fan(node("m"), node("n")), "aoz", "a > n > z"),
    ],
    ids=[
        "though-another-is-cheaper",
        "as-the-cheapest",
        "unless-another-is-much-better",
        "unless-it-shares-a-risk",
        "or-a-gateway",
        "or-is-gone",
    ],
)
def test_a_standby_stays(graph: MeshGraph, there: str, found: str) -> None:
    assert protected_by(graph, there) == found


def test_a_standby_that_died_or_misses_the_requirements_does_not_stay() -> None:
    dying = (structs.replace(one, loss=DEAD) if "o" in (one.id.src, one.id.dst) else one for one in THREE.links)
    dead = structs.replace(THREE, links=tuple(dying))
    assert protected_by(dead, "aoz") == "a > n > z"
    assert protected_by(THREE, "aoz", needs=Requirements(max_latency=Milliseconds(22))) == "a > n > z"
    assert protected_by(THREE, "aoz", needs=Requirements(max_latency=Milliseconds(15))) == "a > o > z", "nor does n"


def test_the_path_that_is_left_is_the_standby_rather_than_a_new_one() -> None:
    """It is programmed already."""
    assert protected_by(THREE, "amz", in_use="aoz") == "a > o > z"
