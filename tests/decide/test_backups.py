"""Circuits that take over where a site of several gateways loses one."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from controller.scene import (
    AWAY,
    DB,
    GATEWAYS,
    WEB,
    Mesh,
    forecasts,
    gateway_body,
    intent_body,
    path_of,
    policy_body,
    registration,
)
from foremesh.model.circuit import LabelState
from foremesh.model.config import GatewayConfig
from foremesh.model.mesh import PlacedCircuit
from foremesh.model.registration import ProbeReport
from foremesh.network.circuits import base_class

SITES = {"ams": "ams", "par": "ams", "fra": "fra", "lon": "fra"}
"""web may use ams and par, db fra and lon; ams > lon is the shortest way of all."""
PORTS = [{"protocol": "TCP", "ports": [5432]}]


def mesh_of(sites: dict[str, str] | None = None, **spec: object) -> Mesh:
    bodies = [gateway_body(name, location={"site": site}) for name, site in (sites or SITES).items()]
    mesh = Mesh.of(*bodies, intent_body(traffic=PORTS, **spec))
    near = {f"mesh/{name}": ProbeReport(answering=True, rtt_ms=1.0) for name in GATEWAYS}
    mesh.report(WEB, DB, probes=near)
    return mesh


def ends(circuit: PlacedCircuit) -> tuple[str, str]:
    return (circuit.spec.from_.removeprefix("mesh/"), circuit.spec.to.removeprefix("mesh/"))


def circuits(mesh: Mesh) -> dict[tuple[str, str], PlacedCircuit]:
    assert mesh.decision
    return {ends(circuit): circuit for circuit in mesh.decision.state.circuits if circuit.pairs}


def config(mesh: Mesh, id_: str) -> GatewayConfig:
    return mesh.observed.configs[id_]


def tied(mesh: Mesh, workload: str) -> set[str]:
    """Gateways that a workload is told to use for whom it talks to."""
    return {uplink.gateway for uplink in config(mesh, workload).uplinks if len(uplink.destinations) > 1}


def test_there_is_one_for_every_other_gateway_of_both_sites() -> None:
    mesh = mesh_of()
    mesh.settle()
    assert set(circuits(mesh)) == {("ams", "lon"), ("par", "lon"), ("ams", "fra")}
    assert path_of(mesh.decision) == ("mesh/ams", "mesh/lon")
    assert (tied(mesh, WEB), tied(mesh, DB)) == ({"mesh/ams"}, {"mesh/lon"})


def test_they_are_alike_and_each_is_planned_for_itself() -> None:
    mesh = mesh_of(requirements={"maxLatency": "60ms", "encryption": "HopByHop"}, profile="Latency")
    mesh.settle()
    found = circuits(mesh)
    assert len(found) == 3
    first = found["ams", "lon"].spec
    for circuit in found.values():
        spec = circuit.spec
        assert (spec.firewall, spec.encryption, spec.profile) == (first.firewall, first.encryption, first.profile)
        assert (base_class(spec.class_), spec.requirements) == (base_class(first.class_), first.requirements)
    paths = {pair: {one.state: one.path for one in circuit.labels} for pair, circuit in found.items()}
    # From par the way by ams is shorter than the direct one, and that is its standby.
    assert paths["par", "lon"] == {
        LabelState.ACTIVE: ("mesh/par", "mesh/ams", "mesh/lon"),
        LabelState.STANDBY: ("mesh/par", "mesh/fra", "mesh/lon"),
    }
    numbers = {end.circuit: end.class_number for end in config(mesh, "mesh/lon").circuits}
    assert len(set(numbers.values())) == len(numbers), "an address has one peer on an interface"


def test_one_that_does_not_meet_the_requirements_is_better_than_none() -> None:
    mesh = mesh_of(requirements={"maxLatency": "14ms"})
    mesh.settle()
    assert set(circuits(mesh)) == {("ams", "lon"), ("par", "lon"), ("ams", "fra")}


def test_what_a_policy_forbids_is_no_backup() -> None:
    mesh = mesh_of()
    mesh.declare(policy_body(avoid={"gateways": ["mesh/par"]}))
    mesh.settle()
    assert set(circuits(mesh)) == {("ams", "lon"), ("ams", "fra")}


def test_ends_are_told_what_may_take_over() -> None:
    mesh = mesh_of()
    mesh.settle()
    ids = {pair: circuit.id for pair, circuit in circuits(mesh).items()}
    told = {name: {end.circuit: end.spares for end in config(mesh, f"mesh/{name}").circuits} for name in SITES}
    assert told["ams"] == {
        ids["ams", "lon"]: (ids["ams", "fra"],),
        ids["ams", "fra"]: (ids["ams", "lon"],),
    }
    assert told["lon"] == {
        ids["ams", "lon"]: (ids["par", "lon"],),
        ids["par", "lon"]: (ids["ams", "lon"],),
    }
    assert told["par"] == {ids["par", "lon"]: ()}
    steers = [(one.circuit, one.backup) for one in config(mesh, "mesh/ams").steering]
    assert steers == [(ids["ams", "lon"], False), (ids["ams", "fra"], True)]
    assert [(one.circuit, one.backup) for one in config(mesh, "mesh/par").steering] == [(ids["par", "lon"], True)]
    for name in SITES:
        assert [one.others for one in config(mesh, f"mesh/{name}").attached] == [True]


@settings(max_examples=30)
@given(placed=st.lists(st.sampled_from(("ams", "fra", "")), min_size=4, max_size=4))
def test_whichever_gateway_is_lost_a_circuit_is_left_and_there_are_no_more_than_that_takes(placed: list[str]) -> None:
    """ams and fra always have the workloads' sites; the others are anywhere."""
    sites = {name: site or name for name, site in zip(GATEWAYS, placed, strict=True)} | {"ams": "ams", "fra": "fra"}
    mesh = mesh_of(sites)
    mesh.settle()
    near, far = ({name for name, site in sites.items() if site == end} for end in ("ams", "fra"))
    found = circuits(mesh)
    assert len(found) == len(near) + len(far) - 1
    for lost in near | far:
        left = [pair for pair in found if lost not in pair]
        assert left or near == {lost} or far == {lost}
    for first, last in product(near, far):
        # Every gateway knows what to do with what reaches it.
        steered = {(one.answers, one.backup) for one in config(mesh, f"mesh/{first}").steering if not one.answers}
        assert steered
        assert {one.answers for one in config(mesh, f"mesh/{last}").steering} == {True}
    firsts = [pair for circuit in found.values() for pair in circuit.pairs if not pair.backup]
    assert len(firsts) == 1


