"""What every state of the world makes objects say: status and reason of each condition."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from controller.scene import (
    AWAY,
    BY_PAR,
    DB,
    ORDERS,
    WEB,
    Mesh,
    body,
    forecasts,
    intent_body,
    policy_body,
    workload_body,
)
from foremesh.controller import verdicts
from foremesh.controller.conditions import find
from foremesh.controller.verdicts import (
    circuit_news,
    circuit_status,
    intent_news,
    intent_status,
    policy_status,
    resource_status,
    store_is_away,
    worth_writing,
)
from foremesh.controller.verdicts.figures import rounded
from foremesh.model.circuit import Circuit, CircuitStatus, Condition, Figures
from foremesh.model.policy import Policy
from foremesh.model.registration import Beacon, ProbeReport
from foremesh.model.status import IntentStatus, PolicyStatus, ResourceStatus

NOW, LATER = "2030-01-01T00:00:00Z", "2030-01-01T00:05:00Z"
GOOD = ProbeReport(answering=True, rtt_ms=20.0, loss=0.0, mtu_fits=True)
SLOW_LON = forecasts({("ams", "lon"): 90.0})
ALL_SLOW = forecasts(dict.fromkeys((("ams", "lon"), ("ams", "par")), 90.0))


def said(conditions: tuple[Condition, ...]) -> dict[str, tuple[str, str]]:
    assert all(one.message for one in conditions)
    return {one.type: (one.status, one.reason) for one in conditions}


def probed(mesh: Mesh, report: ProbeReport | None = GOOD) -> Mesh:
    """Both ends of the one circuit report on it."""
    beacons = dict(mesh.observed.beacons)
    for end in ("mesh/ams", "mesh/fra"):
        if end in beacons:
            beacons[end] = Beacon(probes={mesh.circuit.id: report} if report else {})
    mesh.observed = replace(mesh.observed, beacons=beacons)
    return mesh


def settled(*bodies: dict[str, Any], **fields: Any) -> Mesh:
    mesh = Mesh.of(*(bodies or (intent_body(),)), **fields)
    mesh.settle()
    return probed(mesh)


def circuits_with_status(mesh: Mesh) -> dict[str, Circuit]:
    assert mesh.decision is not None
    placed = {one.id: one for one in mesh.decision.state.circuits}
    return {
        id_: msgspec.structs.replace(
            circuit, status=circuit_status(placed[id_], circuit, mesh.decision, mesh.observed, now=NOW)
        )
        for id_, circuit in mesh.declared.circuits.items()
    }


def of_intent(mesh: Mesh, old: IntentStatus | None = None, name: str = ORDERS) -> IntentStatus:
    assert mesh.decision is not None
    intent = mesh.declared.intents[name]
    circuits = circuits_with_status(mesh)
    return intent_status(intent, old or IntentStatus(), mesh.decision, circuits, mesh.observed, now=NOW)


def of_circuit(mesh: Mesh) -> CircuitStatus:
    (circuit,) = circuits_with_status(mesh).values()
    return circuit.status


def of_resource(mesh: Mesh, name: str, *, secret: str = "secret", heard_at: str = "") -> ResourceStatus:
    assert mesh.decision is not None
    resource = mesh.declared.resources[name]
    old = ResourceStatus(last_beacon_time=NOW)
    state = mesh.decision.state
    return resource_status(resource, old, state, mesh.observed, secret=secret, heard_at=heard_at, now=LATER)


# MeshResource


def silent(mesh: Mesh) -> None:
    mesh.silence("mesh/lon", WEB)
    mesh.plan()


def refusing(mesh: Mesh) -> None:
    mesh.acknowledge("mesh/lon", WEB, error="overlap")


def nothing(mesh: Mesh) -> None:
    pass


@pytest.mark.parametrize(
    ("mesh", "happens", "name", "expected"),
    [
        (settled(), nothing, "mesh/lon", ("True", "True", "True", "Serving")),
        (settled(), nothing, WEB, ("True", "True", "True", "Serving")),
        (settled(), silent, "mesh/lon", ("True", "False", "False", "NotReachable")),
        (settled(), silent, WEB, ("True", "False", "False", "NotReachable")),
        (settled(), refusing, "mesh/lon", ("True", "True", "False", "ConfigRefused")),
        (Mesh.of(agents=False), Mesh.plan, "mesh/lon", ("False", "False", "False", "NoAgent")),
        (Mesh.of(workload_body("web", "nowhere")), Mesh.plan, WEB, ("True", "True", "False", "NotAttached")),
        (
            Mesh.of(
                body("MeshResource", "f", type="Function", function={"url": "https://f.example"}),
            ),
            Mesh.plan,
            "shop/f",
            ("True", "True", "False", "NotServed"),
        ),
    ],
    ids=[
        "gateway-serves",
        "workload-serves",
        "gateway-falls-silent",
        "workload-falls-silent",
        "config-refused",
        "no-agent-yet",
        "no-gateway-near",
        "functions-are-not-reached-yet",
    ],
)
def test_resource(mesh: Mesh, happens: Callable[[Mesh], Any], name: str, expected: tuple[str, ...]) -> None:
    happens(mesh)
    conditions = said(of_resource(mesh, name).conditions)
    found = (conditions["Registered"][0], conditions["Reachable"][0], *conditions["Ready"])
    assert found == expected
    assert conditions["Quarantined"] == ("False", "NotQuarantined")


def test_a_workload_whose_gateways_have_no_agent_has_no_way_in() -> None:
    mesh = settled()
    others = {id_: one for id_, one in mesh.observed.registrations.items() if id_ != "mesh/ams"}
    mesh.observed = replace(mesh.observed, registrations=others)
    mesh.plan()
    assert said(of_resource(mesh, WEB).conditions)["Ready"] == ("False", "NotAttached")


def test_a_gateway_without_a_number_says_that_the_block_is_full() -> None:
    blocks = msgspec.structs.replace(Mesh.of().settings.blocks, mesh="100.64.0.0/24")
    mesh = Mesh.of(settings=msgspec.structs.replace(Mesh.of().settings, blocks=blocks))
    mesh.plan()
    assert said(of_resource(mesh, "mesh/par").conditions)["Ready"] == ("False", "AddressesExhausted")


def test_a_gateway_shows_what_it_was_given() -> None:
    status = of_resource(settled(), "mesh/fra", heard_at=LATER)
    assert (status.number, status.mesh_address, status.mesh_prefix) == (1, "100.64.1.1", "100.64.1.0/24")
    assert (status.agent_secret, status.last_beacon_time) == ("secret", LATER)


def test_who_is_not_heard_keeps_the_time_when_he_was() -> None:
    assert of_resource(settled(), "mesh/fra", heard_at="").last_beacon_time == NOW


def test_the_advice_for_an_agent_names_its_secret_if_there_is_one() -> None:
    mesh = Mesh.of(agents=False)
    mesh.plan()
    for secret, named in (("lon-agent", True), ("", False)):
        condition = find(of_resource(mesh, "mesh/lon", secret=secret).conditions, "Registered")
        assert condition is not None
        assert ("Secret" in condition.message) is named


# Circuit


def staging(mesh: Mesh) -> None:
    """Another path is best now; nobody has acknowledged it."""
    mesh.forecasts = SLOW_LON
    mesh.plan()


def refused_on_the_way(mesh: Mesh) -> None:
    staging(mesh)
    mesh.acknowledge("mesh/par", error="overlap")


def unwanted(mesh: Mesh) -> None:
    mesh.forget("intents", ORDERS)
    mesh.plan()


def end_silent(mesh: Mesh) -> None:
    mesh.silence("mesh/ams")


def reports(report: ProbeReport | None) -> Callable[[Mesh], Mesh]:
    return lambda mesh: probed(mesh, report)


UP = ("True", "ProbesAnswered")


@pytest.mark.parametrize(
    ("happens", "planned", "programmed", "forwarding", "ready"),
    [
        (nothing, ("True", "PathChosen"), ("True", "AllHopsAcknowledged"), UP, ("True", "Forwarding")),
        (staging, ("True", "Moving"), ("True", "AllHopsAcknowledged"), UP, ("True", "Forwarding")),
        (refused_on_the_way, ("True", "Moving"), ("False", "ConfigRefused"), UP, ("False", "ConfigRefused")),
        (
            unwanted,
            ("False", "NotWanted"),
            ("False", "NoLabel"),
            ("Unknown", "NotProgrammed"),
            ("False", "NotWanted"),
        ),
        (
            end_silent,
            ("True", "PathChosen"),
            ("True", "AllHopsAcknowledged"),
            ("Unknown", "EndSilent"),
            ("Unknown", "EndSilent"),
        ),
        (
            reports(None),
            ("True", "PathChosen"),
            ("True", "AllHopsAcknowledged"),
            ("Unknown", "NotProbed"),
            ("Unknown", "NotProbed"),
        ),
        (
            reports(ProbeReport(answering=False, loss=1.0)),
            ("True", "PathChosen"),
            ("True", "AllHopsAcknowledged"),
            ("False", "NoAnswer"),
            ("False", "NoAnswer"),
        ),
        (
            reports(ProbeReport(answering=True, rtt_ms=20.0, mtu_fits=False)),
            ("True", "PathChosen"),
            ("True", "AllHopsAcknowledged"),
            ("False", "MTUTooSmall"),
            ("False", "MTUTooSmall"),
        ),
    ],
    ids=[
        "carries",
        "moving-carries-as-well",
        "refused-by-a-gateway",
        "nobody-wants-it",
        "end-silent",
        "not-probed-yet",
        "nothing-answers",
        "full-size-is-lost",
    ],
)
def test_circuit(
    happens: Callable[[Mesh], Any],
    planned: tuple[str, str],
    programmed: tuple[str, str],
    forwarding: tuple[str, str],
    ready: tuple[str, str],
) -> None:
    mesh = settled()
    happens(mesh)
    assert said(of_circuit(mesh).conditions) == {
        "Planned": planned,
        "Programmed": programmed,
        "Forwarding": forwarding,
        "Ready": ready,
    }


def test_a_circuit_being_set_up_names_whom_it_waits_for() -> None:
    mesh = Mesh.of(intent_body())
    mesh.plan()
    mesh.acknowledge("mesh/ams")
    status = of_circuit(mesh)
    assert said(status.conditions)["Ready"] == ("False", "WaitingForHops")
    programmed = find(status.conditions, "Programmed")
    assert programmed is not None
    assert "mesh/lon, mesh/fra not heard" in programmed.message
    assert "mesh/ams" not in programmed.message
    assert status.path_text == "ams > lon > fra"


def test_a_circuit_shows_the_path_in_use_and_counts_moves_when_packets_move() -> None:
    mesh = settled()
    before = of_circuit(mesh)
    staging(mesh)
    under_way = of_circuit(mesh)
    assert (under_way.path, under_way.moves, under_way.predicted) == (before.path, 0, None)
    assert len(under_way.labels) == 2
    mesh.acknowledge(*mesh.observed.configs)
    recorded = mesh.circuit
    mesh.progress()
    placed = mesh.decision.state.circuits[0]  # type: ignore[union-attr]
    after = circuit_status(placed, recorded, mesh.decision, mesh.observed, now=LATER)  # type: ignore[arg-type]
    assert (after.path, after.moves) == (BY_PAR, 1)
    assert circuit_news(recorded.status, after) == [("Normal", "Moved", "from ams > lon > fra to ams > par > fra")]
    assert circuit_news(after, after) == []


def test_a_circuits_prediction_is_between_its_gateways() -> None:
    """The Intent's has the ways from the workloads, a millisecond each."""
    mesh = settled()
    circuit, intent = of_circuit(mesh), of_intent(mesh)
    assert circuit.predicted is not None
    assert intent.predicted is not None
    assert (circuit.predicted.latency_ms, intent.predicted.latency_ms) == (20.0, 22.0)


