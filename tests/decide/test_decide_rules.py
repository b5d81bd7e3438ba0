"""Decisions, as values: what is chosen, for whom, what is told to whom, and what is read back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from controller.scene import (
    BY_LON,
    BY_PAR,
    DB,
    DIRECT,
    FAST_DIRECT,
    ORDERS,
    SLOW_LON,
    WEB,
    Mesh,
    intent_body,
    path_of,
    policy_body,
    problem,
    workload_body,
)
from foremesh.decide import Problem, recover
from foremesh.model.circuit import LabelAllocation, LabelState
from foremesh.model.intent import Encryption
from foremesh.model.registration import Beacon, ProbeReport
from foremesh.settings import ApiSettings, Settings

# Choosing


def test_equal_inputs_give_equal_decisions() -> None:
    first, second = Mesh.of(intent_body()).plan(), Mesh.of(intent_body()).plan()
    assert first.configs == second.configs
    assert first.chosen.plan == second.chosen.plan


def test_an_intent_takes_the_best_way_and_moves_when_another_is() -> None:
    mesh = Mesh.of(intent_body())
    assert path_of(mesh.settle()) == BY_LON
    assert mesh.states == {BY_LON: LabelState.ACTIVE, BY_PAR: LabelState.STANDBY}
    mesh.forecasts = FAST_DIRECT
    assert path_of(mesh.settle()) == DIRECT
    assert mesh.states == {DIRECT: LabelState.ACTIVE, BY_PAR: LabelState.STANDBY}


def test_a_gateway_that_falls_silent_is_left() -> None:
    mesh = Mesh.of(intent_body())
    mesh.settle()
    mesh.silence("mesh/lon")
    assert path_of(mesh.settle()) == BY_PAR


def test_every_epoch_is_later_than_all_that_anybody_has_heard_of() -> None:
    mesh = Mesh.of(intent_body())
    decision = mesh.settle()
    mesh.now_s = 0.0  # a clock that went back
    mesh.forecasts = SLOW_LON
    later = mesh.plan()
    assert min(later.configs[id_].epoch for id_ in later.changed) > max(c.epoch for c in decision.configs.values())


@pytest.mark.parametrize("asked", ["HopByHop", "EndToEnd", None])
def test_circuits_are_encrypted_end_to_end_where_a_policy_says_so(asked: str | None) -> None:
    requirements = {"encryption": asked} if asked else {}
    mesh = Mesh.of(intent_body(requirements=requirements), policy_body(minimumEncryption="EndToEnd"))
    mesh.settle()
    assert mesh.circuit.spec.encryption is Encryption.END_TO_END
    same = Mesh.of(intent_body())
    same.settle()
    assert mesh.circuit.id == same.circuit.id


@pytest.mark.parametrize(
    "policy",
    [
        pytest.param({}, id="one-without-a-word-on-it"),
        pytest.param({"minimumEncryption": "HopByHop"}, id="one-that-is-content"),
        pytest.param({"minimumEncryption": "EndToEnd", "match": {"namespaces": ["else"]}}, id="one-about-others"),
    ],
)
def test_who_asks_for_hop_by_hop_gets_it_under(policy: dict[str, Any]) -> None:
    mesh = Mesh.of(intent_body(requirements={"encryption": "HopByHop"}), policy_body(**policy))
    mesh.settle()
    assert mesh.circuit.spec.encryption is Encryption.HOP_BY_HOP


def test_policies_count_the_intents_that_they_are_about() -> None:
    decision = Mesh.of(
        intent_body(), intent_body("other"), policy_body("all"), policy_body("none", match={"namespaces": ["else"]})
    ).plan()
    assert decision.chosen.matched == {"all": 2, "none": 0}


# Who an Intent is about

NO_SITE = workload_body("web", "nowhere")


def test_an_unknown_name_says_which_field() -> None:
    found = problem(Mesh.of(intent_body(**{"from": {"resource": "ghost"}})))
    assert found is not None
    assert (found.reason, found.message[:10]) == ("UnknownReference", "spec.from:")


@pytest.mark.parametrize(
    ("mesh", "reason"),
    [
        (Mesh.of(intent_body(to={"service": "cache"})), "NoCandidate"),
        (Mesh.of(intent_body(), NO_SITE), "NotAttached"),
        (Mesh.of(intent_body(), workload_body("db", "nowhere", services=[{"name": "db"}])), "NotAttached"),
        (Mesh.of(intent_body(), agents=False), "NoAgent"),
        (Mesh.of(intent_body()), None),
    ],
    ids=["nobody-offers-it", "source-without-gateway", "destination-without-gateway", "no-agents", "all-there"],
)
def test_why_an_intent_has_nobody_to_connect(mesh: Mesh, reason: str | None) -> None:
    found = problem(mesh)
    assert (found.reason if found else None) == reason
    assert found is None or found.message.endswith("no traffic is carried")


def test_a_source_that_cannot_be_reached_is_left_out_and_named() -> None:
    labels = {"tier": "front"}
    mesh = Mesh.of(
        intent_body(**{"from": {"selector": {"matchLabels": labels}}}),
        workload_body("web", "ams", labels=labels),
        workload_body("shy", "nowhere", labels=labels),
    )
    found = mesh.plan().chosen.resolved[ORDERS]
    assert [demand.source.id for demand in found.demands] == [WEB]
    assert len(found.left_out) == 1
    assert "shop/shy" in found.left_out[0]


@pytest.mark.parametrize(
    ("silent", "expected"),
    [((), "shop/db2"), (("shop/db2",), DB)],
    ids=["the-nearest-of-those-heard", "silent-ones-are-avoided"],
)
def test_destinations_that_are_heard_are_preferred(silent: tuple[str, ...], expected: str) -> None:
    mesh = Mesh.of(intent_body(), workload_body("db2", "lon", services=[{"name": "db"}]))
    near = Beacon(probes={"mesh/lon": ProbeReport(answering=True, rtt_ms=1.0)})
    mesh.observed = replace(mesh.observed, beacons={**mesh.observed.beacons, "shop/db2": near})
    mesh.silence(*silent)
    (placement,) = mesh.plan().chosen.plan.placements
    assert placement.destination == expected


def test_a_resource_reported_unavailable_is_no_destination() -> None:
    mesh = Mesh.of(intent_body())
    mesh.observed = replace(mesh.observed, unavailable=frozenset({DB}))
    found = problem(mesh)
    assert found is not None
    assert found.reason == "NoCandidate"


# What cannot be carried out


def test_a_circuit_that_cannot_be_recorded_is_not_set_up_and_said() -> None:
    mesh = Mesh.of(intent_body())
    (circuit,) = mesh.plan().state.circuits
    fresh = Mesh.of(intent_body())
    fresh.decision = mesh.decision
    decision = fresh.progress(refused={circuit.id: "HTTP 422"})
    assert decision.state.circuits == ()
    assert decision.unserved[ORDERS, WEB] == Problem(
        "CircuitRefused", f"circuit {circuit.id} cannot be recorded: HTTP 422"
    )
    assert decision.circuit_of(decision.chosen.plan.placements[0]) == ""


def test_a_circuit_without_a_number_is_said() -> None:
    blocks = msgspec.structs.replace(Settings().blocks, circuits="100.96.0.0/31")
    settings = msgspec.structs.replace(Settings(), blocks=blocks)
    mesh = Mesh.of(intent_body(), intent_body("batch", profile="Cost"), settings=settings)
    decision = mesh.plan()
    assert [problem.reason for problem in decision.unserved.values()] == ["AddressesExhausted"]
    assert len(decision.state.circuits) == 1


def test_a_workload_without_an_address_is_said() -> None:
    blocks = msgspec.structs.replace(Settings().blocks, mesh="100.64.0.0/24")
    settings = msgspec.structs.replace(Settings(), blocks=blocks)
    decision = Mesh.of(intent_body(), settings=settings).plan()
    assert decision.unserved[ORDERS, WEB].reason == "NotServed"
    assert "no mesh address" in decision.unserved[ORDERS, WEB].message


# Those who leave


def test_who_is_gone_is_told_to_take_everything_down_and_forgotten_after_that() -> None:
    mesh = Mesh.of(intent_body())
    mesh.settle()
    mesh.forget("resources", "mesh/par")
    decision = mesh.plan()
    farewell = decision.configs["mesh/par"]
    assert "mesh/par" in decision.changed
    assert (farewell.hop_peers, farewell.hop_address, farewell.attached) == ((), None, ())
    assert "mesh/par" not in mesh.progress().removed
    mesh.acknowledge("mesh/par", error="busy")
    assert "mesh/par" not in mesh.progress().removed
    mesh.acknowledge("mesh/par")
    assert mesh.progress().removed == ("mesh/par",)
    assert "mesh/par" not in mesh.observed.configs
    decision = mesh.progress()
    assert "mesh/par" not in (*decision.changed, *decision.removed)


def test_an_intent_that_goes_takes_its_circuit_down_step_by_step() -> None:
    mesh = Mesh.of(intent_body())
    mesh.settle()
    mesh.forget("intents", ORDERS)
    mesh.plan()
    assert set(mesh.states.values()) == {LabelState.DRAINING}
    mesh.acknowledge("mesh/ams", "mesh/lon")
    mesh.progress()
    assert mesh.circuit.status.labels, "fra has not said that it gave the label up"
    mesh.acknowledge("mesh/fra")
    mesh.progress()
    assert mesh.circuit.status.labels == ()
    mesh.settle()
    assert not mesh.declared.circuits
    assert not any(config.circuits or config.transits for config in mesh.observed.configs.values())


# Records that are lost


@pytest.mark.parametrize("lost", ["object", "status"])
def test_a_circuit_whose_record_is_lost_goes_on_as_it_is(lost: str) -> None:
    mesh = Mesh.of(intent_body())
    configs, circuit = mesh.settle().configs, mesh.circuit
    gone = {} if lost == "object" else {circuit.id: msgspec.structs.replace(circuit, status=type(circuit.status)())}
    mesh.declared = replace(mesh.declared, circuits=gone)
    decision = mesh.plan()
    assert decision.configs == configs
    assert [as_used(one) for one in mesh.circuit.status.labels] == [as_used(one) for one in circuit.status.labels]
    assert mesh.circuit.status.number == circuit.status.number


def as_used(label: LabelAllocation) -> LabelAllocation:
    """A label but for the epoch, which configs do not tell."""
    return msgspec.structs.replace(label, epoch=0)


def test_a_circuit_collected_with_its_intent_still_drains_in_order() -> None:
    """Kubernetes deletes the Circuit with the last Intent that owns it, while its labels run."""
    mesh = Mesh.of(intent_body())
    mesh.settle()
    mesh.forget("intents", ORDERS)
    mesh.declared = replace(mesh.declared, circuits={})
    mesh.plan()
    assert set(mesh.states.values()) == {LabelState.DRAINING}
    assert mesh.observed.configs["mesh/lon"].transits, "the transit relays it until both ends gave it up"
    mesh.settle()
    assert not mesh.declared.circuits
    assert not any(config.transits for config in mesh.observed.configs.values())


def test_recovery_reads_back_what_was_recorded_wherever_it_starts() -> None:
    mesh = Mesh.of(intent_body())
    mesh.settle()
    circuit = mesh.circuit
    blocks = mesh.settings.blocks
    for kept in ("mesh/ams", "mesh/fra"):
        others = {id_: one for id_, one in mesh.observed.configs.items() if id_ == kept or not one.circuits}
        found = recover(others, {}, blocks, classes=[circuit.spec.class_])[circuit.id]
        assert found.spec.class_ == circuit.spec.class_
        assert (found.spec.from_, found.spec.to) == (circuit.spec.from_, circuit.spec.to)
        assert found.status.number == circuit.status.number
    found = recover(mesh.observed.configs, {}, blocks)[circuit.id]
    assert [as_used(one) for one in found.status.labels] == [as_used(one) for one in circuit.status.labels]
    assert found.spec.class_.startswith("unknown-")


def test_recovery_touches_no_circuit_on_record() -> None:
    mesh = Mesh.of(intent_body())
    mesh.settle()
    recorded = mesh.declared.circuits
    assert recover(mesh.observed.configs, recorded, mesh.settings.blocks) == recorded


# Workloads held to their gateways


def test_policies_name_the_workload_they_are_for() -> None:
    api = ApiSettings(address="203.0.113.200:8443")
    for flavour, first in (("Kubernetes", WEB), ("Calico", "")):
        settings = msgspec.structs.replace(Settings(), api=api, network_policies=flavour)
        pinned = Mesh.of(settings=settings).plan().pinned
        assert {one.workload for one in pinned} == {first, DB, WEB}
        assert next(iter(pinned)).workload in (first, DB)


@pytest.mark.parametrize(
    "settings",
    [
        Settings(),
        msgspec.structs.replace(Settings(), network_policies="None", api=ApiSettings(address="203.0.113.200:8443")),
        msgspec.structs.replace(Settings(), api=ApiSettings(address="api.example:8443")),
    ],
    ids=["where-the-api-is-not-known", "where-none-are-wanted", "where-the-api-is-a-name"],
)
def test_nobody_is_pinned(settings: Settings) -> None:
    assert Mesh.of(settings=settings).plan().pinned == ()


def test_a_workload_without_an_agent_is_not_pinned() -> None:
    settings = msgspec.structs.replace(Settings(), api=ApiSettings(address="203.0.113.200:8443"))
    mesh = Mesh.of(settings=settings)
    known = {id_: one for id_, one in mesh.observed.registrations.items() if id_ != WEB}
    mesh.observed = replace(mesh.observed, registrations=known)
    assert {one.workload for one in mesh.plan().pinned} == {DB}
