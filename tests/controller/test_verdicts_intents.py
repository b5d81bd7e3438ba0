"""What every state of the world makes an Intent say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from msgspec import structs

from controller.said import (
    ALL_SLOW,
    nothing,
    of_intent,
    probed,
    reports,
    said,
    settled,
    staging,
)
from controller.scene import (
    AWAY,
    DB,
    Mesh,
    intent_body,
    policy_body,
    workload_body,
)
from foremesh.controller.conditions import find
from foremesh.controller.verdicts.figures import rounded
from foremesh.model.circuit import Figures
from foremesh.model.registration import Beacon, ProbeReport

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


def attachment(loss: float | None) -> Callable[[Mesh], None]:
    def happens(mesh: Mesh) -> None:
        (gateway, report), *_ = mesh.observed.beacons[DB].probes.items()
        beacon = Beacon(probes={gateway: structs.replace(report, loss=loss)})
        mesh.observed = replace(mesh.observed, beacons={**mesh.observed.beacons, DB: beacon})

    return happens


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
        (attachment(0.02), "True", ("False", "LossTooHigh"), ("True", "Placed")),
        (attachment(None), "True", ("Unknown", "NotMeasured"), ("True", "Placed")),
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
        "an-attachment-is-lossy",
        "loss-of-an-attachment-unmeasured",
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
    strict = policy_body(minimumEncryption="EndToEnd")
    hop_by_hop, end_to_end = (intent_body(requirements={"encryption": one}) for one in ("HopByHop", "EndToEnd"))
    for told, *bodies in ((True, hop_by_hop, strict), (False, hop_by_hop), (False, end_to_end, strict)):
        ready = find(of_intent(settled(*bodies)).conditions, "Ready")
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
    assert (after.path, after.predicted.latency_ms) == ("ams > fra", 3.0)  # type: ignore[union-attr]


def test_figures_have_no_digits_that_nobody_can_measure() -> None:
    rough = Figures(latency_ms=1 / 3, loss=1 / 3, bandwidth_bps=1e6 / 3, egress_price=1 / 3, cost=2 / 3, hops=2)
    assert rounded(rough) == Figures(
        latency_ms=0.333, loss=0.333333, bandwidth_bps=333333.0, egress_price=0.333333, cost=0.666667, hops=2
    )
    assert rounded(Figures()) == Figures()
