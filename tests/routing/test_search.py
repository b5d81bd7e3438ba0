"""The search against every simple path, tried one by one."""

from __future__ import annotations

import doctest
import math
import random
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from msgspec import structs

from foremesh.model.intent import Avoid, Encryption, Profile, Requirements
from foremesh.model.link import Course, Figure, LinkId, MeshGraph
from foremesh.model.plan import Path
from foremesh.model.policy import Prefer
from foremesh.model.resource import Role
from foremesh.model.units import Bandwidth, Milliseconds, Price, Ratio
from foremesh.routing import PROFILES, Weights, search, select_path
from foremesh.routing.arrays import Arrays
from foremesh.routing.ask import Ask, Router
from foremesh.routing.search import Selection, select
from routing.worlds import Judge, both, link, mesh, node, random_ask, random_graph, reordered, shuffled

SEEDS = range(1000)
"""Random graphs; each is asked twice."""
BATCH = 50


def answer(graph: MeshGraph, ask: Ask, runners_up: int = 3) -> Selection:
    return select(Router(Arrays(graph)), ask, runners_up=runners_up)


@pytest.mark.parametrize("first", range(0, len(SEEDS), BATCH))
def test_agrees_with_trying_every_path(first: int) -> None:
    feasible = 0
    for seed in SEEDS[first : first + BATCH]:
        rng = random.Random(seed)
        graph = random_graph(rng)
        for _ in range(2):
            ask = random_ask(rng, graph)
            judge = Judge(graph, ask)
            expected = judge.feasible()
            found = answer(graph, ask)
            listed = [*([found.path] if found.path else []), *found.runners_up]
            feasible += bool(expected)
            assert len(listed) == min(4, len(expected)), f"seed {seed}"
            allowed = {(path.gateways, tuple(one.id for one in path.links)): cost for cost, path in expected}
            assert len({(path.gateways, path.links) for path in listed}) == len(listed), f"seed {seed}"
            for (cost, _), path in zip(expected, listed, strict=False):
                assert path.figures.cost == pytest.approx(cost, rel=1e-6, abs=1e-7), f"seed {seed}"
                assert allowed[path.gateways, path.links] == pytest.approx(cost, rel=1e-6, abs=1e-7), f"seed {seed}"
                assert sum(path.terms.values()) == pytest.approx(path.figures.cost), f"seed {seed}"
            assert (found.infeasible is None) == bool(expected), f"seed {seed}"
    assert 0 < feasible < 2 * BATCH, "the worlds must hold both kinds of questions"


def test_the_order_of_the_input_does_not_matter() -> None:
    for seed in range(120):
        rng = random.Random(seed)
        graph = random_graph(rng)
        ask = random_ask(rng, graph)
        expected = answer(graph, ask)
        turned = replace(
            ask, sources=reordered(rng, ask.sources), destinations=reordered(rng, ask.destinations), through=ask.through
        )
        assert answer(shuffled(rng, graph), turned) == expected, f"seed {seed}"


LOOSER = {
    "max_latency": lambda value: Milliseconds(value * 1.5 + 1),
    "min_bandwidth": lambda value: Bandwidth(value / 2),
    "reverse": lambda value: Bandwidth(value / 2),
    "max_loss": lambda value: Ratio(min(1.0, value * 2 + 0.001)),
    "max_hops": lambda value: value + 1,
    "max_egress_price": lambda value: Price(value + 0.05),
    "regions": lambda value: (*value, "uk"),
    "avoid": lambda value: Avoid(),
}


def test_asking_for_less_never_makes_a_path_disappear_or_dearer() -> None:
    compared = 0
    for seed in range(150):
        rng = random.Random(seed)
        graph = random_graph(rng)
        ask = random_ask(rng, graph)
        strict = answer(graph, ask, 0).path
        for field, looser in LOOSER.items():
            value = getattr(ask.requirements, field)
            if strict is None or value in (None, (), Avoid()):
                continue
            loose = replace(ask, requirements=structs.replace(ask.requirements, **{field: looser(value)}))
            relaxed = answer(graph, loose, 0).path
            assert relaxed is not None, f"seed {seed}: {field}"
            assert relaxed.figures.cost <= strict.figures.cost, f"seed {seed}: {field}"
            compared += 1
    assert compared > 50