def test_one_with_a_single_gateway_at_each_end_has_none() -> None:
    mesh = Mesh.of(intent_body())
    mesh.settle()
    assert len(mesh.declared.circuits) == 1
    assert mesh.decision
    assert mesh.decision.chosen.backups == ()


# What becomes of them


def sending(mesh: Mesh, gateway: str) -> set[tuple[str, str]]:
    """Ends of the circuits that a gateway sends through."""
    ids = {circuit.id: ends(circuit) for circuit in mesh.decision.state.circuits} if mesh.decision else {}
    return {ids[end.circuit] for end in config(mesh, gateway).circuits if end.send_label is not None}


def test_a_circuit_is_not_taken_from_a_workload_that_may_still_use_it() -> None:
    """The API is away for one gateway and the workload; for all that is known, packets still flow between them."""
    mesh = mesh_of()
    mesh.settle()
    mesh.silence("mesh/ams", WEB)
    mesh.plan()
    for _ in range(10):
        mesh.acknowledge(*(mesh.observed.configs.keys() - {"mesh/ams", WEB}))
        mesh.progress()
    assert path_of(mesh.decision) == ("mesh/par", "mesh/fra"), "the best way without it"
    assert {("ams", "lon"), ("par", "fra")} <= sending(mesh, "mesh/lon") | sending(mesh, "mesh/fra")
    assert tied(mesh, WEB) == {"mesh/par"}
    mesh.acknowledge(WEB)
    for _ in range(10):
        mesh.acknowledge(*(mesh.observed.configs.keys() - {"mesh/ams"}))
        mesh.progress()
    assert ("ams", "lon") not in sending(mesh, "mesh/lon")


