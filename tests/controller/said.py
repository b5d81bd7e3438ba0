"""What objects say after a decision: the verdicts asked as the operator asks them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec

from controller.scene import (
    FAST_DIRECT,
    ORDERS,
    Mesh,
    forecasts,
    intent_body,
)
from foremesh.controller.verdicts import (
    circuit_status,
    intent_status,
    resource_status,
)
from foremesh.model.circuit import Circuit, CircuitStatus, Condition
from foremesh.model.registration import ProbeReport
from foremesh.model.status import IntentStatus, ResourceStatus

NOW, LATER = "2030-01-01T00:00:00Z", "2030-01-01T00:05:00Z"
GOOD = ProbeReport(answering=True, rtt_ms=20.0, loss=0.0, mtu_fits=True)
ALL_SLOW = forecasts(dict.fromkeys((("ams", "lon"), ("ams", "par")), 90.0))


def said(conditions: tuple[Condition, ...]) -> dict[str, tuple[str, str]]:
    assert all(one.message for one in conditions)
    return {one.type: (one.status, one.reason) for one in conditions}


def probed(mesh: Mesh, report: ProbeReport | None = GOOD) -> Mesh:
    """Both ends of the one circuit report on it."""
    beacons = dict(mesh.observed.beacons)
    for end in ("mesh/ams", "mesh/fra"):
        if end in beacons:
            probes = {mesh.circuit.id: report} if report else {}
            beacons[end] = msgspec.structs.replace(beacons[end], probes=probes)
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


def nothing(mesh: Mesh) -> None:
    pass


def staging(mesh: Mesh) -> None:
    """Another path is best now; nobody has acknowledged it."""
    mesh.forecasts = FAST_DIRECT
    mesh.plan()


def reports(report: ProbeReport | None) -> Callable[[Mesh], Mesh]:
    return lambda mesh: probed(mesh, report)
