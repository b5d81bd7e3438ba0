"""Explanations against every simple path: the nearest figure can be had, and nothing nearer can."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import Any

import pytest
from msgspec import structs

from foremesh.model.intent import Avoid, Requirements
from foremesh.model.link import Figure, PredictedLink
from foremesh.model.plan import Infeasible, way_text
from foremesh.model.resource import Role
from foremesh.model.units import Bandwidth, Milliseconds, Price, Ratio
from foremesh.routing import select_path
from foremesh.routing.arrays import Arrays
from foremesh.routing.ask import Ask, Router
from foremesh.routing.explain import explain, reached
from foremesh.routing.needs import (
    BOTTLENECKS,
    NAMES,
    SETS,
    SUMS,
    asked,
    asked_text,
    asking,
    offends,
    with_value,
    without,
)
from foremesh.routing.relax import ANYWHERE, loosest, relaxations
from routing.worlds import Candidate, Judge, both, link, mesh, node, random_ask, random_graph, simple_paths

FIGURES = {
    "maxLatency": Judge.latency,
    "minBandwidth": Judge.bandwidth,
    "reverse": lambda judge, path: judge.bandwidth(path, reverse=True),
    "maxLoss": Judge.loss,
    "maxHops": lambda judge, path: len(path.links),
    "maxEgressPrice": Judge.price,
}
READ = {
    "maxLatency": Milliseconds.parse,
    "minBandwidth": Bandwidth.parse,
    "reverse": Bandwidth.parse,
    "maxLoss": Ratio.parse,
    "maxHops": int,
    "maxEgressPrice": Price.parse,
}


def offences(name: str, ask: Ask, judge: Judge, path: Candidate) -> int:
    bad = offends(name, ask)
    return sum(bad(judge.nodes[gateway]) for gateway in path.gateways)


def nearest_by_trying(name: str, ask: Ask, judge: Judge) -> Any:
    """The best of one requirement over all paths that meet the others; None if there is no such path."""
    others = Judge(judge.graph, without(ask, (name,)))
    paths = [path for path in simple_paths(judge.graph, ask) if others.meets(path)]
    if name == "policy":
        return 0 if paths else None
    if name in ANYWHERE:
        paths = [path for path in paths if all(ANYWHERE[name](judge.nodes[gateway]) for gateway in path.gateways)]
    if name in SETS:
        return min((offences(name, ask, judge, path) for path in paths), default=None)
    values = [value for path in paths if (value := FIGURES[name](judge, path)) is not None]
    best = max if name in BOTTLENECKS else min
    return best(values, default=None)


def infeasible_worlds(seeds: range) -> Any:
    for seed in seeds:
        rng = random.Random(seed)
        graph = random_graph(rng)
        ask = random_ask(rng, graph)
        router = Router(Arrays(graph))
        if router.best(ask) is None:
            yield seed, graph, ask, router


def test_the_nearest_figure_can_be_had_and_nothing_nearer() -> None:
    seen = dict.fromkeys(NAMES, 0)
    for seed, graph, ask, router in infeasible_worlds(range(5000, 5700)):
        judge = Judge(graph, ask)
        found = {one.name: one for one in relaxations(router, ask)}
        for name in asked(ask):
            where = f"seed {seed}: {name}"
            expected = nearest_by_trying(name, ask, judge)
            assert (expected is not None) == (name in found), where
            if expected is None:
                continue
            one = found[name]
            seen[name] += 1
            assert router.best(one.ask) is not None, f"{where}: {one.nearest} must be feasible"
            if one.value is not None:
                assert one.value == pytest.approx(float(expected), rel=1e-6, abs=1e-7), where
                again = with_value(ask, name, READ[name](one.nearest))
                assert router.best(again) is not None, f"{where}: {one.nearest} as written must be feasible"
            elif name != "policy":
                route = Candidate(
                    router.gateways(one.route), tuple(router.arrays.links[step] for step in one.route.links)
                )
                assert offences(name, ask, judge, route) == expected, where
    assert all(seen.values()), f"every requirement must have been the one to relax: {seen}"


def test_the_best_that_can_be_had_of_each_is_the_best_of_all_paths() -> None:
    """Whatever else is asked: that is what tells a requirement that cannot be met from one that others make so."""
    seen = dict.fromkeys((*SUMS, *BOTTLENECKS), 0)
    for seed, graph, ask, router in infeasible_worlds(range(7000, 7300)):
        for one in reached(router, ask, explain(router, ask).shortfalls):
            name = one.requirement
            if name in SETS:
                assert one.best == "", f"seed {seed}: gateways are no figure"
                continue
            alone = without(ask, (other for other in NAMES if other != name))
            expected = nearest_by_trying(name, alone, Judge(graph, alone))
            assert (expected is not None) == bool(one.best), f"seed {seed}: {name}"
            if expected == math.inf:
                assert one.best == "any", f"seed {seed}: {name}"
            elif expected is not None:
                seen[name] += 1
                told = float(one.best) if name == "maxHops" else float(READ[name](one.best))
                assert told == pytest.approx(float(expected), rel=2e-3, abs=1e-6), f"seed {seed}: {name}"
    assert all(seen.values()), f"every figure must have been asked for: {seen}"


def test_the_requirement_named_is_the_one_nearest_to_being_met() -> None:
    alone, together, apart = 0, 0, 0
    for seed, _, ask, router in infeasible_worlds(range(6000, 6600)):
        answer = explain(router, ask)
        found = relaxations(router, ask)
        if found:
            best = min(found, key=lambda one: one.excess)
            assert (answer.requirement, answer.nearest) == (best.name, best.nearest), f"seed {seed}"
            assert all(one.name in answer.message for one in found), f"seed {seed}"
            alone += 1
        elif answer.requirement == "connectivity":
            assert router.best(without(ask, NAMES)) is None, f"seed {seed}"
            apart += 1
        else:
            names = tuple(answer.requirement.split(", "))
            assert router.best(without(ask, names)) is not None, f"seed {seed}"
            judged = "relaxed together" in answer.message
            for name in names:
                kept = tuple(other for other in names if other != name)
                fewer = loosest(router, ask, kept) if judged else without(ask, kept)
                assert fewer is None or router.best(fewer) is None, f"seed {seed}: {name} need not be relaxed"
            together += 1
    assert min(alone, together, apart) > 5


def why(graph: Any, needs: Requirements, *, source: str = "ams", end: str = "fra", **more: Any) -> Infeasible:
    answer = select_path(graph, {source: 0.0}, {end: 0.0}, needs, **more).infeasible
    assert answer is not None
    return answer


TRIANGLE = mesh(
    node("ams", region="nl"),
    node("lon", region="uk", provider="one"),
    node("fra", region="de"),
    links=(
        *both("ams", "lon", 18.0, p90=20.0, loss=0.001, free=400e6, price=0.02),
        *both("lon", "fra", 19.0, p90=21.234567, loss=0.002, free=300e6, price=0.05),
    ),
)

SENTENCES = {
    "latency": (
        Requirements(max_latency=Milliseconds(20)),
        "maxLatency: asked 20ms, nearest 41.24ms by ams > lon > fra",
    ),
    "bandwidth": (
        Requirements(min_bandwidth=Bandwidth(1e9)),
        "minBandwidth: asked 1G, nearest 300M by ams > lon > fra, all that lon->fra has left",
    ),
    "reverse": (
        Requirements(reverse=Bandwidth(1.5e9)),
        "reverse: asked 1.5G, nearest 300M by ams > lon > fra, all that fra->lon has left",
    ),
    "loss": (
        Requirements(max_loss=Ratio(0.001)),
        "maxLoss: asked 0.1%, nearest 0.2998% by ams > lon > fra",
    ),
    "hops": (Requirements(max_hops=1), "maxHops: asked 1, nearest 2 by ams > lon > fra"),
    "price": (
        Requirements(max_egress_price=Price(0.05)),
        "maxEgressPrice: asked 0.05, nearest 0.07 by ams > lon > fra",
    ),
    "regions": (
        Requirements(regions=("nl", "de")),
        "regions: asked de, nl, nearest de, nl, uk by ams > lon > fra",
    ),
    "avoid": (
        Requirements(avoid=Avoid(providers=("one", "two"), regions=("us",))),
        "avoid: asked regions us; providers one, two, possible without providers one by ams > lon > fra",
    ),
}


@pytest.mark.parametrize(("needs", "sentence"), SENTENCES.values(), ids=SENTENCES.keys())
def test_one_sentence_names_what_is_asked_and_what_can_be_had(needs: Requirements, sentence: str) -> None:
    answer = why(TRIANGLE, needs)
    assert answer.message == sentence
    had = "possible" if answer.nearest.startswith("without") else "nearest"
    assert f"{answer.requirement}: asked {answer.asked}, {had} {answer.nearest}" in sentence


def test_a_name_that_no_gateway_has_is_not_asked_for_again() -> None:
    answer = why(TRIANGLE, Requirements(regions=("nl", "ed")))
    assert (answer.asked, answer.nearest) == ("ed, nl", "de, nl, uk")
    assert select_path(TRIANGLE, {"ams": 0.0}, {"fra": 0.0}, Requirements(regions=("de", "nl", "uk"))).path


def test_what_only_helps_together_is_said_together() -> None:
    answer = why(TRIANGLE, Requirements(max_latency=Milliseconds(20), max_hops=1))
    assert answer.requirement == "maxLatency, maxHops"
    assert answer.message == (
        "maxLatency: asked 20ms; maxHops: asked 1; no path unless these are relaxed together, as by ams > lon > fra: "
        "maxLatency 41.24ms, maxHops 2"
    )


def test_what_is_said_together_admits_a_path() -> None:
    seen = 0
    for seed, _, ask, router in infeasible_worlds(range(5000, 5700)):
        answer = explain(router, ask)
        _, together, told = answer.message.partition("relaxed together, as by ")
        if not together:
            continue
        figures = told.partition(": ")[2].partition("; ")[0]
        given_up = answer.requirement.split(", ")
        if set(given_up) & set(SETS):
            continue
        seen += 1
        found = dict(one.split(" ") for one in figures.split(", "))
        assert [*found] == given_up, f"seed {seed}: {answer.message}"
        loose = ask
        for name, figure in found.items():
            loose = with_value(loose, name, READ[name](figure))
        assert router.best(loose) is not None, f"seed {seed}: {answer.message}"
    assert seen >= 5


def test_paths_whose_figures_are_known_are_named_before_those_that_nobody_measured() -> None:
    """As few requirements as any such path needs, and of the first the best that these admit; only where there is no
    such path at all, what is unknown."""
    known, blind, hopeless = 0, 0, 0
    for seed, graph, ask, router in infeasible_worlds(range(5000, 6400)):
        answer, judge = explain(router, ask), Judge(graph, ask)
        if answer.nearest or answer.requirement == "connectivity":
            continue
        paths = [path for path in simple_paths(graph, ask) if is_known(ask, judge, path)]
        given_up = answer.requirement.split(", ")
        if not paths:
            assert " unknown: " in answer.message, f"seed {seed}"
            blind += 1
            if {*given_up}.isdisjoint(SETS) and ask.requirements.reverse is None:
                lucky = Judge(*at_best(graph, ask))
                might = any(lucky.meets(path) for path in simple_paths(lucky.graph, lucky.ask))
                assert (" cannot be judged: " in answer.message) == might, f"seed {seed}: {answer.message}"
                assert (" whatever is unknown: by " in answer.message) != might, f"seed {seed}: {answer.message}"
                hopeless += not might
            continue
        broken = [missed(graph, ask, path) for path in paths]
        assert len(given_up) == min(map(len, broken)), f"seed {seed}: {answer.message}"
        way = answer.message.partition("relaxed together, as by ")[2].partition(":")[0]
        do = [path for path, names in zip(paths, broken, strict=True) if names <= {*given_up}]
        told = [path for path in do if text_of(router, path) == way]
        assert told, f"seed {seed}: {answer.message}"
        first = given_up[0]
        if first in FIGURES:
            best = (max if first in BOTTLENECKS else min)(FIGURES[first](judge, path) for path in do)
            assert any(FIGURES[first](judge, path) == best for path in told), f"seed {seed}: {answer.message}"
        known += 1
    assert min(known, blind) >= 10, (known, blind)
    assert hopeless


def at_best(graph: Any, ask: Ask) -> tuple[Any, Ask]:
    """The same with every unknown figure as good as can be."""
    free = {one.id: one.free_bps for one in graph.links}
    none, plenty = Figure(median=0.0, pessimistic=0.0), Figure(median=1e15, pessimistic=1e15)

    def lucky(one: PredictedLink) -> PredictedLink:
        idle = one.free_bps is None or free.get(one.id.reverse) is None  # what is unknown adds nothing to queues
        return structs.replace(
            one,
            rtt_ms=one.rtt_ms or none,
            loss=one.loss or none,
            free_bps=one.free_bps or plenty,
            egress_price=one.egress_price or 0.0,
            queueing_ms=None if idle else one.queueing_ms,
        )

    sources, destinations = ({end: rtt or 0.0 for end, rtt in ends.items()} for ends in (ask.sources, ask.destinations))
    ends = replace(ask, sources=sources, destinations=destinations)
    return structs.replace(graph, links=tuple(map(lucky, graph.links))), ends


def is_known(ask: Ask, judge: Judge, path: Candidate) -> bool:
    return all(FIGURES[name](judge, path) is not None for name in asked(ask) if name in FIGURES) and all(
        ANYWHERE[name](judge.nodes[gateway]) for name in asked(ask) if name in ANYWHERE for gateway in path.gateways
    )


def text_of(router: Router, path: Candidate) -> str:
    topology = router.arrays.topology
    return way_text(path.gateways, topology.underlays([topology.link_number[one.id] for one in path.links]))


def missed(graph: Any, ask: Ask, path: Candidate) -> set[str]:
    """The requirements that a path does not meet."""
    alone = {name: without(ask, (other for other in NAMES if other != name)) for name in asked(ask)}
    return {name for name, only in alone.items() if not Judge(graph, only).meets(path)}


def test_what_is_told_of_gateways_can_be_asked_again() -> None:
    avoid = Avoid(regions=("de", "uk"), providers=("p",), gateways=("n/a", "b"), gateway_labels=("k=v", "l=w"))
    needs = Requirements(regions=("de", "nl"), providers=("p", "q"), gateway_labels=("a=b",), avoid=avoid)
    _, _, some, _ = next(iter(infeasible_worlds(range(5000, 5700))))
    ask = replace(some, requirements=needs, through=(("a", "b"), ("c",)))
    for name in SETS:
        text = asked_text(ask, name)
        assert asked_text(asking(without(ask, (name,)), name, text), name) == text
        assert asked(asking(without(ask, SETS), name, text)) == (name,)


def test_ends_that_nothing_joins_are_said_to_be_apart() -> None:
    lonely = mesh(node("ams"), node("fra"), links=(link("fra", "ams"),))
    assert why(lonely, Requirements(max_latency=Milliseconds(20))).message == (
        "connectivity: no links lead from ams to fra through gateways that relay, whatever is required of them"
    )
    through_edge = mesh(
        node("ams"), node("lon", Role.EDGE), node("fra"), links=(link("ams", "lon"), link("lon", "fra"))
    )
    assert why(through_edge, Requirements()).requirement == "connectivity"


@pytest.mark.parametrize(
    ("missing", "needs", "cause"),
    [
        (
            {"rtt_ms": None},
            Requirements(max_latency=Milliseconds(20)),
            "round-trip time of ams->fra unknown: no samples",
        ),
        ({"loss": None}, Requirements(max_loss=Ratio(0.1)), "loss of ams->fra unknown: no samples"),
        ({"free": None}, Requirements(min_bandwidth=Bandwidth(1)), "free bandwidth of ams->fra unknown: no samples"),
        (
            {"price": None},
            Requirements(max_egress_price=Price(9)),
            "egress price of ams->fra unknown: ams declares none",
        ),
        ({}, Requirements(reverse=Bandwidth(1)), "free bandwidth of fra->ams unknown: there is no such link"),
    ],
    ids=["rtt", "loss", "bandwidth", "price", "reverse"],
)
def test_a_figure_that_is_unknown_is_named(missing: dict[str, Any], needs: Requirements, cause: str) -> None:
    graph = mesh(node("ams"), node("fra"), links=(link("ams", "fra", **missing),))
    answer = why(graph, needs)
    assert answer.nearest == ""
    assert cause in answer.message


def test_an_unknown_link_that_might_do_is_named_beside_the_nearest_figure() -> None:
    graph = mesh(*TRIANGLE.nodes, links=(*TRIANGLE.links, link("ams", "fra", None)))
    assert why(graph, Requirements(max_latency=Milliseconds(20))).message == (
        "maxLatency: asked 20ms, nearest 41.24ms by ams > lon > fra; round-trip time of ams->fra unknown: no samples"
    )


def test_a_measured_path_is_named_before_a_link_that_nobody_measured() -> None:
    graph = mesh(*TRIANGLE.nodes, links=(*TRIANGLE.links, link("ams", "fra", None, loss=None)))
    answer = why(graph, Requirements(max_latency=Milliseconds(20), max_hops=1))
    assert answer.requirement == "maxLatency, maxHops"
    assert answer.message == (
        "maxLatency: asked 20ms; maxHops: asked 1; no path unless these are relaxed together, as by ams > lon > fra: "
        "maxLatency 41.24ms, maxHops 2; round-trip time of ams->fra unknown: no samples"
    )
    answer = why(graph, Requirements(max_latency=Milliseconds(20), max_loss=Ratio(0.01), max_hops=1))
    assert answer.message == (
        "maxLatency: asked 20ms; maxHops: asked 1; no path unless these are relaxed together, as by ams > lon > fra: "
        "maxLatency 41.24ms, maxHops 2; maxLoss can be kept; "
        "round-trip time of ams->fra unknown: no samples; loss of ams->fra unknown: no samples"
    )


def test_an_attachment_that_is_unknown_is_named() -> None:
    answer = select_path(TRIANGLE, {"ams": None}, {"fra": 0.0}, Requirements(max_latency=Milliseconds(99))).infeasible
    assert answer is not None
    assert "round-trip time of the attachment to ams unknown: no samples" in answer.message


@pytest.mark.parametrize(
    ("asked_ms", "cause"),
    [
        (30, "no path does, whatever is unknown: by ams > lon > fra maxLatency is at least 41.24ms"),
        (42, "ams > lon > fra cannot be judged"),
        (99, "ams > fra cannot be judged"),
    ],
    ids=["what-is-known-misses-already", "only-the-detour-might-do", "both-might-do"],
)
def test_a_path_whose_known_part_misses_already_is_not_one_that_might_do(asked_ms: int, cause: str) -> None:
    graph = mesh(*TRIANGLE.nodes, links=(*TRIANGLE.links, link("ams", "fra", 60.0)))
    needs = Requirements(max_latency=Milliseconds(asked_ms))
    answer = select_path(graph, {"ams": None}, {"fra": 0.0}, needs).infeasible
    assert answer is not None
    unknown = "round-trip time of the attachment to ams unknown: no samples"
    colon = ": " if "judged" in cause else "; "
    assert answer.message == f"maxLatency: asked {asked_ms}ms; {cause}{colon}{unknown}"


def test_a_gateway_that_has_to_be_passed_is_named() -> None:
    answer = why(TRIANGLE, Requirements(), source="ams", end="lon", through=[["fra"]])
    assert answer.requirement == "policy"
    assert answer.message == "policy: asked one of fra, possible without passing any by ams > lon"


def test_the_policy_that_imposed_a_requirement_is_named() -> None:
    router = Router(Arrays(TRIANGLE))
    ask = Ask(
        sources={"ams": 0.0},
        destinations={"fra": 0.0},
        requirements=Requirements(regions=("nl", "de")),
        weights=replace(random_ask(random.Random(0), TRIANGLE)).weights,
    )
    answer = explain(router, ask, origins={"regions": "stay-on-the-continent"})
    assert answer.message.startswith("regions: asked de, nl by MeshPolicy stay-on-the-continent, nearest de, nl, uk")


def test_every_sum_and_bottleneck_is_covered_by_the_figures_tried() -> None:
    assert {*SUMS, *BOTTLENECKS} == {*FIGURES} == {*READ}