def test_the_one_that_takes_over_carries_at_once() -> None:
    mesh = mesh_of()
    mesh.forecasts = forecasts({("lon", "par"): 12.0})
    mesh.settle()
    mesh.silence("mesh/ams")
    decision = mesh.plan()
    first = circuits(mesh)["par", "lon"]
    assert [pair.backup for pair in first.pairs] == [False]
    assert any(label.state is LabelState.ACTIVE for label in first.labels)
    assert WEB in decision.changed
    assert tied(mesh, WEB) == {"mesh/par"}
    mesh.settle()
    assert ("ams", "lon") in sending(mesh, "mesh/lon"), "silence is no proof that nothing passes"


def test_one_that_does_not_carry_yet_waits_while_a_backup_does() -> None:
    mesh = mesh_of(SITES | {"lon": "lon"})
    mesh.settle()
    assert set(circuits(mesh)) == {("ams", "fra"), ("par", "fra")}
    # The near gateway that is preferred next has to be asked for before its circuit is there.
    mesh.declare(policy_body(avoid={"gateways": ["mesh/par"]}))
    mesh.settle()
    assert set(circuits(mesh)) == {("ams", "fra")}
    mesh.forget("policies", "word")
    mesh.declare(policy_body(avoid={"gateways": ["mesh/ams"]}))
    mesh.plan()
    assert tied(mesh, WEB) == {"mesh/ams"}, "the circuit from par is still being set up"
    mesh.settle()
    assert tied(mesh, WEB) == {"mesh/par"}


def test_without_telemetry_they_stay() -> None:
    mesh = mesh_of()
    mesh.settle()
    before = {pair: circuit.labels for pair, circuit in circuits(mesh).items()}
    mesh.forecasts = AWAY
    mesh.settle()
    assert {pair: circuit.labels for pair, circuit in circuits(mesh).items()} == before


def test_a_site_that_has_but_one_gateway_left_has_none() -> None:
    mesh = mesh_of()
    mesh.settle()
    mesh.declare(gateway_body("par", location={"site": "par"}), gateway_body("lon", location={"site": "lon"}))
    mesh.settle()
    assert set(circuits(mesh)) == {("ams", "fra")}
    assert all(not one.others for name in GATEWAYS for one in config(mesh, f"mesh/{name}").attached)


def test_one_without_an_agent_has_none_since_one_gateway_translates_for_it() -> None:
    function = {"type": "Function", "function": {"url": "https://198.51.100.7"}, "services": [{"name": "db"}]}
    from controller.scene import body

    mesh = mesh_of()
    mesh.declare(body("MeshResource", "db", location={"site": "fra"}, **function))
    mesh.observed = replace(
        mesh.observed,
        registrations={id_: registration(id_) for id_ in mesh.declared.resources if id_ != DB},
        beacons={id_: one for id_, one in mesh.observed.beacons.items() if id_ != DB},
    )
    mesh.settle()
    assert len(circuits(mesh)) == 1


# What the ends did


def test_the_record_follows_a_workload_that_left_its_gateway_and_then_its_word_counts() -> None:
    mesh = mesh_of()
    mesh.settle()
    mesh.report(WEB, detours={"mesh/ams": "mesh/par"})
    decision = mesh.progress()
    assert decision.outdated == f"left for another gateway: mesh/ams by {WEB}"
    mesh.plan()
    assert path_of(mesh.decision)[0] == "mesh/par"
    assert mesh.progress().outdated == ""
    mesh.settle()
    assert tied(mesh, WEB) == {"mesh/par"}
    mesh.settle()  # as it does now what it is told, it may be told something else
    assert tied(mesh, WEB) == {"mesh/ams"}


def test_the_record_follows_a_gateway_that_went_round_a_dead_one() -> None:
    mesh = mesh_of()
    mesh.settle()
    ids = {pair: circuit.id for pair, circuit in circuits(mesh).items()}
    mesh.report("mesh/ams", detours={ids["ams", "lon"]: ids["ams", "fra"]})
    assert mesh.progress().outdated
    mesh.plan()
    assert path_of(mesh.decision)[-1] == "mesh/fra"
    first, *_ = config(mesh, "mesh/ams").steering
    assert (first.circuit, first.backup) == (ids["ams", "fra"], False)


def test_a_word_about_another_gateway_changes_nothing() -> None:
    mesh = mesh_of()
    before = mesh.settle()
    mesh.report(WEB, detours={"mesh/lon": "mesh/fra"})
    mesh.plan()
    assert path_of(mesh.decision) == path_of(before)