# Intent


def no_path(mesh: Mesh) -> None:
    mesh.forecasts = ALL_SLOW
    mesh.settle()
    probed(mesh, ProbeReport(answering=True, rtt_ms=100.0))


def telemetry_away(mesh: Mesh) -> None:
    mesh.forecasts = AWAY
    mesh.plan()


def denied(mesh: Mesh) -> None:
    mesh.declare(policy_body(deny=True))
    mesh.plan()


def nobody(mesh: Mesh) -> None:
    mesh.forget("resources", DB)
    mesh.plan()


def mesh_api_away(mesh: Mesh) -> None:
    mesh.silence(*mesh.observed.beacons)
    mesh.plan()


def attachment_unknown(mesh: Mesh) -> None:
    mesh.observed = replace(mesh.observed, beacons={**mesh.observed.beacons, DB: Beacon()})


HASTY = intent_body(requirements={"maxLatency": "40ms", "maxLoss": "1%"})


@pytest.mark.parametrize(
    ("happens", "resolved", "satisfied", "ready"),
    [
        (nothing, "True", ("True", "RequirementsHold"), ("True", "Placed")),
        (no_path, "True", ("False", "LatencyTooHigh"), ("False", "NoFeasiblePath")),
        (
            reports(ProbeReport(answering=True, rtt_ms=20.0, loss=0.02)),
            "True",
            ("False", "LossTooHigh"),
            ("True", "Placed"),
        ),
        (
            reports(ProbeReport(answering=False, loss=1.0)),
            "True",
            ("Unknown", "NotMeasured"),
            ("False", "CircuitNotReady"),
        ),
        (attachment_unknown, "True", ("Unknown", "NotMeasured"), ("True", "Placed")),
        (telemetry_away, "True", ("Unknown", "TelemetryUnavailable"), ("True", "Placed")),
        (mesh_api_away, "True", ("Unknown", "TelemetryUnavailable"), ("Unknown", "CircuitNotReady")),
        (denied, "True", ("Unknown", "NotPlaced"), ("False", "Denied")),
        (nobody, "False", ("Unknown", "NotResolved"), ("False", "NoCandidate")),
    ],
    ids=[
        "flows",
        "all-too-slow",
        "lossy",
        "nothing-passes",
        "a-part-unmeasured-is-unknown",
        "telemetry-away",
        "mesh-api-away",
        "denied",
        "destination-gone",
    ],
)
def test_intent(
    happens: Callable[[Mesh], Any], resolved: str, satisfied: tuple[str, str], ready: tuple[str, str]
) -> None:
    mesh = settled(HASTY)
    happens(mesh)
    conditions = said(of_intent(mesh).conditions)
    assert conditions["Resolved"][0] == resolved
    assert (conditions["Satisfied"], conditions["Ready"]) == (satisfied, ready)