LINE = mesh(
    node("a"),
    node("b"),
    node("c"),
    links=(
        *both("a", "b", 0.1, p90=10.1, loss=0.01, free=200e6, price=0.01),
        *both("b", "c", 0.2, p90=20.2, loss=0.02, free=300e6, price=0.02),
    ),
)
"""One path of two links: round trip 30.3 ms, loss 2.98 %, 200 Mbit/s, 0.03 USD/GB."""

EXACTLY = {
    "latency-equal-is-allowed": Requirements(max_latency=Milliseconds(30.3)),
    "bandwidth-equal-is-allowed": Requirements(min_bandwidth=Bandwidth(200e6)),
    "reverse-equal-is-allowed": Requirements(reverse=Bandwidth(200e6)),
    "loss-equal-is-allowed": Requirements(max_loss=Ratio(0.0298)),
    "hops-equal-is-allowed": Requirements(max_hops=2),
    "price-equal-is-allowed": Requirements(max_egress_price=Price(0.03)),
    "region-of-every-gateway-is-listed": Requirements(regions=("eu",)),
}
JUST_BEYOND = {
    "latency-above-is-refused": Requirements(max_latency=Milliseconds(30.29999)),
    "bandwidth-below-is-refused": Requirements(min_bandwidth=Bandwidth(200e6 + 1)),
    "reverse-below-is-refused": Requirements(reverse=Bandwidth(200e6 + 1)),
    "loss-above-is-refused": Requirements(max_loss=Ratio(0.0297999)),
    "hops-above-is-refused": Requirements(max_hops=1),
    "price-above-is-refused": Requirements(max_egress_price=Price(0.0299999)),
    "region-not-listed-is-refused": Requirements(regions=("uk",)),
    "region-avoided-is-refused": Requirements(avoid=Avoid(regions=("eu",))),
    "gateway-avoided-is-refused": Requirements(avoid=Avoid(gateways=("b",))),
}


@pytest.mark.parametrize("needs", EXACTLY.values(), ids=EXACTLY.keys())
def test_what_is_met_exactly_is_met(needs: Requirements) -> None:
    found = select_path(LINE, {"a": 0.0}, {"c": 0.0}, needs).path
    assert found is not None
    assert found.gateways == ("a", "b", "c")


@pytest.mark.parametrize("needs", JUST_BEYOND.values(), ids=JUST_BEYOND.keys())
def test_what_is_missed_by_little_is_missed(needs: Requirements) -> None:
    assert select_path(LINE, {"a": 0.0}, {"c": 0.0}, needs).path is None


BLIND = mesh(node("a"), node("b"), links=(link("a", "b", None, loss=None, free=None, price=None), *both("b", "a")[:0]))


@pytest.mark.parametrize(
    "needs",
    [
        pytest.param(Requirements(max_latency=Milliseconds(1e6)), id="unknown-latency-meets-no-limit"),
        pytest.param(Requirements(max_loss=Ratio(1.0)), id="unknown-loss-meets-no-limit"),
        pytest.param(Requirements(min_bandwidth=Bandwidth(0)), id="unknown-bandwidth-meets-no-limit"),
        pytest.param(Requirements(reverse=Bandwidth(0)), id="missing-reverse-link-meets-no-limit"),
        pytest.param(Requirements(max_egress_price=Price(1e3)), id="unknown-price-meets-no-limit"),
    ],
)
def test_an_unknown_figure_meets_no_requirement(needs: Requirements) -> None:
    assert select_path(BLIND, {"a": 0.0}, {"b": 0.0}, needs).path is None
    found = select_path(BLIND, {"a": 0.0}, {"b": 0.0}).path
    assert found is not None
    figures = found.figures
    assert (figures.latency_ms, figures.loss, figures.bandwidth_bps, figures.egress_price) == (None, None, None, None)
    assert figures.cost > 0


