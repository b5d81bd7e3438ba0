"""What every state of the world makes MeshResources and Circuits say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

import msgspec
import pytest

from controller.said import (
    LATER,
    NOW,
    nothing,
    of_circuit,
    of_intent,
    of_resource,
    reports,
    said,
    settled,
    staging,
)
from controller.scene import (
    DIRECT,
    ORDERS,
    WEB,
    Mesh,
    body,
    intent_body,
    workload_body,
)
from foremesh.controller.conditions import find
from foremesh.controller.verdicts import (
    circuit_news,
    circuit_status,
)
from foremesh.model.circuit import Circuit, CircuitStatus
from foremesh.model.registration import ProbeReport

# MeshResource


def silent(mesh: Mesh) -> None:
    mesh.silence("mesh/lon", WEB)
    mesh.plan()


def refusing(mesh: Mesh) -> None:
    mesh.acknowledge("mesh/lon", WEB, error="overlap")


def function(url: str, site: str = "ams") -> Mesh:
    return Mesh.of(body("MeshResource", "f", type="Function", function={"url": url}, location={"site": site}))


def agentless(mesh: Mesh) -> None:
    said = mesh.observed
    mesh.observed = replace(
        said,
        registrations={id_: one for id_, one in said.registrations.items() if id_ != "shop/f"},
        beacons={id_: one for id_, one in said.beacons.items() if id_ != "shop/f"},
    )
    mesh.plan()


def all_silent(mesh: Mesh) -> None:
    agentless(mesh)
    mesh.silence("mesh/ams")
    mesh.plan()


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
        (function("https://f.example"), agentless, "shop/f", ("False", "True", "True", "Serving")),
        (function("https://f.example"), all_silent, "shop/f", ("False", "False", "False", "NotReachable")),
        (function("http://169.254.169.254/"), agentless, "shop/f", ("False", "False", "False", "NotServed")),
        (function("https://f.example", "nowhere"), agentless, "shop/f", ("False", "False", "False", "NotAttached")),
    ],
    ids=[
        "gateway-serves",
        "workload-serves",
        "gateway-falls-silent",
        "workload-falls-silent",
        "config-refused",
        "no-agent-yet",
        "no-gateway-near",
        "functions-are-served-by-their-gateway",
        "a-gateway-that-serves-falls-silent",
        "nobody-is-reached-at-a-clouds-own-address",
        "no-gateway-near-a-function",
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


def refused_on_the_way(mesh: Mesh) -> None:
    staging(mesh)
    mesh.acknowledge("mesh/fra", error="overlap")


def unwanted(mesh: Mesh) -> None:
    mesh.forget("intents", ORDERS)
    mesh.plan()


def end_silent(mesh: Mesh) -> None:
    mesh.silence("mesh/ams")


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
    conditions = said(of_circuit(mesh).conditions)
    for other in ("Protected", "KeysCurrent"):  # they have files of their own, and no say in Ready
        conditions.pop(other)
    assert conditions == {
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
    assert len(under_way.labels) == 3
    mesh.acknowledge(*mesh.observed.configs)
    recorded = mesh.circuit
    mesh.progress()
    placed = mesh.decision.state.circuits[0]  # type: ignore[union-attr]
    after = circuit_status(placed, recorded, mesh.decision, mesh.observed, now=LATER)  # type: ignore[arg-type]
    assert (after.path, after.moves) == (DIRECT, 1)
    assert (before.moved_at, before.moved_from) == (None, ())
    assert (after.moved_at, after.moved_from) == (datetime.fromisoformat(LATER), before.path)
    assert circuit_news(recorded.status, after) == [("Normal", "Moved", "from ams > lon > fra to ams > fra")]
    assert circuit_news(after, after) == []


def test_another_underlay_between_the_same_gateways_is_a_move() -> None:
    mesh = settled()
    before = recorded_over(mesh, "internet")
    placed = mesh.decision.state.circuits[0]  # type: ignore[union-attr]

    def now_over(*underlays: str) -> CircuitStatus:
        labels = tuple(msgspec.structs.replace(one, underlays=underlays) for one in placed.labels)
        there = msgspec.structs.replace(placed, labels=labels)
        return circuit_status(there, before, mesh.decision, mesh.observed, now=LATER)  # type: ignore[arg-type]

    assert (now_over("internet", "internet").moves, now_over().moves) == (0, 0)
    moved = now_over("internet", "mpls")
    assert (moved.moves, moved.moved_at) == (1, datetime.fromisoformat(LATER))
    assert (moved.moved_from, moved.moved_from_underlays) == (before.status.path, ("internet", "internet"))
    (news,) = circuit_news(before.status, moved)
    assert news[1:] == (
        "Moved",
        "from ams > lon (internet) > fra (internet) to ams > lon (internet) > fra (mpls)",
    )


def recorded_over(mesh: Mesh, underlay: str) -> Circuit:
    """The circuit on record, its labels over one underlay."""
    status = mesh.circuit.status
    labels = tuple(msgspec.structs.replace(one, underlays=(underlay,) * (len(one.path) - 1)) for one in status.labels)
    return msgspec.structs.replace(mesh.circuit, status=msgspec.structs.replace(status, labels=labels))


def test_a_circuits_prediction_is_between_its_gateways() -> None:
    """The Intent's has the ways from the workloads, a millisecond each."""
    mesh = settled()
    circuit, intent = of_circuit(mesh), of_intent(mesh)
    assert circuit.predicted is not None
    assert intent.predicted is not None
    assert (circuit.predicted.latency_ms, intent.predicted.latency_ms) == (20.0, 22.0)
