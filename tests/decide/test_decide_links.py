"""What agents say of links and labels: it counts at once, before any measurement shows it."""

from __future__ import annotations

import msgspec
import pytest

from controller.said import LATER, of_resource
from controller.scene import AWAY, BY_LON, BY_PAR, DIRECT, Mesh, forecasts, intent_body, path_of, policy_body
from foremesh.controller.conditions import find
from foremesh.model.circuit import LabelState
from foremesh.model.link import LinkId
from foremesh.model.registration import LinkReport
from foremesh.network.labels import PATIENCE_S, RETURN_S

ENDS = ("mesh/ams", "mesh/fra")


def settled() -> Mesh:
    mesh = Mesh.of(intent_body())
    mesh.settle()
    assert mesh.states == {BY_LON: LabelState.ACTIVE, BY_PAR: LabelState.STANDBY}
    return mesh


def links(*hops: tuple[str, str]) -> set[LinkId]:
    both = (LinkId(src=f"mesh/{a}", dst=f"mesh/{b}") for a, b in hops)
    return {way for link in both for way in (link, link.reverse)}


def hear(mesh: Mesh, *paths: tuple[str, ...], of: tuple[str, ...] = ENDS) -> None:
    """These ends hear hellos on these paths and no others."""
    numbers = [label.number for label in mesh.circuit.status.labels if label.path in paths]
    mesh.report(*of, heard=tuple(sorted(numbers)))


# Fail-over


def test_a_fail_over_is_recorded_between_plans_and_asks_for_one() -> None:
    mesh = settled()
    mesh.fall_over(*ENDS)
    decision = mesh.progress()
    assert mesh.states == {BY_PAR: LabelState.ACTIVE, BY_LON: LabelState.STANDBY}
    assert decision.outdated == f"failed over: {mesh.circuit.id}"
    assert mesh.progress().outdated.startswith("links without hellos"), "the plan does not know of them"
    mesh.plan()
    assert mesh.progress().outdated == ""


def test_a_plan_sees_a_fail_over_that_nobody_recorded_and_leaves_the_circuit_where_it_is() -> None:
    """Measurements still show the path that died as the best by far."""
    mesh = settled()
    mesh.fall_over(*ENDS)
    decision = mesh.plan()
    assert path_of(decision) == BY_PAR
    assert decision.state.circuits[0].failed_over
    assert mesh.states == {BY_PAR: LabelState.ACTIVE, BY_LON: LabelState.STANDBY, DIRECT: LabelState.STAGING}


def test_without_telemetry_a_fail_over_is_held_to_as_well() -> None:
    mesh = settled()
    mesh.forecasts = AWAY
    mesh.fall_over(*ENDS)
    assert path_of(mesh.plan()) == BY_PAR
    mesh.now_s += RETURN_S
    mesh.plan()
    assert mesh.states == {BY_PAR: LabelState.ACTIVE, BY_LON: LabelState.STANDBY}


def test_a_path_that_lives_again_is_gone_back_to_by_the_margin_and_not_at_once() -> None:
    mesh = settled()
    mesh.fall_over(*ENDS)
    mesh.progress()
    mesh.acknowledge(*mesh.observed.configs)  # hellos pass everywhere again
    assert path_of(mesh.plan()) == BY_LON
    assert mesh.states[BY_PAR] is LabelState.ACTIVE, "no reflex back"
    mesh.now_s += RETURN_S
    mesh.settle()
    assert mesh.states == {BY_LON: LabelState.ACTIVE, BY_PAR: LabelState.STANDBY}


def test_what_is_nearly_as_good_keeps_a_circuit_that_failed_over() -> None:
    mesh = settled()
    mesh.fall_over(*ENDS)
    mesh.progress()
    mesh.acknowledge(*mesh.observed.configs)
    mesh.settings = msgspec.structs.replace(
        mesh.settings, planning=msgspec.structs.replace(mesh.settings.planning, margin=0.9)
    )
    for _ in range(3):
        mesh.now_s += RETURN_S
        assert path_of(mesh.settle()) == BY_PAR
    assert mesh.states == {BY_PAR: LabelState.ACTIVE, BY_LON: LabelState.STANDBY}


# Links that pass no hellos


