"""Planning from files: forecasts from what they hold, and decisions carried on until nothing is on its way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from cli.planning import INPUT, THREE_CLOUDS
from foremesh.agent.desired import check
from foremesh.files import Bundle, read_bundle
from foremesh.model.addresses import Blocks
from foremesh.model.circuit import LabelState
from foremesh.model.link import LinkId
from foremesh.model.series import Flow, Metric, SeriesKey
from foremesh.offline import forecasts_of, installed_settings, plan_bundle
from foremesh.settings import Settings
from foremesh.telemetry import Samples

NOW_S = 1_900_000_000.0
LINK, OTHER = LinkId(src="lab/ams", dst="lab/fra"), LinkId(src="lab/fra", dst="lab/ams")
SETTINGS = installed_settings()


def samples(values: list[float], step_s: float, *, end_s: float = NOW_S) -> Samples:
    return Samples(end_s - step_s * np.arange(len(values) - 1, -1, -1.0), np.array(values))


def bundle(series: Mapping[SeriesKey, Samples], metric: Metric = Metric.RTT) -> Bundle:
    return replace(read_bundle(INPUT / "plan-in-place"), series={metric: series}, now_s=NOW_S)


def noise(count: int, middle: float) -> list[float]:
    return list(np.random.default_rng(1).normal(middle, 0.5, count))


def test_a_single_figure_is_held_without_a_spread() -> None:
    forecast = forecasts_of(bundle({LINK: samples([12.0], 60)}), SETTINGS).by_metric[Metric.RTT]
    figure = forecast.figure(LINK)
    assert figure is not None
    assert (figure.median, figure.pessimistic, forecast.model(LINK)) == (12.0, 12.0, "last")


@pytest.mark.parametrize(
    "series",
    [
        pytest.param({}, id="no-series"),
        pytest.param({LINK: samples([float("nan")], 60)}, id="a-probe-that-was-lost"),
        pytest.param({LINK: samples([], 60)}, id="no-samples"),
        pytest.param({LINK: samples([12.0], 60, end_s=NOW_S - 3600)}, id="a-figure-an-hour-old"),
        pytest.param({LINK: samples([12.0] * 90, 60, end_s=NOW_S - 3600)}, id="a-history-that-ended-an-hour-ago"),
    ],
)
def test_what_is_not_measured_is_unknown(series: Mapping[SeriesKey, Samples]) -> None:
    given = bundle({**series, OTHER: samples(noise(90, 20.0), 60)})
    forecast = forecasts_of(given, SETTINGS).by_metric[Metric.RTT]
    assert forecast.figure(LINK) is None
    assert forecast.figure(OTHER) is not None
    link = next(one for one in plan_bundle(given, SETTINGS).chosen.graph.links if one.id == LINK)
    assert (link.rtt_ms, link.forecast_model) == (None, "")


@pytest.mark.parametrize("step_s", [15, 60, 600, 3600], ids=lambda step_s: f"{step_s}s")
def test_a_history_of_any_step_is_forecast(step_s: int) -> None:
    """Recordings are coarser than what the operator reads; samples an hour apart are no reason to know nothing."""
    forecasts = forecasts_of(bundle({LINK: samples(noise(400, 30.0), step_s)}), SETTINGS)
    figure = forecasts.by_metric[Metric.RTT].figure(LINK)
    assert figure is not None
    assert 29 < figure.median < 31
    assert figure.pessimistic > figure.median
    assert forecasts.newest_s == NOW_S


def test_a_jump_in_a_history_is_followed() -> None:
    forecast = forecasts_of(bundle({LINK: samples([*noise(300, 30.0), *noise(10, 80.0)], 60)}), SETTINGS)
    figure = forecast.by_metric[Metric.RTT].figure(LINK)
    assert figure is not None
    assert 75 < figure.median < 85


def test_single_figures_and_histories_stand_side_by_side() -> None:
    given = bundle({LINK: samples([12.0], 60), OTHER: samples(noise(90, 20.0), 60)})
    forecast = forecasts_of(given, SETTINGS).by_metric[Metric.RTT]
    assert [round(figure.median) for key in (LINK, OTHER) if (figure := forecast.figure(key))] == [12, 20]


def test_a_share_is_never_over_1() -> None:
    forecast = forecasts_of(bundle({LINK: samples([1.0], 60)}, Metric.LOSS), SETTINGS).by_metric[Metric.LOSS]
    figure = forecast.figure(LINK)
    assert figure is not None
    assert figure.pessimistic == 1.0


@pytest.mark.parametrize("folder", [THREE_CLOUDS, INPUT / "plan-in-place"], ids=lambda folder: folder.name)
def test_configs_are_such_that_agents_would_apply_them_and_nothing_is_on_its_way(folder) -> None:
    decision = plan_bundle(read_bundle(folder), SETTINGS)
    for config in decision.configs.values():
        check(config)
    standbys = {circuit.id: circuit.standby for circuit in decision.desired.circuits}
    assert any(standbys.values())
    for circuit in decision.state.circuits:
        wanted = {LabelState.ACTIVE} | ({LabelState.STANDBY} if standbys[circuit.id] else set())
        assert {label.state for label in circuit.labels} == wanted
        assert all(pair.steered for pair in circuit.pairs)


def test_what_is_on_record_keeps_its_numbers() -> None:
    decision = plan_bundle(read_bundle(INPUT / "plan-in-place"), SETTINGS)
    numbers = {circuit.id: (circuit.number, circuit.class_number) for circuit in decision.state.circuits}
    assert numbers == {"lab/ams-fra-27f30d97": (7, 3), "lab/ams-fra-69e96c79": (8, 4)}


def test_planning_again_from_what_was_decided_changes_nothing() -> None:
    given = read_bundle(THREE_CLOUDS)
    first = plan_bundle(given, SETTINGS)
    again = plan_bundle(given, SETTINGS, before=first)
    assert (again.changed, again.removed) == ((), ())
    assert again.state.circuits == first.state.circuits


def test_equal_bundles_give_equal_decisions() -> None:
    one, other = (plan_bundle(read_bundle(THREE_CLOUDS), SETTINGS) for _ in range(2))
    assert one.configs == other.configs
    assert one.chosen.plan == other.chosen.plan


def test_without_a_mesh_api_to_reach_nothing_is_pinned() -> None:
    assert plan_bundle(read_bundle(THREE_CLOUDS), Settings()).pinned == ()


def test_circuits_without_an_address_left_are_reported_and_the_plan_is_made() -> None:
    small = Settings(blocks=Blocks(circuits="100.96.0.0/31"))
    decision = plan_bundle(read_bundle(THREE_CLOUDS), small)
    assert len(decision.state.circuits) == 1
    assert {problem.reason for problem in decision.unserved.values()} == {"AddressesExhausted"}


def test_circuits_without_a_label_left_do_not_hold_the_plan_up() -> None:
    small = Settings(blocks=Blocks(labels="100.112.0.0/31"))
    decision = plan_bundle(read_bundle(THREE_CLOUDS), small)
    assert sum(bool(circuit.labels) for circuit in decision.state.circuits) == 1


RUNNING = "lab/ams-fra-69e96c79"
THERE, BACK = (Flow(src=f"lab/{a}", dst=f"lab/{b}", circuit=RUNNING) for a, b in (("ams", "fra"), ("fra", "ams")))
BY_PAR = LinkId(src="lab/ams", dst="lab/par")


def in_use(demand_bps: float) -> Bundle:
    """A circuit that has carried so much for two hours, and the link that it runs over with a tenth more."""
    given = read_bundle(INPUT / "plan-in-place")
    rates = {THERE: samples([demand_bps] * 120, 60), BACK: samples([0.0] * 120, 60)}
    counted = {BY_PAR: samples([1.1 * demand_bps] * 120, 60)}
    return replace(given, series={**given.series, Metric.DEMAND: rates, Metric.THROUGHPUT: counted}, now_s=NOW_S)


def test_a_link_carries_what_its_circuits_do_and_the_rest() -> None:
    forecasts = forecasts_of(in_use(4e8), SETTINGS).by_metric
    figure = forecasts[Metric.THROUGHPUT].figure(BY_PAR)
    assert figure is not None
    assert figure.median == pytest.approx(4.4e8)
    assert forecasts[Metric.THROUGHPUT].reason(BY_PAR).startswith("sum: 1 circuit by last; the rest by last")
    free = next(one for one in plan_bundle(in_use(4e8), SETTINGS).chosen.graph.links if one.id == BY_PAR)
    assert free.free_bps is not None
    assert free.capacity_bps is not None
    assert free.free_bps.median == pytest.approx(free.capacity_bps - 4.4e8)
