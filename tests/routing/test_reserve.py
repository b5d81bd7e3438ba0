"""Standbys share bandwidth where their circuits cannot fail together, and are never short of it where they can."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
from msgspec import structs

from foremesh.model.intent import Requirements
from foremesh.model.link import MeshGraph, Node
from foremesh.model.plan import Placement
from foremesh.model.units import Bandwidth
from foremesh.routing import Demand, PlannerSettings, make_plan
from routing.crowds import crowd
from routing.demands import candidate, demand, intent
from routing.plans import bandwidth
from routing.worlds import both, link, mesh, node

STANDBY = PlannerSettings(runners_up=0, standby=True, explain=False)


def risky(name: str, *groups: str) -> Node:
    return structs.replace(node(name), risk_groups=groups)


def three_ways(*, middle: float = 1e9, groups: Sequence[str] = ("", "")) -> MeshGraph:
    """From a to z by m and from b to y by n, each with a way round by p and q, whose link both would fall over to."""
    nodes = [node(name) for name in "abyzpq"]
    nodes += [risky(name, group) if group else node(name) for name, group in zip("mn", groups, strict=True)]
    short = [link for pair in ("am", "mz", "bn", "ny") for link in both(*pair, 1.0)]
    round_ = [link for pair in ("ap", "bp", "qz", "qy") for link in both(*pair, 5.0)]
    return mesh(*nodes, links=(*short, *round_, *both("p", "q", 5.0, free=middle)))


def circuits(sizes: tuple[float, float], priorities: tuple[int, int] = (0, 0)) -> list[Demand]:
    ends, (one, other) = (("a", "z"), ("b", "y")), sizes
    return [
        demand(intent(name, requirements=bandwidth(bps), priority=priority), first, candidate(last, last), class_=name)
        for name, bps, priority, (first, last) in zip("xw", (one, other), priorities, ends, strict=True)
    ]


def planned(graph: MeshGraph, demands: list[Demand]) -> dict[str, Placement]:
    made = make_plan(graph, demands, (), (), STANDBY, made_at_s=0.0)
    return {one.intent.removeprefix("lab/"): one for one in made.placements}


CASES = {
    "circuits-that-cannot-fail-together-share": (1e9, ("", ""), (8e8, 8e8), {"x", "w"}),
    "circuits-of-one-risk-group-add-up": (1e9, ("power", "power"), (8e8, 8e8), {"w"}),
    "they-both-have-room-where-there-is-enough": (1.6e9, ("power", "power"), (8e8, 8e8), {"x", "w"}),
    "risk-groups-of-their-own-do-not-matter": (1e9, ("power", "water"), (8e8, 8e8), {"x", "w"}),
    "who-asks-for-more-than-there-is-gets-none": (7e8, ("", ""), (8e8, 6e8), {"w"}),
}


@pytest.mark.parametrize(("middle", "groups", "sizes", "reserved"), CASES.values(), ids=CASES.keys())
def test_bandwidth_is_kept(
    middle: float, groups: tuple[str, str], sizes: tuple[float, float], reserved: set[str]
) -> None:
    made = planned(three_ways(middle=middle, groups=groups), circuits(sizes))
    assert {name for name, one in made.items() if one.standby_reserved} == reserved
    assert {name: one.standby.text for name, one in made.items() if one.standby} == {
        "x": "a > p > q > z",
        "w": "b > p > q > y",
    }, "one without room is better than none"


def test_who_has_no_room_is_told_so() -> None:
    made = planned(three_ways(middle=7e8), circuits((8e8, 6e8)))
    assert made["x"].reason == "placed on a > m > z: 2.0 ms; no bandwidth is left for its standby a > p > q > z"
    assert made["w"].reason == "placed on b > n > y: 2.0 ms"


def test_the_higher_priority_chooses_first() -> None:
    graph = three_ways(groups=("power", "power"))
    made = planned(graph, circuits((8e8, 8e8), priorities=(1, 0)))
    assert {name for name, one in made.items() if one.standby_reserved} == {"x"}


def test_without_bandwidth_nothing_is_kept() -> None:
    (made,) = make_plan(
        three_ways(), [demand(intent("x"), "a", candidate("z", "z"))], (), (), STANDBY, made_at_s=0.0
    ).placements
    assert made.standby is not None
    assert not made.standby_reserved
    assert made.reason == "placed on a > m > z: 2.0 ms"


@pytest.mark.parametrize(("back", "reserved"), [(1e9, True), (1e8, False)], ids=["with-room", "without"])
def test_bandwidth_back_is_kept_the_other_way(back: float, reserved: bool) -> None:
    short = [link for pair in ("am", "mz") for link in both(*pair, 1.0)]
    round_ = [*both("a", "p", 5.0), link("p", "z", 5.0), link("z", "p", 5.0, free=back)]
    needs = Requirements(reverse=Bandwidth(2e8))
    asked = demand(intent("x", requirements=needs), "a", candidate("z", "z"))
    graph = mesh(*(node(name) for name in "ampz"), links=(*short, *round_))
    (made,) = make_plan(graph, [asked], (), (), STANDBY, made_at_s=0.0).placements
    assert made.standby is not None
    assert made.standby_reserved is reserved


def fails(one: Placement, graph: MeshGraph) -> set[object]:
    """What a path does not survive, by its definition."""
    assert one.path is not None
    groups = {node.id: node.risk_groups for node in graph.nodes}
    inside = one.path.gateways[1:-1]
    return {*inside, *(frozenset((link.src, link.dst)) for link in one.path.links)} | {
        ("risk", group) for gateway in inside for group in groups[gateway]
    }


def test_no_failure_asks_more_of_a_link_than_it_has() -> None:
    """After any one failure, who falls over to a standby with bandwidth finds it there beside all who do not fall."""
    reserved = shared = 0
    for seed in range(12):
        graph, demands, policies = crowd(seed)
        nodes = tuple(
            structs.replace(one, risk_groups=(f"conduit-{number % 5}",)) for number, one in enumerate(graph.nodes)
        )
        graph = structs.replace(graph, nodes=nodes)
        some = demands[: len(demands) // 3]
        made = make_plan(graph, some, (), policies, STANDBY, made_at_s=0.0).placements
        bps = {one.key[0]: one.asked_bps[0] for one in some}
        free = {one.id: one.free_bps.pessimistic for one in graph.links if one.free_bps}
        held = [one for one in made if one.standby_reserved]
        reserved += len(held)
        paths = {one.intent: fails(one, graph) for one in held}
        for failure in set().union(*paths.values()):
            used = dict.fromkeys(free, 0.0)
            for one in made:
                falls = one.standby_reserved and failure in paths[one.intent]
                both_ways = {*one.path.links} | ({*one.standby.links} if falls else set()) if one.path else set()
                for step in both_ways:
                    used[step] += bps[one.intent]
            assert all(used[step] <= free[step] + 1e-3 for step in used), f"seed {seed}: {failure}"
        for one, other in itertools.combinations(held, 2):
            assert one.standby
            assert other.standby
            shared += (
                bool({*one.standby.links} & {*other.standby.links}) and not paths[one.intent] & paths[other.intent]
            )
    assert reserved > 30
    assert shared > 10
