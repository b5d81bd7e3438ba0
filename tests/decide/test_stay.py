"""When traffic stays where it is, and what takes it away."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controller.scene import (
    ALL_SLOW,
    AWAY,
    BY_LON,
    BY_PAR,
    DB,
    HASTY,
    SLOW_LON,
    Mesh,
    forecasts,
    gateway_body,
    infeasible,
    intent_body,
    path_of,
    policy_body,
    workload_body,
)
from foremesh.model.circuit import LabelState
from foremesh.model.registration import Beacon

# When nothing can be known


def test_without_telemetry_everything_stays_though_another_way_was_better() -> None:
    mesh = Mesh.of(intent_body())
    configs = mesh.settle().configs
    mesh.forecasts = AWAY
    decision = mesh.settle()
    assert path_of(decision) == BY_LON
    assert decision.configs == configs
    assert decision.chosen.problem == AWAY.problem


def test_without_telemetry_what_was_never_placed_waits() -> None:
    decision = Mesh.of(intent_body(), forecasts=AWAY).plan()
    assert decision.chosen.plan.placements == ()
    assert decision.state.circuits == ()


def test_without_telemetry_an_edited_intent_keeps_its_way() -> None:
    mesh = Mesh.of(intent_body())
    mesh.settle()
    mesh.forecasts = AWAY
    mesh.declare(intent_body(requirements={"maxLatency": "1s"}))
    assert path_of(mesh.settle()) == BY_LON


WORDS = {
    "denied": (policy_body(deny=True), None),
    "avoided": (policy_body(avoid={"gateways": ["mesh/lon"]}), BY_PAR),
    "other-required": (policy_body(require={"gateways": ["mesh/par"]}), BY_PAR),
    "fewer-hops": (intent_body(requirements={"maxHops": 1}), None),
    "other-destination": (intent_body(to={"resource": "web2"}), None),
    "no-transit-any-more": (gateway_body("lon", gateway={"role": "Edge", "endpoint": "203.0.113.3:51820"}), BY_PAR),
}
"""What somebody may say, and the way that is left for traffic which no way serves well enough."""


@pytest.mark.parametrize(("word", "left"), WORDS.values(), ids=WORDS.keys())
@pytest.mark.parametrize("away", [True, False], ids=["without-telemetry", "where-all-is-too-slow"])
def test_a_persons_word_takes_the_path_away(word: dict, left: tuple[str, ...] | None, away: bool) -> None:
    mesh = Mesh.of(intent_body(**HASTY), workload_body("web2", "ams"))
    mesh.settle()
    if word["kind"] == "Intent":
        word = {
            **word,
            "spec": {**word["spec"], "requirements": {**HASTY["requirements"], **word["spec"]["requirements"]}},
        }
    mesh.declare(word)
    mesh.forecasts = AWAY if away else ALL_SLOW
    decision = mesh.plan()
    assert path_of(decision) == (None if away else left)
    assert infeasible(decision)
    if path_of(decision) is None:
        assert not [label for label in mesh.circuit.status.labels if label.state is LabelState.ACTIVE]


@pytest.mark.parametrize(
    ("change", "silent"),
    [(ALL_SLOW, ()), (None, ("mesh/lon", "mesh/par", "mesh/fra"))],
    ids=["all-ways-got-too-slow", "gateways-fell-silent"],
)
def test_the_world_takes_no_path_away(change: object, silent: tuple[str, ...]) -> None:
    mesh = Mesh.of(intent_body(**HASTY))
    mesh.settle()
    mesh.forecasts = change or mesh.forecasts
    mesh.silence(*silent)
    decision = mesh.settle()
    assert path_of(decision) == BY_LON
    assert infeasible(decision)
    assert mesh.states == {BY_LON: LabelState.ACTIVE, BY_PAR: LabelState.STANDBY}


def test_an_edit_that_asks_for_nothing_else_keeps_a_path_that_became_too_slow() -> None:
    mesh = Mesh.of(intent_body(**HASTY))
    mesh.settle()
    mesh.forecasts = ALL_SLOW
    mesh.declare(intent_body(priority=7, **HASTY))
    assert path_of(mesh.plan()) == BY_LON


def test_a_way_that_is_found_again_ends_the_complaint() -> None:
    mesh = Mesh.of(intent_body(**HASTY))
    mesh.settle()
    mesh.forecasts = ALL_SLOW
    assert infeasible(mesh.settle()) == "maxLatency"
    mesh.forecasts = SLOW_LON
    decision = mesh.settle()
    assert (path_of(decision), infeasible(decision)) == (BY_PAR, None)


def test_a_destination_that_fell_silent_is_kept_while_nothing_can_be_chosen() -> None:
    mesh = Mesh.of(intent_body(), workload_body("db2", "par", services=[{"name": "db"}]))
    mesh.silence("shop/db2")
    mesh.settle()
    (before,) = mesh.plan().chosen.plan.placements
    assert before.destination == DB
    mesh.observed = replace(mesh.observed, beacons={**mesh.observed.beacons, "shop/db2": Beacon()})
    mesh.silence(DB)
    mesh.forecasts = AWAY
    after = mesh.plan()
    assert after.chosen.plan.placements[0].destination == before.destination
    assert path_of(after) == BY_LON


def test_when_no_gateway_is_heard_nothing_is_chosen() -> None:
    """The mesh API is away, not the whole mesh."""
    mesh = Mesh.of(intent_body())
    configs = mesh.settle().configs
    mesh.silence(*mesh.observed.beacons)
    decision = mesh.settle()
    assert (path_of(decision), infeasible(decision)) == (BY_LON, None)
    assert decision.configs == configs
    assert "no gateway is heard from" in decision.chosen.problem


def test_a_pair_behind_one_gateway_stays_connected_without_telemetry() -> None:
    mesh = Mesh.of(intent_body(), workload_body("db", "ams", services=[{"name": "db"}]))
    assert path_of(mesh.settle()) == ("mesh/ams",)
    mesh.forecasts = AWAY
    decision = mesh.settle()
    assert path_of(decision) == ("mesh/ams",)
    assert decision.configs["mesh/ams"].local


def test_a_workload_of_two_gateways_stays_by_margin_like_any_other() -> None:
    """Its circuit's class names its ends as well; the planner must know it for the same."""
    twin = gateway_body("par", location={"site": "ams"})
    mesh = Mesh.of(intent_body(), twin)
    settled = path_of(mesh.settle())
    mesh.forecasts = forecasts({("ams", "lon"): 10.5})
    assert path_of(mesh.plan()) == settled
    assert mesh.decision is not None
    (placement,) = mesh.decision.chosen.plan.placements
    assert placement.reason.startswith(("kept", "stays"))
