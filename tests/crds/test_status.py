"""Statuses as the operator writes them: stored by a real API server without losing a field."""

import json
from typing import Any

import pytest
import yaml

from crds.conftest import NAMESPACE
from crds.schemas import CORPUS, KINDS
from foremesh.model.circuit import (
    CircuitStatus,
    Condition,
    Figures,
    LabelAllocation,
    LabelState,
    Tunnel,
    TunnelState,
)
from foremesh.model.manifest import read, write
from foremesh.model.plan import Infeasible
from foremesh.model.status import IntentStatus, PlacementStatus, PolicyStatus, ResourceStatus, RunnerUp
from lab.controlplane import ControlPlane

NOW = "2030-01-02T03:04:05Z"
READY = Condition(
    type="Ready", status="True", reason="Placed", message="m", observed_generation=1, last_transition_time=NOW
)
UNKNOWN = Condition(type="Satisfied", status="Unknown", reason="NotMeasured", observed_generation=1)
FIGURES = Figures(
    latency_ms=12.5, latency_p90_ms=20.25, loss=0.001, bandwidth_bps=2e8, hops=2, egress_price=0.09, cost=1.5
)
PATH = ("mesh/ams-1", "mesh/fra-1")

STATUSES = {
    "gateway-with-all-fields": ResourceStatus(
        number=0,
        mesh_address="100.64.0.1",
        mesh_prefix="100.64.0.0/24",
        attached_to=("mesh/ams-1",),
        agent_secret="ams-1-agent",
        last_beacon_time=NOW,
        observed_generation=1,
        conditions=(READY,),
    ),
    "intent-with-all-fields": IntentStatus(
        path="ams-1 > fra-1",
        destination="crds/db",
        circuits=("crds/a", "crds/b"),
        placements=(
            PlacementStatus(source="crds/web", destination="crds/db", circuit="crds/a", path="ams-1", reason="r"),
            PlacementStatus(
                source="crds/other",
                infeasible=Infeasible(
                    requirement="maxLatency", asked="40ms", nearest="", message="m", preempted_by=("crds/first",)
                ),
            ),
        ),
        predicted=FIGURES,
        observed=Figures(latency_ms=12),
        forecast_model="prophet",
        runners_up=(
            RunnerUp(path="ams-1 > lon-1 > fra-1", predicted=FIGURES),
            RunnerUp(path="ams-1 > par-1", destination="shop/db-2"),
        ),
        observed_generation=1,
        conditions=(READY, UNKNOWN),
    ),
    "circuit-with-ends-and-class": CircuitStatus(
        number=0,
        class_number=0,
        tunnels=(
            Tunnel(keys=("abcd/+12", "abcd/+34"), epoch=7),
            Tunnel(slot=3, keys=("abcd/+56", "abcd/+78"), state=TunnelState.STAGING, epoch=1 << 40),
        ),
        path=PATH,
        path_text="ams-1 > fra-1",
        labels=(
            LabelAllocation(number=0, state=LabelState.ACTIVE, path=PATH, epoch=7),
            LabelAllocation(number=5, state=LabelState.DRAINING, path=PATH, epoch=1 << 40),
        ),
        predicted=FIGURES,
        observed=FIGURES,
        forecast_model="last",
        forecast_reason="ams-1->fra-1: last: mean error 1 ms",
        intents=("crds/web",),
        moves=1,
        observed_generation=1,
        conditions=(READY,),
    ),
    "policy-with-all-fields": PolicyStatus(matched_intents=3, observed_generation=1, conditions=(READY,)),
}


def _apply_status(served: ControlPlane, manifest: dict[str, Any], status: Any) -> Any:
    """Apply a status server-side, as the operator does."""
    text = yaml.safe_dump({**{key: manifest[key] for key in ("apiVersion", "kind", "metadata")}, "status": status})
    options = ("--server-side", "--subresource=status", "-n", NAMESPACE, "-o", "json", "-f", "-")
    return served.kubectl("apply", *options, stdin=text, check=False)


def _declare(served: ControlPlane, name: str) -> dict[str, Any]:
    manifest = yaml.safe_load((CORPUS / f"accepted/{name}.yaml").read_text())
    served.kubectl("apply", "-n", NAMESPACE, "-f", "-", stdin=yaml.safe_dump(manifest))
    return manifest


@pytest.mark.apiserver
@pytest.mark.parametrize(("name", "status"), STATUSES.items(), ids=[type(one).__name__ for one in STATUSES.values()])
def test_every_field_of_a_status_is_stored_and_read_back(served: ControlPlane, name: str, status: Any) -> None:
    manifest = _declare(served, name)
    answer = _apply_status(served, manifest, write(status))
    assert answer.returncode == 0, answer.stderr
    stored = json.loads(answer.stdout)["status"]
    assert read(KINDS[manifest["kind"]].status, stored) == status


@pytest.mark.apiserver
def test_a_declaration_cannot_set_its_status(served: ControlPlane) -> None:
    manifest = _declare(served, "circuit-pinned-and-firewalled") | {"status": {"number": 7}}
    text = yaml.safe_dump(manifest)
    answer = served.kubectl("apply", "-n", NAMESPACE, "-o", "json", "-f", "-", stdin=text)
    assert "status" not in json.loads(answer.stdout)


@pytest.mark.apiserver
def test_a_condition_that_is_neither_true_nor_false_nor_unknown_is_refused(served: ControlPlane) -> None:
    manifest = _declare(served, "intent-with-ends-alone")
    answer = _apply_status(served, manifest, {"conditions": [{"type": "Ready", "status": "true", "reason": "Placed"}]})
    assert 'supported values: "True", "False", "Unknown"' in answer.stderr
