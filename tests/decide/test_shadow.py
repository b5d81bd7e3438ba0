"""A policy in shadow changes nothing, and says what it would change."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from controller.scene import AWAY, BY_LON, BY_PAR, ORDERS, WEB, Mesh, intent_body, path_of, policy_body
from foremesh.decide import Decision
from foremesh.model.status import ShadowStatus


def shadow(name: str = "word", **spec: Any) -> dict[str, Any]:
    return policy_body(name, mode="Shadow", **spec)


def told(mesh: Mesh, policy: str = "word") -> ShadowStatus:
    return mesh.settle().chosen.shadows[policy]


def without_shadows(decision: Decision) -> object:
    """What is decided, but for the reports."""
    return decision.chosen.plan, decision.configs, decision.desired


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({"avoid": {"gateways": ["mesh/lon"]}}, id="avoid"),
        pytest.param({"deny": True}, id="deny"),
        pytest.param({"require": {"gateways": ["mesh/par"]}}, id="require"),
        pytest.param({"minimumEncryption": "EndToEnd"}, id="encryption"),
        pytest.param({"weights": {"latency": 0, "hops": 50}}, id="weights"),
    ],
)
def test_it_changes_nothing(spec: dict[str, Any]) -> None:
    asked = intent_body(requirements={"encryption": "HopByHop"})
    assert without_shadows(Mesh.of(asked, shadow(**spec)).settle()) == without_shadows(Mesh.of(asked).settle())


def test_it_says_who_would_move_and_what_that_would_cost() -> None:
    mesh = Mesh.of(intent_body(), shadow(avoid={"gateways": ["mesh/lon"]}))
    found = told(mesh)
    assert (found.moved_intents, found.infeasible_intents, found.latency_difference_ms) == (1, 0, 10.0)
    assert found.cost_difference_percent is not None
    assert found.cost_difference_percent > 0
    (example,) = found.examples
    assert (example.intent, example.source) == (ORDERS, WEB)
    assert (example.path, example.new_path, example.message) == (
        "ams > lon > fra",
        "ams > par > fra",
        "22.0 -> 32.0 ms",
    )


def test_enforced_it_does_what_it_said() -> None:
    word = {"avoid": {"gateways": ["mesh/lon"]}}
    mesh = Mesh.of(intent_body(), shadow(**word))
    assert path_of(mesh.settle()) == BY_LON
    assert mesh.decision is not None
    said = mesh.decision.chosen.shadows["word"].examples[0].new_path
    mesh.declare(policy_body(**word))
    decision = mesh.settle()
    assert path_of(decision) == BY_PAR
    assert " > ".join(one.rpartition("/")[2] for one in BY_PAR) == said
    assert decision.chosen.shadows == {}


def test_it_says_who_would_find_no_path() -> None:
    found = told(Mesh.of(intent_body(), shadow(deny=True)))
    assert (found.moved_intents, found.infeasible_intents, found.cost_difference_percent) == (0, 1, None)
    assert (found.examples[0].new_path, found.examples[0].message) == ("", "MeshPolicy word denies it")


def test_a_policy_that_would_change_nothing() -> None:
    assert told(Mesh.of(intent_body(), shadow(avoid={"gateways": ["mesh/par"]}))) == ShadowStatus()
    assert told(Mesh.of(intent_body(), shadow(deny=True, match={"namespaces": ["other"]}))) == ShadowStatus()


def test_each_is_reported_on_alone() -> None:
    mesh = Mesh.of(intent_body(), shadow("a", avoid={"gateways": ["mesh/lon"]}), shadow("b", deny=True))
    found = mesh.settle().chosen.shadows
    assert (found["a"].moved_intents, found["a"].infeasible_intents) == (1, 0)
    assert (found["b"].moved_intents, found["b"].infeasible_intents) == (0, 1)


def test_with_others_in_force() -> None:
    """Par is forbidden already; without lon only the direct link is left."""
    mesh = Mesh.of(
        intent_body(), policy_body("par", avoid={"gateways": ["mesh/par"]}), shadow(avoid={"gateways": ["mesh/lon"]})
    )
    assert told(mesh).examples[0].new_path == "ams > fra"


def test_costs_are_told_at_todays_weights() -> None:
    """With weights of its own a path is dearer or cheaper for no better reason than that; by today's it is dearer."""
    mesh = Mesh.of(intent_body(profile="Latency"), shadow(weights={"hops": 100, "latency": 0.1}))
    found = told(mesh)
    assert found.examples[0].new_path == "ams > fra"
    assert found.latency_difference_ms == 180.0
    assert found.cost_difference_percent is not None
    assert found.cost_difference_percent > 100


def test_without_telemetry_nothing_is_said() -> None:
    mesh = Mesh.of(intent_body(), shadow(deny=True))
    mesh.settle()
    mesh.forecasts = AWAY
    assert mesh.plan().chosen.shadows == {}


def test_it_is_said_of_how_many_intents_it_is_about() -> None:
    mesh = Mesh.of(intent_body(), shadow(deny=True))
    assert mesh.settle().chosen.matched == {"word": 1}
    assert replace(mesh.declared).policies["word"].in_force is False
