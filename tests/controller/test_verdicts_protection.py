"""Whether a Circuit says that it survives the loss of its path, and what it says when it had to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from controller.said import LATER, nothing, of_circuit, settled
from controller.scene import BY_LON, BY_PAR, DIRECT, Mesh, gateway_body, intent_body, policy_body
from foremesh.controller.conditions import find
from foremesh.controller.verdicts import circuit_news, circuit_status
from foremesh.model.circuit import Condition, LabelState

ENDS = ("mesh/ams", "mesh/fra")


def protected(mesh: Mesh) -> Condition:
    condition = find(of_circuit(mesh).conditions, "Protected")
    assert condition is not None
    return condition


def deaf(mesh: Mesh) -> None:
    (active,) = [label.number for label in mesh.circuit.status.labels if label.state is LabelState.ACTIVE]
    mesh.report("mesh/fra", heard=(active,))


def without_processes(mesh: Mesh) -> None:
    mesh.report(*ENDS, heard=(), watching=False)


def silent(mesh: Mesh) -> None:
    mesh.silence("mesh/fra")


@pytest.mark.parametrize(
    ("happens", "said", "told"),
    [
        (
            nothing,
            ("True", "StandbyReady"),
            "switch to ams > par > fra by themselves; it shares nothing",
        ),
        (deaf, ("False", "StandbyDead"), "says mesh/fra"),
        (without_processes, ("False", "NoHellos"), "no fail-over process runs on mesh/ams and mesh/fra"),
        (silent, ("Unknown", "EndSilent"), "mesh/fra silent"),
    ],
    ids=["ready", "dead", "no-fail-over-process", "end-silent"],
)
def test_a_standby_protects_if_both_ends_hear_it(
    happens: Callable[[Mesh], Any], said: tuple[str, str], told: str
) -> None:
    mesh = settled()
    happens(mesh)
    condition = protected(mesh)
    assert (condition.status, condition.reason) == said
    assert told in condition.message


def test_a_circuit_without_another_way_says_so_and_is_ready_all_the_same() -> None:
    mesh = settled(intent_body(), policy_body(require={"gateways": ["mesh/lon"]}, avoid={"gateways": ["mesh/par"]}))
    condition = protected(mesh)
    assert mesh.states == {BY_LON: LabelState.ACTIVE}
    assert (condition.status, condition.reason) == ("False", "NoOtherPath")
    ready = find(of_circuit(mesh).conditions, "Ready")
    assert ready is not None
    assert ready.status != "False"


def test_a_standby_that_is_being_set_up_is_named() -> None:
    mesh = Mesh.of(intent_body())
    mesh.plan()
    mesh.acknowledge(*ENDS, "mesh/lon")
    mesh.progress()
    condition = protected(mesh)
    assert (condition.status, condition.reason) == ("False", "StandbyStaging")
    assert "ams > par > fra" in condition.message
    planned = find(of_circuit(mesh).conditions, "Planned")
    assert planned is not None
    assert planned.reason == "PathChosen", "it does not move there"


def risky(name: str) -> dict[str, Any]:
    gateway = gateway_body(name)["spec"]["gateway"]
    return gateway_body(name, gateway={**gateway, "riskGroups": ["power"]})


def test_what_the_two_paths_share_is_told() -> None:
    mesh = settled(intent_body(), risky("lon"), risky("par"))
    assert set(mesh.states) == {DIRECT, BY_LON}, "the direct way is slow, and shares no risk"
    mesh = settled(
        intent_body(), risky("lon"), risky("par"), policy_body(require={"gateways": ["mesh/lon", "mesh/par"]})
    )
    assert set(mesh.states) == {BY_LON, BY_PAR}
    assert "it shares risk group power with ams > lon > fra" in protected(mesh).message


# Fail-over


def test_a_fail_over_is_shown_counted_and_told() -> None:
    mesh = settled()
    before = mesh.circuit
    mesh.fall_over(*ENDS)
    decision = mesh.progress()
    (placed,) = decision.state.circuits
    status = circuit_status(placed, before, decision, mesh.observed, now=LATER)
    assert (status.path, status.standby_path) == (BY_PAR, BY_LON)
    assert (status.path_text, status.standby_path_text) == ("ams > par > fra", "ams > lon > fra")
    assert (status.moves, status.failovers) == (0, 1)
    ((kind, reason, message),) = circuit_news(before.status, status)
    assert (kind, reason) == ("Warning", "FailedOver")
    assert message.startswith("from ams > lon > fra to ams > par > fra: ")
    recorded = msgspec.structs.replace(before, status=status)
    mesh.progress()
    (placed,) = mesh.decision.state.circuits  # type: ignore[union-attr]
    again = circuit_status(placed, recorded, mesh.decision, mesh.observed, now=LATER)  # type: ignore[arg-type]
    assert (again.moves, again.failovers) == (0, 1)
    assert circuit_news(status, again) == []
