"""MeshPolicies that match nothing, change nothing, or leave no weight over 0."""

from __future__ import annotations

from typing import Any

import pytest

from controller.scene import Mesh, body, intent_body
from foremesh.decide.idle import CHANGES_NOTHING, MATCHES_NOTHING, WEIGHTS_ARE_ZERO

TERMS = ("latency", "bandwidth", "loss", "hops", "egressPrice", "load", "jitter")
LATENCY, OTHERS = {"latency": 0}, dict.fromkeys(TERMS[1:], 0)


def remarked(*policies: dict[str, Any], **intent: Any) -> dict[str, str]:
    """By policy (p0, p1, ...), what is wrong with it."""
    bodies = [body("MeshPolicy", f"p{number}", None, **spec) for number, spec in enumerate(policies)]
    mesh = Mesh.of(intent_body(**intent), *bodies)
    return {id_: one.reason for id_, one in mesh.settle().chosen.remarks.items()}


RULES: dict[str, tuple[list[dict[str, Any]], dict[str, str]]] = {
    "one-that-asks-something": ([{"avoid": {"gateways": ["lon"]}}], {}),
    "about-nobody": ([{"match": {"namespaces": ["nowhere"]}, "deny": True}], {"p0": MATCHES_NOTHING}),
    "about-nobody-in-shadow": (
        [{"match": {"namespaces": ["nowhere"]}, "deny": True, "mode": "Shadow"}],
        {"p0": MATCHES_NOTHING},
    ),
    "asks-nothing": ([{"match": {"namespaces": ["shop"]}}], {"p0": CHANGES_NOTHING}),
    "in-shadow-it-may": ([{"match": {"namespaces": ["shop"]}, "mode": "Shadow"}], {}),
    "asks-what-holds-anyway": ([{"minimumEncryption": "HopByHop"}], {"p0": CHANGES_NOTHING}),
    "weights-that-are-overruled": (
        [{"weights": {"latency": 5}}, {"weights": {"latency": 2}, "priority": 7}],
        {"p0": CHANGES_NOTHING},
    ),
    "the-weights-of-the-profile": ([{"weights": {"latency": 1}}], {"p0": CHANGES_NOTHING}),
    "a-preference-that-two-have-counts-twice": ([{"prefer": {"gateways": ["lon"]}}] * 2, {}),
    "a-denial-that-two-have-is-one-s": ([{"deny": True}] * 2, dict.fromkeys(("p0", "p1"), CHANGES_NOTHING)),
    "one-weight-is-left": ([{"weights": LATENCY}, {"weights": {**OTHERS, "hops": 0.1}}], {}),
    "no-weight-is-left-by-two": (
        [{"weights": LATENCY}, {"weights": OTHERS}, {"prefer": {"gateways": ["lon"]}}],
        dict.fromkeys(("p0", "p1"), WEIGHTS_ARE_ZERO),
    ),
    "no-weight-is-left-by-one": ([{"weights": {**LATENCY, **OTHERS}}], {"p0": WEIGHTS_ARE_ZERO}),
    "not-while-one-is-in-shadow": ([{"weights": LATENCY}, {"weights": OTHERS, "mode": "Shadow"}], {}),
}


@pytest.mark.parametrize(("policies", "found"), RULES.values(), ids=RULES.keys())
def test_remarks(policies: list[dict[str, Any]], found: dict[str, str]) -> None:
    assert remarked(*policies) == found


def test_of_two_that_ask_the_same_it_says_that_one_is_needed() -> None:
    bodies = [body("MeshPolicy", name, None, avoid={"gateways": ["lon"]}) for name in ("a", "b")]
    idle = body("MeshPolicy", "c", None, match={"namespaces": ["shop"]})
    remarks = Mesh.of(intent_body(), *bodies, idle).settle().chosen.remarks
    assert remarks["a"].message.endswith(", but do not delete b as well: the same is asked there")
    assert remarks["c"].message.endswith("; delete it, or see what overrules it")


def test_where_transits_see_traffic_in_clear_encryption_counts() -> None:
    weightless = {"weights": {**LATENCY, **OTHERS}}
    assert remarked(weightless, requirements={"encryption": "HopByHop"}) == {}


def test_of_weights_it_names_all_whose_doing_it_is_and_whom_it_concerns() -> None:
    bodies = [body("MeshPolicy", name, None, weights=some) for name, some in (("b", LATENCY), ("a", OTHERS))]
    remarks = Mesh.of(intent_body(), *bodies).settle().chosen.remarks
    assert remarks["a"] == remarks["b"]
    assert remarks["a"].message.startswith("MeshPolicies a and b leave Intent shop/orders no weight over 0: ")
