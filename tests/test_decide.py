"""Decisions as values: what is chosen, kept, held and said, from what is declared, observed and forecast."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from foremesh.decide import Decision, Declared, Forecasts, Observed, carry_on, decide, next_epoch
from foremesh.model.circuit import LabelState
from foremesh.model.link import LinkId
from foremesh.model.plan import Placement
from foremesh.model.registration import Acknowledgement
from foremesh.model.series import Metric, SeriesBatch
from foremesh.network.programmed import DRAIN_S
from meshes import NOW_S, RTT_MS, SETTINGS, acknowledged, declared, forecasts, observed, recorded

AWAY = Forecasts(problem="no link series from Prometheus: connection refused")


def settle(of: Declared, seen: Observed, cast: Forecasts, rounds: int = 4) -> tuple[Declared, Observed, Decision]:
    """Decide, record and acknowledge until nothing changes any more."""
    decision = decide(of, seen, cast, SETTINGS, now_s=NOW_S)
    for _ in range(rounds):
        of, seen = recorded(of, decision), acknowledged(seen, decision)
        decision = carry_on(of, seen, decision.chosen, SETTINGS, now_s=NOW_S)
    return of, seen, decision


def only(decision: Decision) -> Placement:
    (placement,) = decision.chosen.plan.placements
    return placement


def test_the_path_with_the_best_prediction_is_chosen_and_becomes_active_when_all_hops_acknowledged() -> None:
    of = declared(requirements={"maxLatency": "45ms"})
    first = decide(of, observed(of), forecasts(), SETTINGS, now_s=NOW_S)
    assert only(first).path.text == "ams > lon > fra"
    assert [label.state for label in first.state.circuits[0].labels] == [LabelState.STAGING] * 2, "and its standby"
    _, _, decision = settle(of, observed(of), forecasts())
    assert {label.path[1]: label.state for label in decision.state.circuits[0].labels} == {
        "lab/lon": LabelState.ACTIVE,
        "lab/par": LabelState.STANDBY,
    }
    assert decision.changed == ()


def test_equal_inputs_give_equal_decisions() -> None:
    of = declared()
    one, other = (decide(of, observed(of), forecasts(), SETTINGS, now_s=NOW_S) for _ in range(2))
    assert (one.chosen.plan, one.state, one.configs) == (other.chosen.plan, other.state, other.configs)


def test_a_slower_link_moves_the_circuit_to_its_standby() -> None:
    of, seen, _ = settle(declared(), observed(declared()), forecasts())
    worse = forecasts({**RTT_MS, ("ams", "lon"): 118.0})
    moved = decide(of, seen, worse, SETTINGS, now_s=NOW_S)
    assert only(moved).path.text == "ams > par > fra"
    states = {label.path[1]: label.state for label in moved.state.circuits[0].labels}
    assert states == {
        "lab/lon": LabelState.STANDBY,
        "lab/par": LabelState.ACTIVE,
        "lab/fra": LabelState.STAGING,  # the straight way is the better one to fall over to by now
    }


def test_while_telemetry_is_away_every_placement_stays() -> None:
    of, seen, before = settle(declared(), observed(declared()), forecasts())
    held = decide(of, seen, AWAY, SETTINGS, now_s=NOW_S)
    assert (only(held).destination, only(held).path.gateways) == (only(before).destination, only(before).path.gateways)
    assert held.changed == ()


def test_after_a_restart_without_telemetry_the_record_is_what_is_kept() -> None:
    of, seen, before = settle(declared(), observed(declared()), forecasts())
    held = decide(of, seen, AWAY, SETTINGS, now_s=NOW_S)
    assert only(held).path.gateways == only(before).path.gateways
    assert held.changed == ()


def test_without_telemetry_an_intent_that_was_never_placed_waits() -> None:
    of = declared()
    assert decide(of, observed(of), AWAY, SETTINGS, now_s=NOW_S).chosen.plan.placements == ()


def test_where_no_path_meets_the_requirement_traffic_takes_the_least_bad_one() -> None:
    of = declared(requirements={"maxLatency": "35ms"})
    assert only(decide(of, observed(of), forecasts(), SETTINGS, now_s=NOW_S)).path is None, "it never was placed"
    of = declared(requirements={"maxLatency": "45ms"})
    of, seen, before = settle(of, observed(of), forecasts())
    slower = decide(of, seen, forecasts({pair: ms + 20 for pair, ms in RTT_MS.items()}), SETTINGS, now_s=NOW_S)
    assert only(slower).infeasible.requirement == "maxLatency"
    assert only(slower).path.gateways == only(before).path.gateways == ("lab/ams", "lab/lon", "lab/fra")
    assert slower.changed == ()
    slow = decide(of, seen, forecasts({pair: ms + 100 for pair, ms in RTT_MS.items()}), SETTINGS, now_s=NOW_S)
    assert only(slow).infeasible.requirement == "maxLatency"
    assert only(slow).path.gateways == ("lab/ams", "lab/fra"), "236 ms by lon, 150 ms straight"


def test_an_intent_that_never_had_a_path_gets_none_that_is_too_slow() -> None:
    of = declared(requirements={"maxLatency": "20ms"})
    placement = only(decide(of, observed(of), forecasts(), SETTINGS, now_s=NOW_S))
    assert placement.path is None
    assert (placement.infeasible.asked, placement.infeasible.nearest) == ("20ms", "38ms")


def test_an_unknown_link_is_not_taken_for_a_fast_one() -> None:
    of = declared(requirements={"maxLatency": "45ms"})
    unknown = {pair: ms for pair, ms in RTT_MS.items() if pair != ("ams", "lon")}
    assert only(decide(of, observed(of), forecasts(unknown), SETTINGS, now_s=NOW_S)).path.text == "ams > par > fra"


def test_no_path_is_planned_through_a_gateway_that_fell_silent() -> None:
    of = declared()
    seen = observed(of, silent=frozenset({"lab/lon"}))
    assert only(decide(of, seen, forecasts(), SETTINGS, now_s=NOW_S)).path.text == "ams > par > fra"


@pytest.mark.parametrize(
    ("spec", "reason", "says"),
    [
        pytest.param(
            {"from": {"resource": "ghost"}}, "UnknownReference", "lab/ghost does not exist", id="from-unknown"
        ),
        pytest.param({"to": {"resource": "ghost"}}, "UnknownReference", "lab/ghost does not exist", id="to-unknown"),
        pytest.param({"to": {"service": "mail"}}, "NoCandidate", "offers service mail", id="service-nobody-offers"),
        pytest.param(
            {"from": {"selector": {"matchLabels": {"app": "x"}}}}, "NoCandidate", "app=x", id="selector-without-match"
        ),
    ],
)
def test_an_intent_about_nobody_says_why(spec: dict[str, object], reason: str, says: str) -> None:
    of = declared(**spec)
    problem = decide(of, observed(of), forecasts(), SETTINGS, now_s=NOW_S).chosen.resolved["lab/app-to-db"].problem
    assert problem.reason == reason
    assert says in problem.message


def test_a_resource_reported_unavailable_is_no_candidate() -> None:
    of = declared()
    seen = replace(observed(of), unavailable=frozenset({"lab/db"}))
    problem = decide(of, seen, forecasts(), SETTINGS, now_s=NOW_S).chosen.resolved["lab/app-to-db"].problem
    assert problem is not None
    assert problem.reason == "NoCandidate"


def test_epochs_grow_past_everything_anybody_has_heard_of_and_past_the_clock() -> None:
    of = declared()
    ack = Acknowledgement(gateway="lab/ams", epoch=int(NOW_S) + 500, revision="", applied=True)
    assert next_epoch(Observed(acks={"lab/ams": ack}), of, now_s=NOW_S) == int(NOW_S) + 501
    assert next_epoch(Observed(), of, now_s=NOW_S) == int(NOW_S)


def test_a_lost_store_is_filled_again_with_the_same_content_and_later_epochs() -> None:
    of, seen, before = settle(declared(), observed(declared()), forecasts())
    lost = replace(seen, configs={}, acks={})
    again = decide(of, lost, forecasts(), SETTINGS, now_s=NOW_S + 60)
    assert {id_: config.revision for id_, config in again.configs.items()} == {
        id_: config.revision for id_, config in before.configs.items()
    }
    assert all(again.configs[id_].epoch > config.epoch for id_, config in before.configs.items())


def test_an_intent_that_is_gone_leaves_nothing_behind_once_agents_confirmed() -> None:
    of, seen, _ = settle(declared(), observed(declared()), forecasts())
    decision = decide(replace(of, intents={}), seen, forecasts(), SETTINGS, now_s=NOW_S)
    of = replace(of, intents={})
    for step in range(6):
        of, seen = recorded(of, decision), acknowledged(seen, decision)
        decision = carry_on(of, seen, decision.chosen, SETTINGS, now_s=NOW_S + 2 * step * DRAIN_S)
    assert decision.state.circuits == ()
    assert all(not config.circuits and not config.transits for config in decision.configs.values())


def test_how_links_queue_is_learnt_from_their_past() -> None:
    """Round trips that rise with what links carry: the plan reckons with what its own traffic adds."""
    there = LinkId(src="lab/ams", dst="lab/lon")
    keys = (there, there.reverse)
    used = 0.4 + 0.3 * np.sin(np.arange(600) / 20 + np.array([[0.0], [1.0]]))
    queue_ms = (used / (1 - used)).sum(axis=0)
    past = {
        Metric.RTT: SeriesBatch(Metric.RTT, keys, np.array([10 + queue_ms, 10 + queue_ms]), 300.0, NOW_S),
        Metric.THROUGHPUT: SeriesBatch(Metric.THROUGHPUT, keys, 1e9 * used, 300.0, NOW_S),
    }
    of = declared()
    graph = decide(of, observed(of), replace(forecasts(), past=past), SETTINGS, now_s=NOW_S).chosen.graph
    learnt = {link.id: link.queueing_ms for link in graph.links if link.queueing_ms is not None}
    assert learnt == {key: pytest.approx(1.0) for key in keys}