@pytest.mark.parametrize(
    ("change", "says"),
    [(no_path, "the path in use is kept"), (denied, "no traffic is carried")],
    ids=["kept", "taken-away"],
)
def test_what_is_not_ready_says_whether_traffic_is_carried(change: Callable[[Mesh], Any], says: str) -> None:
    mesh = settled(HASTY)
    change(mesh)
    ready = find(of_intent(mesh).conditions, "Ready")
    assert ready is not None
    assert ready.message.endswith(says)


def test_an_intent_that_never_was_placed_waits_for_telemetry() -> None:
    mesh = Mesh.of(HASTY, forecasts=AWAY)
    mesh.plan()
    ready = find(of_intent(mesh).conditions, "Ready")
    assert ready is not None
    assert (ready.status, ready.reason) == ("Unknown", "Pending")
    assert AWAY.problem in ready.message


def test_while_it_is_set_up_it_is_not_ready() -> None:
    mesh = Mesh.of(HASTY)
    mesh.plan()
    conditions = said(of_intent(mesh).conditions)
    assert conditions["Ready"] == ("False", "CircuitNotReady")
    assert conditions["Satisfied"] == ("Unknown", "NotMeasured")


def test_who_asked_for_less_encryption_is_told_that_he_has_more() -> None:
    for asked, told in (("HopByHop", True), ("EndToEnd", False)):
        ready = find(of_intent(settled(intent_body(requirements={"encryption": asked}))).conditions, "Ready")
        assert ready is not None
        assert ("encrypted from end to end" in ready.message) is told