def test_an_unknown_attachment_meets_no_latency() -> None:
    needs = Requirements(max_latency=Milliseconds(1e6))
    assert select_path(LINE, {"a": None}, {"c": 0.0}, needs).path is None
    assert select_path(LINE, {"a": 0.0}, {"c": None}, needs).path is None
    assert select_path(LINE, {"a": None}, {"c": 0.0}).path is not None


def test_an_unknown_link_costs_as_much_as_the_worst_known() -> None:
    graph = mesh(
        node("a"),
        node("b"),
        node("c"),
        node("d"),
        links=(link("a", "b", None), link("b", "d", 1.0), link("a", "c", 29.0), link("c", "d", 30.0)),
    )
    found = select_path(graph, {"a": 0.0}, {"d": 0.0})
    assert found.path is not None
    assert found.path.text == "a > b > d"
    assert found.path.terms["latency"] == pytest.approx(0.31), "30 ms, the worst known, and 1 ms"


ROLES = mesh(
    node("edge", Role.EDGE),
    node("mid", Role.EDGE),
    node("core"),
    node("far", Role.EDGE),
    links=(
        *both("edge", "mid", 1.0),
        *both("mid", "far", 1.0),
        *both("edge", "core", 50.0),
        *both("core", "far", 50.0),
    ),
)


def test_an_edge_gateway_never_relays() -> None:
    found = select_path(ROLES, {"edge": 0.0}, {"far": 0.0})
    assert found.path is not None
    assert found.path.text == "edge > core > far"
    assert found.runners_up == ()
    via = select_path(ROLES, {"edge": 0.0}, {"far": 0.0}, Requirements(avoid=Avoid(gateways=("core",))))
    assert via.infeasible is not None
    assert via.infeasible.requirement == "avoid"


def test_an_edge_gateway_may_begin_and_end() -> None:
    found = select_path(ROLES, {"edge": 0.0}, {"mid": 0.0, "far": 0.0})
    assert found.path is not None
    assert found.path.text == "edge > mid"


def test_a_source_that_is_a_destination_is_a_path_of_no_links() -> None:
    needs = Requirements(max_latency=Milliseconds(0), max_hops=0, min_bandwidth=Bandwidth(1e12), max_loss=Ratio(0))
    found = select_path(LINE, {"a": 0.0}, {"a": 0.0}, needs).path
    assert found is not None
    assert (found.gateways, found.links, found.figures.hops, found.figures.latency_ms) == (("a",), (), 0, 0.0)


def test_one_mapping_may_name_both_ends() -> None:
    graph = mesh(node("a", load=0.5), node("b", load=0.5), links=both("a", "b"))
    ends: dict[str, float | None] = {"a": 1.0, "b": 2.0}
    assert select_path(graph, ends, ends) == select_path(graph, ends, dict(ends))


def test_attachments_count_for_latency_and_choose_between_destinations() -> None:
    graph = mesh(node("a"), node("b"), node("c"), links=(*both("a", "b", 10.0), *both("a", "c", 12.0)))
    near = select_path(graph, {"a": 1.0}, {"b": 5.0, "c": 0.5}, Requirements(max_latency=Milliseconds(13.5))).path
    assert near is not None
    assert near.text == "a > c"
    assert near.figures.latency_ms == pytest.approx(13.5)
    over = select_path(graph, {"a": 1.0}, {"b": 5.0, "c": 0.5}, Requirements(max_latency=Milliseconds(13.4)))
    assert over.path is None


