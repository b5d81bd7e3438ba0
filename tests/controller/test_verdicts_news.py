"""What is worth writing and telling, and what is said without a decision."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from controller.said import (
    LATER,
    NOW,
    of_intent,
    of_resource,
    said,
    settled,
)
from controller.scene import (
    WEB,
    policy_body,
)
from foremesh.controller import verdicts
from foremesh.controller.conditions import find
from foremesh.controller.verdicts import (
    intent_news,
    policy_status,
    resource_news,
    store_is_away,
    worth_writing,
)
from foremesh.decide import Problem
from foremesh.model.circuit import Figures
from foremesh.model.policy import Policy
from foremesh.model.status import IntentStatus, PolicyStatus

# The others


def test_a_policy_says_how_far_it_reaches() -> None:
    policy = Policy.from_manifest(policy_body(deny=True))
    status = policy_status(policy, PolicyStatus(), 3, now=NOW)
    assert (status.matched_intents, said(status.conditions)) == (3, {"Ready": ("True", "InForce")})


def test_a_policy_that_makes_no_difference_says_so_while_it_makes_none() -> None:
    policy = Policy.from_manifest(policy_body(deny=True))
    idle = policy_status(policy, PolicyStatus(), 0, remark=Problem("MatchesNothing", "it matches no Intent"), now=NOW)
    assert said(idle.conditions) == {"Effective": ("False", "MatchesNothing"), "Ready": ("True", "InForce")}
    assert said(policy_status(policy, idle, 1, now=NOW).conditions) == {"Ready": ("True", "InForce")}


def test_without_a_decision() -> None:
    assert said(verdicts.first_sight(1, NOW)) == {"Ready": ("Unknown", "Pending")}
    assert said(verdicts.unreadable((), 1, "no", NOW)) == {"Ready": ("False", "Invalid")}
    assert said(verdicts.not_served((), 1, NOW)) == {"Ready": ("False", "NoIntent"), "Planned": ("False", "NoIntent")}


def test_while_the_store_is_away_the_other_conditions_stay_as_they_were_decided() -> None:
    before = of_intent(settled())
    away = store_is_away(before, 7, "etcd is away", LATER)
    satisfied, ready = find(away.conditions, "Satisfied"), find(away.conditions, "Ready")
    assert satisfied is not None
    assert (satisfied.status, satisfied.reason, satisfied.observed_generation) == ("Unknown", "StoreUnavailable", 7)
    assert ready == find(before.conditions, "Ready")


# What is worth writing and telling

SATISFIED = of_intent(settled())


def with_condition(of: IntentStatus, type_: str, /, **changes: Any) -> IntentStatus:
    conditions = tuple(msgspec.structs.replace(one, **changes) if one.type == type_ else one for one in of.conditions)
    return msgspec.structs.replace(of, conditions=conditions)


def with_latency(status: IntentStatus, latency_ms: float) -> IntentStatus:
    return msgspec.structs.replace(status, observed=Figures(latency_ms=latency_ms))


@pytest.mark.parametrize(
    ("new", "written", "with_figures"),
    [
        (SATISFIED, False, False),
        (with_latency(SATISFIED, 24.0), False, False),
        (with_latency(SATISFIED, 60.0), False, True),
        (msgspec.structs.replace(SATISFIED, observed=None), True, True),
        (msgspec.structs.replace(SATISFIED, runners_up=SATISFIED.runners_up[:1]), False, False),
        (msgspec.structs.replace(SATISFIED, runners_up=()), True, True),
        (msgspec.structs.replace(SATISFIED, path="ams > par > fra"), True, True),
        (with_condition(SATISFIED, "Ready", status="False"), True, True),
        (with_condition(SATISFIED, "Ready", reason="Else"), True, True),
        (with_condition(SATISFIED, "Ready", observed_generation=9), True, True),
        (
            with_condition(SATISFIED, "Resolved", message="2 sources matched, each with a destination to choose"),
            True,
            True,
        ),
        (
            with_condition(SATISFIED, "Resolved", message="7 source matched, each with a destination to choose"),
            False,
            False,
        ),
    ],
    ids=[
        "the-same",
        "a-figure",
        "a-figure-far-off",
        "a-figure-unknown-now",
        "other-runners-up",
        "no-runners-up-any-more",
        "path",
        "status",
        "reason",
        "generation",
        "words",
        "a-number-in-words",
    ],
)
def test_worth_writing(new: IntentStatus, written: bool, with_figures: bool) -> None:
    assert worth_writing(SATISFIED, new) is written
    assert worth_writing(SATISFIED, new, figures=True) is with_figures


def test_a_beacon_alone_is_not_worth_writing() -> None:
    mesh = settled()
    assert not worth_writing(of_resource(mesh, "mesh/fra", heard_at=NOW), of_resource(mesh, "mesh/fra", heard_at=LATER))


FAILED = with_condition(SATISFIED, "Ready", status="False", reason="NoFeasiblePath", message="too slow")
WAITING = with_condition(SATISFIED, "Ready", status="False", reason="CircuitNotReady", message="wait")
BREACHED = with_condition(SATISFIED, "Satisfied", status="False", reason="LatencyTooHigh", message="90 ms")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (IntentStatus(), SATISFIED, ["PathChosen"]),
        (SATISFIED, SATISFIED, []),
        (SATISFIED, msgspec.structs.replace(SATISFIED, path="ams > fra"), ["PathChanged"]),
        (SATISFIED, FAILED, ["NoFeasiblePath"]),
        (FAILED, FAILED, []),
        (FAILED, SATISFIED, []),
        (SATISFIED, WAITING, ["CircuitNotReady"]),
        (msgspec.structs.replace(IntentStatus(), path=WAITING.path), WAITING, []),
        (SATISFIED, BREACHED, ["LatencyTooHigh"]),
        (BREACHED, SATISFIED, ["RequirementsHold"]),
    ],
    ids=[
        "first-path",
        "nothing-new",
        "another-path",
        "no-path",
        "still-no-path",
        "ready-again-is-the-path-event",
        "circuit-lost",
        "every-intent-waits-for-its-circuit-once",
        "requirement-breached",
        "requirement-holds-again",
    ],
)
def test_events_of_an_intent(old: IntentStatus, new: IntentStatus, told: list[str]) -> None:
    assert [reason for _, reason, _ in intent_news(old, new)] == told


def test_one_that_left_a_gateway_by_itself_says_so_once() -> None:
    mesh = settled()
    before = of_resource(mesh, WEB)
    mesh.report(WEB, detours={"mesh/ams": "mesh/par"})
    after = of_resource(mesh, WEB)
    assert said(after.conditions)["Ready"] == ("True", "GatewayLeft")
    ((kind, reason, message),) = resource_news(before, after)
    assert (kind, reason) == ("Warning", "GatewayLeft")
    assert "it uses mesh/par in place of mesh/ams" in message
    assert resource_news(after, after) == []
    assert resource_news(after, before) == []