def test_both_paths_dead_takes_a_plan_and_gets_one() -> None:
    mesh = settled()
    mesh.now_s += PATIENCE_S
    hear(mesh)
    decision = mesh.progress()
    assert decision.outdated.startswith("links without hellos: mesh/ams->mesh/lon/internet, ")
    decision = mesh.plan()
    assert decision.chosen.silent == links(("ams", "lon"), ("lon", "fra"), ("ams", "par"), ("par", "fra"))
    assert path_of(decision) == DIRECT


@pytest.mark.parametrize(
    ("change", "silent"),
    [
        (lambda mesh: hear(mesh, BY_LON, BY_PAR), set()),
        (lambda mesh: hear(mesh, BY_LON), links(("ams", "par"), ("par", "fra"))),
        (lambda mesh: hear(mesh, BY_LON, of=("mesh/fra",)), set()),
        (lambda mesh: mesh.report("mesh/fra", heard=(), watching=False), set()),
        (lambda mesh: (hear(mesh), mesh.silence("mesh/fra")), set()),
    ],
    ids=["all-heard", "one-dead", "one-end-hears-it", "fail-over-process-down", "end-silent"],
)
def test_a_link_is_doubted_by_the_word_of_two_ends_that_watch(change: object, silent: set[LinkId]) -> None:
    mesh = settled()
    change(mesh)  # type: ignore[operator]
    assert mesh.plan().chosen.silent == silent


def test_the_first_hellos_are_given_time() -> None:
    mesh = Mesh.of(intent_body())
    mesh.plan()
    mesh.acknowledge(*mesh.observed.configs)
    mesh.progress()
    assert mesh.states[BY_LON] is LabelState.ACTIVE
    mesh.acknowledge(*mesh.observed.configs)
    hear(mesh)
    assert mesh.progress().outdated == ""
    mesh.now_s += PATIENCE_S
    assert mesh.progress().outdated != ""


# Standby


def test_a_standby_stays_while_its_gateway_is_silent_and_there_is_no_other() -> None:
    mesh = Mesh.of(intent_body(), policy_body(require={"gateways": ["mesh/lon", "mesh/par"]}))
    mesh.settle()
    mesh.silence("mesh/par")
    mesh.settle()
    assert mesh.states == {BY_LON: LabelState.ACTIVE, BY_PAR: LabelState.STANDBY}
    mesh.declare(policy_body(require={"gateways": ["mesh/lon"]}, avoid={"gateways": ["mesh/par"]}))
    mesh.settle()
    assert mesh.states == {BY_LON: LabelState.ACTIVE}, "a person's word takes it away"


def test_a_standby_does_not_wander_from_plan_to_plan() -> None:
    mesh = settled()
    numbers = {label.number for label in mesh.circuit.status.labels}
    for direct_ms in (38.0, 200.0, 38.0):
        mesh.forecasts = forecasts({("ams", "fra"): direct_ms})
        assert path_of(mesh.settle()) == BY_LON
        assert {label.number for label in mesh.circuit.status.labels} == numbers
    fresh = Mesh.of(intent_body(), forecasts=forecasts({("ams", "fra"): 38.0}))
    fresh.settle()
    assert fresh.states == {BY_LON: LabelState.ACTIVE, DIRECT: LabelState.STANDBY}, "it would have been the cheaper one"


# Links that are too narrow


def test_a_link_too_narrow_for_a_circuit_is_left_out_and_said() -> None:
    mesh = Mesh.of(intent_body())
    mesh.report("mesh/lon", links={"mesh/fra/internet": LinkReport(mtu=1320)})
    decision = mesh.settle()
    assert path_of(decision) == BY_PAR
    assert DIRECT in mesh.states, "the standby is another one, too"
    assert {link.id for link in decision.chosen.graph.links}.isdisjoint(links(("lon", "fra")))
    for name, far in (("lon", "fra"), ("fra", "lon")):
        ready = find(of_resource(mesh, f"mesh/{name}", heard_at=LATER).conditions, "Ready")
        assert ready is not None
        assert f"no path is planned over its links to mesh/{far} over internet (1320 bytes)" in ready.message
    assert {peer.gateway for peer in decision.configs["mesh/lon"].hop_peers} >= {"mesh/fra"}, "it is measured on"


def test_a_link_that_is_wide_enough_is_used() -> None:
    mesh = Mesh.of(intent_body())
    mesh.report("mesh/lon", links={"mesh/fra/internet": LinkReport(mtu=1340)})
    assert path_of(mesh.settle()) == BY_LON
    (end,) = mesh.observed.configs["mesh/ams"].circuits
    assert end.mtu == 1280