def test_bandwidth_promised_to_others_is_not_free() -> None:
    needs = Requirements(min_bandwidth=Bandwidth(150e6))
    first = LinkId(src="a", dst="b")
    assert select_path(LINE, {"a": 0.0}, {"c": 0.0}, needs, reserved_bps={first: 50e6}).path is not None
    assert select_path(LINE, {"a": 0.0}, {"c": 0.0}, needs, reserved_bps={first: 51e6}).path is None
    assert select_path(LINE, {"a": 0.0}, {"c": 0.0}, needs, reserved_bps={first.reverse: 200e6}).path is not None


TRIANGLE = mesh(
    node("a"), node("b"), node("c"), links=(link("a", "c", 30.0), link("a", "b", 10.0), link("b", "c", 12.0))
)


def test_a_detour_wins_where_it_is_faster() -> None:
    found = select_path(TRIANGLE, {"a": 0.0}, {"c": 0.0})
    assert found.path is not None
    assert [path.text for path in (found.path, *found.runners_up)] == ["a > b > c", "a > c"]


def test_a_steady_link_beats_a_faster_one_that_is_sometimes_slow() -> None:
    graph = mesh(
        node("a"),
        node("b"),
        links=(link("a", "b", 50.0, underlay="steady"), link("a", "b", 20.0, p90=200.0, underlay="wild")),
    )
    found = select_path(graph, {"a": 0.0}, {"b": 0.0}).path
    assert found is not None
    assert found.links[0].underlay == "steady"


def test_transits_that_see_the_traffic_in_clear_cost_only_hop_by_hop() -> None:
    found = [
        select_path(TRIANGLE, {"a": 0.0}, {"c": 0.0}, Requirements(encryption=kind)).path
        for kind in (None, Encryption.END_TO_END, Encryption.HOP_BY_HOP)
    ]
    assert [path.text if path else "" for path in found] == ["a > b > c", "a > b > c", "a > c"]
    assert [path.terms["encryption"] if path else -1 for path in found] == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("profile", "underlay"),
    [(Profile.LATENCY, "fast"), (Profile.THROUGHPUT, "wide"), (Profile.COST, "cheap")],
    ids=["latency-takes-the-fast", "throughput-takes-the-wide", "cost-takes-the-cheap"],
)
def test_a_profile_favours_its_concern(profile: Profile, underlay: str) -> None:
    graph = mesh(
        node("a"),
        node("b"),
        links=(
            link("a", "b", 20.0, free=200e6, price=0.09, underlay="fast"),
            link("a", "b", 60.0, free=2e9, price=0.09, underlay="wide"),
            link("a", "b", 60.0, free=200e6, price=0.01, underlay="cheap"),
        ),
    )
    found = select_path(graph, {"a": 0.0}, {"b": 0.0}, weights=PROFILES[profile]).path
    assert found is not None
    assert found.links[0].underlay == underlay


def test_a_tie_goes_to_fewer_links_then_to_the_smaller_id() -> None:
    free = replace(PROFILES[Profile.BALANCED], hops=0.0, load=0.0, egress_price=0.0, bandwidth=0.0, loss=0.0)
    graph = mesh(
        node("a"),
        node("b"),
        node("c"),
        node("d"),
        links=(
            link("a", "d", 20.0),
            link("a", "c", 10.0),
            link("c", "d", 10.0),
            link("a", "b", 10.0),
            link("b", "d", 10.0),
        ),
    )
    found = select_path(graph, {"a": 0.0}, {"d": 0.0}, weights=free)
    assert found.path is not None
    assert [path.text for path in (found.path, *found.runners_up)] == ["a > d", "a > b > d", "a > c > d"]


def test_a_waypoint_that_cannot_be_passed_without_turning_back_leaves_no_path() -> None:
    graph = mesh(
        node("a"),
        node("b"),
        node("c"),
        node("w"),
        links=(*both("a", "b"), *both("b", "c"), *both("b", "w")),
    )
    assert select_path(graph, {"a": 0.0}, {"c": 0.0}, through=[["w"]]).path is None
    round_about = structs.replace(graph, links=(*graph.links, *both("a", "w", 500.0)))
    found = select_path(round_about, {"a": 0.0}, {"c": 0.0}, through=[["w"]]).path
    assert found is not None
    assert found.text == "a > w > b > c"