def test_a_pair_behind_one_gateway_is_measured_by_its_two_ways() -> None:
    mesh = Mesh.of(intent_body(), workload_body("db", "ams", services=[{"name": "db"}]))
    beacon = Beacon(probes={"mesh/ams": ProbeReport(answering=True, rtt_ms=2.0)})
    mesh.observed = replace(mesh.observed, beacons={**mesh.observed.beacons, DB: beacon})
    mesh.settle()
    status = of_intent(mesh)
    assert (status.path, status.circuits) == ("ams", ())
    assert status.observed == Figures(latency_ms=3.0)
    assert said(status.conditions)["Ready"] == ("True", "Placed")


def test_of_several_sources_each_counts_and_the_worst_is_shown() -> None:
    labels = {"tier": "front"}
    mesh = Mesh.of(
        intent_body(**{"from": {"selector": {"matchLabels": labels}}, "requirements": {"maxLatency": "40ms"}}),
        workload_body("web", "ams", labels=labels),
        workload_body("near", "lon", labels=labels),
    )
    mesh.observed = replace(
        mesh.observed,
        beacons={
            **mesh.observed.beacons,
            "shop/near": Beacon(probes={"mesh/lon": ProbeReport(answering=True, rtt_ms=1.0)}),
        },
    )
    mesh.settle()
    beacons = dict(mesh.observed.beacons)
    for id_, circuit in mesh.declared.circuits.items():
        rtt_ms = {"mesh/ams": 20.0, "mesh/lon": 90.0}[circuit.spec.from_]
        beacons[circuit.spec.from_] = Beacon(probes={id_: ProbeReport(answering=True, rtt_ms=rtt_ms)})
    mesh.observed = replace(mesh.observed, beacons=beacons)
    status = of_intent(mesh)
    assert (status.path, len(status.circuits), len(status.placements)) == ("ams > lon > fra", 2, 2)
    satisfied = find(status.conditions, "Satisfied")
    assert satisfied is not None
    assert satisfied.reason == "LatencyTooHigh"
    assert satisfied.message.startswith("shop/near to shop/db: measured 92.0 ms")