def test_predictions_that_are_not_finite_are_unknown_and_negative_ones_are_zero() -> None:
    """For the operator, whose forecasters extrapolate: a plan is made all the same."""
    odd = structs.replace(link("a", "b"), rtt_ms=Figure(median=math.nan, pessimistic=5.0))
    below = structs.replace(link("b", "c"), rtt_ms=Figure(median=-3.0, pessimistic=-1.0))
    router = Router(Arrays(mesh(node("a"), node("b"), node("c"), links=(odd, below))))

    def within(source: str, destination: str, most_ms: float) -> Path | None:
        needs = Requirements(max_latency=Milliseconds(most_ms))
        ends = {source: 0.0}, {destination: 0.0}
        asked = Ask(sources=ends[0], destinations=ends[1], requirements=needs, weights=PROFILES[Profile.BALANCED])
        return select(router, asked).path

    assert within("a", "b", 9) is None
    found = within("b", "c", 0)
    assert found is not None
    assert found.figures.latency_ms == 0.0


STEP = Figure(median=5.0, pessimistic=5.0)
GIVEN: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "rtt-nan": ({"rtt_ms": Figure(median=math.nan, pessimistic=5.0)}, {}, "a->b/internet: rtt_ms.median is nan"),
    "rtt-below": (
        {"rtt_ms": Figure(median=3.0, pessimistic=-5.0)},
        {},
        "rtt_ms.pessimistic is -5; it must be a number",
    ),
    "price-text": ({"egress_price": "0.1"}, {}, "egress_price is '0.1'"),
    "loss-percent": (
        {"loss": Figure(median=2.0, pessimistic=2.0)},
        {},
        "loss.median is 2; it must be a number from 0 to 1",
    ),
    "free-below": ({"free_bps": Figure(median=-1.0, pessimistic=0.0)}, {}, "free_bps.median is -1"),
    "price-below": ({"egress_price": -2.0}, {}, "egress_price is -2; it must be a number .*, or None if it is unknown"),
    "capacity-endless": ({"capacity_bps": math.inf}, {}, "capacity_bps is inf"),
    "step-nan": (
        {"course": Course(step_s=60.0, loss=(Figure(median=0.0, pessimistic=math.nan),))},
        {},
        "a->b/internet: course.loss.pessimistic is nan",
    ),
    "steps-of-no-length": (
        {"course": Course(step_s=0.0, loss=(Figure(median=0.0, pessimistic=0.0),))},
        {},
        "steps of more than 0 s",
    ),
    "steps-too-few": (
        {"course": Course(step_s=60.0, rtt_ms=(STEP, STEP), loss=(Figure(median=0.0, pessimistic=0.0),))},
        {},
        "course has 2 of rtt_ms, 1 of loss, 0 of free_bps, 60 s each; it must have as many of each",
    ),
    "rtt-plain": ({"rtt_ms": 20.0}, {}, r"a->b/internet: rtt_ms is 20.0; it must be a Figure\("),
    "rtt-crossed": (
        {"rtt_ms": Figure(median=20.0, pessimistic=1.0)},
        {},
        "a->b/internet: rtt_ms: pessimistic is 1 and median 20; .* must be at least the median",
    ),
    "free-crossed": (
        {"free_bps": Figure(median=1.0, pessimistic=2.0)},
        {},
        "free_bps: pessimistic is 2 and median 1; .* must be at most the median",
    ),
    "step-crossed": (
        {"course": Course(step_s=60.0, rtt_ms=(Figure(median=2.0, pessimistic=1.0),))},
        {},
        "course.rtt_ms: pessimistic is 1 and median 2",
    ),
    "step-plain": ({"course": Course(step_s=60.0, rtt_ms=(2.0,))}, {}, "course.rtt_ms is 2.0; it must be a Figure"),  # type: ignore[arg-type]
    "course-plain": ({"course": (STEP,)}, {}, "a->b/internet: course is .*; it must be a Course"),
    "link-to-itself": ({"id": LinkId(src="a", dst="a")}, {}, "link a->a/internet is from a gateway to itself"),
    "link-to-nowhere": ({"id": LinkId(src="a", dst="z")}, {}, "link a->z/internet: the graph has no gateway z"),
    "link-text": ({"id": "a->b"}, {}, "the id of a link is 'a->b'; it must be a LinkId"),
    "attached-nan": ({}, {"source_gateways": {"a": math.nan}}, "source_gateways: round trip in ms behind a is nan"),
    "attached-endless": ({}, {"destination_gateways": {"b": math.inf}}, "destination_gateways: .* behind b is inf"),
    "attached-list": ({}, {"source_gateways": ["a"]}, "source_gateways is .*; it must map gateways to round trips"),
    "limit-nan": ({}, {"requirements": Requirements(max_latency=Milliseconds(math.nan))}, "max_latency is nan"),
    "limit-below": ({}, {"requirements": Requirements(min_bandwidth=Bandwidth(-1))}, "min_bandwidth is -1"),
    "limit-percent": ({}, {"requirements": Requirements(max_loss=Ratio(2))}, "requirements.max_loss is 2"),
    "limits-plain": ({}, {"requirements": {"max_loss": 0.1}}, "it must be a Requirements"),
    "regions-text": (
        {},
        {"requirements": Requirements(regions="eu")},  # type: ignore[arg-type]
        r"requirements.regions is 'eu'; .* give a tuple such as \('eu',\)",
    ),
    "labels-numbers": ({}, {"requirements": Requirements(gateway_labels=(1,))}, "gateway_labels is "),  # type: ignore[arg-type]
    "providers-list": ({}, {"requirements": Requirements(providers=["x"])}, "providers is .* give a tuple"),  # type: ignore[arg-type]
    "avoid-text": (
        {},
        {"requirements": Requirements(avoid=Avoid(gateways="ams"))},  # type: ignore[arg-type]
        r"requirements.avoid.gateways is 'ams'; .* give a tuple such as \('ams',\)",
    ),
    "encryption-text": (
        {},
        {"requirements": Requirements(encryption="strong")},  # type: ignore[arg-type]
        "requirements.encryption is 'strong'; it must be an Encryption",
    ),
    "limits-huge": ({}, {"requirements": Requirements(min_bandwidth=10**400)}, "it must be a number from 0 to 1e"),
    "hops-and-a-half": ({}, {"requirements": Requirements(max_hops=1.5)}, "max_hops is 1.5; it must be a whole number"),
    "runners-up-and-a-half": ({}, {"runners_up": 1.5}, "runners_up is 1.5; it must be a whole number"),
    "through-nothing": ({}, {"through": ((),)}, "none of them empty"),
    "through-text": ({}, {"through": "ams"}, "through is 'ams'; it must be groups of gateways, each a tuple"),
    "through-texts": ({}, {"through": ("ams",)}, "a group of through is .*'ams'"),
    "prefer-text": ({}, {"prefer": (Prefer(regions="eu"),)}, "prefer.regions is 'eu'; .* give a tuple"),  # type: ignore[arg-type]
    "prefer-alone": ({}, {"prefer": Prefer()}, "prefer is .*; it must be a tuple of Prefer"),
    "reserved-text": ({}, {"reserved_bps": {"a->b": 1.0}}, "reserved_bps has a rate of 'a->b'; it must be a LinkId"),
    "reserved-list": ({}, {"reserved_bps": [1.0]}, "reserved_bps is .*; it must map LinkIds to bit/s"),
    "reserved-nan": (
        {},
        {"reserved_bps": {LinkId(src="a", dst="b"): math.nan}},
        "reserved_bps of a->b/internet is nan",
    ),
    "listed-below": ({}, {"runners_up": -1}, "runners_up is -1"),
    "weights-plain": ({}, {"weights": {"latency": 1.0}}, "it must be a Weights, such as PROFILES"),
    "weights-none": (
        {},
        {"weights": Weights(**{one.name: 0.0 for one in fields(Weights)})},
        "every cost weight is 0, so that all paths cost the same",
    ),
}