def test_what_cannot_be_carried_out_is_said() -> None:
    mesh = Mesh.of(HASTY)
    mesh.plan()
    mesh.progress(refused={mesh.circuit.id: "too many rules"})
    ready = find(of_intent(mesh).conditions, "Ready")
    assert ready is not None
    assert (ready.reason, ready.message.endswith("too many rules; no traffic is carried")) == ("CircuitRefused", True)


def test_predictions_stay_those_of_the_path_that_is_shown() -> None:
    mesh = settled()
    before = of_intent(mesh)
    staging(mesh)
    under_way = of_intent(mesh, before)
    assert (under_way.path, under_way.predicted, under_way.runners_up) == (
        before.path,
        before.predicted,
        before.runners_up,
    )
    mesh.settle()
    after = of_intent(probed(mesh), under_way)
    assert (after.path, after.predicted.latency_ms) == ("ams > par > fra", 32.0)  # type: ignore[union-attr]


def test_figures_have_no_digits_that_nobody_can_measure() -> None:
    rough = Figures(latency_ms=1 / 3, loss=1 / 3, bandwidth_bps=1e6 / 3, egress_price=1 / 3, cost=2 / 3, hops=2)
    assert rounded(rough) == Figures(
        latency_ms=0.333, loss=0.333333, bandwidth_bps=333333.0, egress_price=0.333333, cost=0.666667, hops=2
    )
    assert rounded(Figures()) == Figures()


# The others


def test_a_policy_says_how_far_it_reaches() -> None:
    policy = Policy.from_manifest(policy_body(deny=True))
    status = policy_status(policy, PolicyStatus(), 3, now=NOW)
    assert (status.matched_intents, said(status.conditions)) == (3, {"Ready": ("True", "InForce")})


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
        (msgspec.structs.replace(SATISFIED, runners_up=()), False, False),
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
        "runners-up",
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