@pytest.mark.parametrize(("figures", "more", "said"), GIVEN.values(), ids=GIVEN)
def test_what_makes_no_sense_is_refused_by_name(figures: dict[str, Any], more: dict[str, Any], said: str) -> None:
    graph = mesh(node("a"), node("b"), links=(structs.replace(link("a", "b"), **figures),))
    arguments: dict[str, Any] = {"source_gateways": {"a": 0.0}, "destination_gateways": {"b": 0.0}, **more}
    with pytest.raises(ValueError, match=said):
        select_path(graph, **arguments)


def test_links_told_in_different_steps_are_refused() -> None:
    one, other = (
        structs.replace(link(*ends), course=Course(step_s=60.0, rtt_ms=(STEP,) * steps))
        for ends, steps in ((("a", "b"), 2), (("b", "a"), 3))
    )
    with pytest.raises(ValueError, match=r"a->b/internet has 2 of 60 s and b->a/internet has 3 of 60 s"):
        select_path(mesh(node("a"), node("b"), links=(one, other)), {"a": 0.0}, {"b": 0.0})


LINK, BACK, A, B = link("a", "b"), link("b", "a"), node("a"), node("b")


@pytest.mark.parametrize(
    ("graph", "said"),
    [
        (None, "graph is None; it must be a MeshGraph"),
        (mesh(A, B, A, links=(LINK,)), "gateway a is in the graph twice"),
        (mesh(A, B, links=(LINK, BACK, link("a", "b", 5.0))), "link a->b/internet is in the graph twice"),
        (mesh(structs.replace(A, id=1), B, links=(LINK,)), "the id of a gateway is 1; it must be a string"),
        (mesh(structs.replace(A, role="Foo"), B, links=(LINK,)), "gateway a: role is 'Foo'; it must be a Role"),
        (mesh("a", "b", links=(LINK,)), "one of the graph's nodes is 'a'; it must be a Node"),  # type: ignore[arg-type]
        (mesh(A, B, links=("a->b",)), "one of the graph's links is 'a->b'; it must be a Pred"),  # type: ignore[arg-type]
    ],
)
def test_graphs_that_contradict_themselves_are_refused(graph: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        select_path(graph, {"a": 0.0}, {"b": 0.0})


def test_ends_of_a_figure_that_differ_by_rounding_are_no_contradiction() -> None:
    rounded = structs.replace(LINK, rtt_ms=Figure(median=0.1 + 0.2, pessimistic=0.3))
    assert select_path(mesh(A, B, links=(rounded,)), {"a": 0.0}, {"b": 0.0}).path is not None


def test_figures_of_numpy_are_numbers() -> None:
    numbers: Any = (np.float32(3), np.int64(4))
    one = structs.replace(link("a", "b"), rtt_ms=Figure(median=numbers[0], pessimistic=numbers[1]))
    found = select_path(mesh(node("a"), node("b"), links=(one,)), {"a": numbers[0]}, {"b": None}).path
    assert found is not None
    assert found.text == "a > b"


def test_a_gateway_that_is_not_there_is_named() -> None:
    """No mistake in itself: it may have left, and one that is there will do."""
    graph = mesh(node("a"), node("b"), links=both("a", "b"))
    refused = select_path(graph, {"zz": 0.0}, {"b": 0.0}).infeasible
    assert refused is not None
    assert refused.message == "connectivity: the graph has no gateway zz"
    assert select_path(graph, {"zz": 0.0, "a": 0.0}, {"b": 0.0}).path is not None


def test_the_documented_example_runs() -> None:
    result = doctest.testmod(search)
    assert result.attempted > 0
    assert result.failed == 0
