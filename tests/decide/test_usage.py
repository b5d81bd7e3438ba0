"""Demand of circuits, and what links carry: counted once, wherever circuits run and have run."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foremesh.decide.usage import Carried, added, beside, carried, expected, pairs, total, with_demand
from foremesh.forecast import quantile_forecast
from foremesh.model.circuit import Circuit, CircuitSpec, CircuitStatus, LabelAllocation, LabelState
from foremesh.model.forecast import QUANTILES, UNKNOWN, Forecast
from foremesh.model.link import LinkId
from foremesh.model.meta import Meta
from foremesh.model.series import Floats, Flow, Metric, SeriesBatch, SeriesKey

NOW_S = 1_700_000_000.0
STEP_S = 300.0
DAY = 288
AMS, FRA, LON = "mesh/ams", "mesh/fra", "mesh/lon"
AMS_LON, LON_FRA, AMS_FRA = (
    LinkId(src=src, dst=dst, underlay="internet") for src, dst in ((AMS, LON), (LON, FRA), (AMS, FRA))
)
THERE = Flow(src=AMS, dst=FRA, circuit="mesh/c")
BACK = Flow(src=FRA, dst=AMS, circuit="mesh/c")
OTHER = Flow(src=AMS, dst=FRA, circuit="mesh/d")


def circuit(*labels: LabelAllocation, name: str = "c") -> Circuit:
    return Circuit(
        meta=Meta(name=name, namespace="mesh"),
        spec=CircuitSpec(from_=AMS, to=FRA, class_="x"),
        status=CircuitStatus(labels=labels, path=labels[0].path if labels else ()),
    )


def label(*path: str, state: LabelState = LabelState.ACTIVE, epoch: int = 0) -> LabelAllocation:
    return LabelAllocation(number=1, state=state, path=path, epoch=epoch)


def batch(metric: Metric, rows: dict[SeriesKey, Floats], *, end_s: float = NOW_S) -> SeriesBatch:
    return SeriesBatch(metric, tuple(rows), np.array([*rows.values()]), STEP_S, end_s)


def forecast(metric: Metric, rows: dict[SeriesKey, tuple[float, float, float]], *, unknown: object = None) -> Forecast:
    values = np.array([[rows[key][q]] * 2 for q in range(3) for key in rows]).reshape(3, len(rows), 2)
    models = tuple(UNKNOWN if key == unknown else "last" for key in rows)
    values[:, [model == UNKNOWN for model in models]] = np.nan
    return Forecast(metric, tuple(rows), 60.0, NOW_S, values, models, tuple(f"why {key}" for key in rows))


def test_a_circuit_runs_over_every_link_of_its_active_label_both_ways() -> None:
    on = carried([circuit(label(AMS, LON, FRA, epoch=7), label(AMS, FRA, state=LabelState.STANDBY, epoch=9))])
    assert on == {
        AMS_LON: Carried((THERE,), 7),
        AMS_LON.reverse: Carried((BACK,), 7),
        LON_FRA: Carried((THERE,), 7),
        LON_FRA.reverse: Carried((BACK,), 7),
    }


def test_the_newest_change_on_a_link_is_the_one_that_counts() -> None:
    on = carried([circuit(label(AMS, FRA, epoch=7)), circuit(label(AMS, FRA, epoch=3), name="d")])
    assert on[AMS_FRA] == Carried((THERE, OTHER), 7)


def test_what_is_left_of_a_link_is_never_negative_and_unknown_before_the_circuits_came() -> None:
    counted = batch(Metric.THROUGHPUT, {AMS_FRA: np.array([9.0, 9.0, 30.0, 31.0, 20.0]), AMS_LON: np.ones(5)})
    sent = batch(Metric.DEMAND, {THERE: np.array([10.0, 20.0, 25.0, np.nan, 25.0])})
    on = {AMS_FRA: Carried((THERE, OTHER), NOW_S - 2 * STEP_S - 1)}
    settled, loose = (beside(counted, sent, on, settled=one).values for one in (True, False))
    assert settled[0] == pytest.approx([np.nan, np.nan, 5, np.nan, 0], nan_ok=True)
    assert loose[0] == pytest.approx([0, 0, 5, np.nan, 0], nan_ok=True)
    assert (settled[1] == 1).all()
    assert beside(counted, sent, {}, settled=True) is counted
    elsewhere = {AMS_FRA: Carried((OTHER,), NOW_S)}
    assert (beside(counted, sent, elsewhere, settled=True).values == counted.values).all(), "nobody measures it"


def test_pasts_of_other_times_say_nothing() -> None:
    counted = batch(Metric.THROUGHPUT, {AMS_FRA: np.full(5, 9.0)})
    sent = batch(Metric.DEMAND, {THERE: np.full(5, 4.0)}, end_s=NOW_S - STEP_S)
    found = beside(counted, sent, {AMS_FRA: Carried((THERE,), 0.0)}, settled=True)
    assert np.isnan(found.values).all()


def test_a_link_carries_its_circuits_and_the_rest_and_says_so() -> None:
    rest = forecast(Metric.THROUGHPUT, {AMS_FRA: (1.0, 4.0, 7.0), AMS_LON: (1.0, 1.0, 1.0)})
    demand = forecast(Metric.DEMAND, {THERE: (6.0, 10.0, 14.0), OTHER: (1.0, 1.0, 1.0)})
    found = with_demand(rest, demand, {AMS_FRA: Carried((THERE, OTHER), 0.0)})
    figure = found.figure(AMS_FRA)
    assert figure is not None
    assert (figure.median, figure.pessimistic) == pytest.approx((15.0, 15 + np.hypot(3, 4)))
    assert found.model(AMS_FRA) == "sum"
    assert found.reason(AMS_FRA) == f"sum: 2 circuits by last; the rest by why {AMS_FRA}"
    assert found.model(AMS_LON) == "last"


def test_what_is_unknown_of_a_link_stays_unknown_and_an_unknown_flow_is_in_the_rest() -> None:
    rest = forecast(Metric.THROUGHPUT, {AMS_FRA: (1.0, 2.0, 5.0), AMS_LON: (1.0, 1.0, 1.0)}, unknown=AMS_FRA)
    demand = forecast(Metric.DEMAND, {THERE: (6.0, 10.0, 14.0)}, unknown=THERE)
    on = {AMS_FRA: Carried((THERE,), 0.0), AMS_LON: Carried((THERE,), 0.0)}
    found = with_demand(rest, demand, on)
    assert found.figure(AMS_FRA) is None
    assert found.model(AMS_LON) == "last"


parts = st.lists(st.tuples(*[st.floats(0, 1e9)] * 3).map(sorted), min_size=1, max_size=5)


@given(parts)
def test_quantiles_of_a_sum_are_ordered_and_no_wider_than_the_parts_together(given: list[list[float]]) -> None:
    values = np.array(given).T[:, :, None]
    low, middle, high = added(values, QUANTILES)[:, 0]
    slack = 1e-6 * (1 + values.sum())
    assert 0 <= low <= middle + slack
    assert middle <= high + slack
    assert high - low <= (values[2] - values[0]).sum() + slack


@given(parts)
def test_one_part_is_its_own_sum_and_even_ones_add_up(given: list[list[float]]) -> None:
    values = np.array(given).T[:, :, None]
    assert added(values[:, :1], QUANTILES) == pytest.approx(values[:, 0], rel=1e-6, abs=1e-3)
    even = np.concatenate([values[:1], (values[:1] + values[2:]) / 2, values[2:]])
    assert added(even, QUANTILES)[1] == pytest.approx(even[1].sum(axis=0), rel=1e-6, abs=1e-3)


@pytest.mark.parametrize("spread", [0.1, 0.3, 0.5], ids=["even", "skewed", "very-skewed"])
@pytest.mark.parametrize("count", [2, 5, 20])
def test_as_many_sums_lie_within_the_quantiles_as_should(spread: float, count: int) -> None:
    """Parts of one skewed distribution, drawn a hundred thousand times, against their sum."""
    drawn = np.random.default_rng(1).lognormal(0, spread, (100_000, count))
    each = np.quantile(drawn, QUANTILES, axis=0)[:, :, None]
    low, middle, high = added(each, QUANTILES)[:, 0]
    sums = drawn.sum(axis=1)
    assert np.mean((sums >= low) & (sums <= high)) == pytest.approx(0.8, abs=0.06)
    assert np.mean(sums > high) == pytest.approx(0.1, abs=0.05)
    assert np.mean(sums > middle) == pytest.approx(0.5, abs=0.05)


def test_pairs_and_the_mesh_add_up() -> None:
    demand = forecast(
        Metric.DEMAND,
        {THERE: (1.0, 4.0, 7.0), OTHER: (1.0, 5.0, 9.0), BACK: (1.0, 1.0, 1.0)},
        unknown=BACK,
    )
    by_pair, mesh = pairs(demand), total(demand)
    figure = by_pair.figure(Flow(src=AMS, dst=FRA, circuit=""))
    assert figure is not None
    assert (figure.median, figure.pessimistic) == pytest.approx((9.0, 14.0))
    assert by_pair.figure(Flow(src=FRA, dst=AMS, circuit="")) is None
    assert mesh.reason("") == "sum: 2 of 3 flows are known"
    assert mesh.figure("") == figure
    assert total(forecast(Metric.DEMAND, {})).keys == ()


def test_what_circuits_are_expected_to_carry_is_known_only_if_both_ways_are() -> None:
    one, other = circuit(label(AMS, FRA)), circuit(label(AMS, FRA), name="d")
    demand = forecast(Metric.DEMAND, {THERE: (1.0, 2.0, 5.0), BACK: (0.0, 1.0, 2.0), OTHER: (1.0, 3.0, 7.0)})
    assert expected(demand, [one, other]) == {"mesh/c": (2.0, 1.0)}
    assert expected(None, [one]) == {}


@settings(max_examples=5)
@given(st.integers(0, 10**6))
def test_a_circuit_that_moved_brings_its_rhythm_along(seed: int) -> None:
    """A day's rhythm in a circuit that came to a link an hour ago: the link's own past knows nothing of it. Six hours
    ahead the demand is several times what it is now, and the sum sees it come."""
    random = np.random.default_rng(seed)
    times_s = NOW_S - STEP_S * np.arange(7 * DAY - 1, -1, -1)
    phase = 2 * np.pi * (times_s - NOW_S) / 86400.0

    def sent(ahead_s: float) -> float:
        return 300e6 - 250e6 * np.cos(2 * np.pi * ahead_s / 86400.0)

    demand = 300e6 - 250e6 * np.cos(phase) + random.normal(0, 3e6, len(times_s))
    here = times_s > NOW_S - 3600
    counted = 5e6 + np.where(here, demand * 1.04, 0.0) + random.normal(0, 1e5, len(times_s))
    throughput = batch(Metric.THROUGHPUT, {AMS_FRA: counted})
    flows = batch(Metric.DEMAND, {THERE: demand})
    on = {AMS_FRA: Carried((THERE,), NOW_S - 3600)}
    horizon = {"horizon_s": 21_600.0, "step_s": 3600.0}
    predicted = with_demand(
        quantile_forecast(
            beside(throughput, flows, on, settled=False), past=beside(throughput, flows, on, settled=True), **horizon
        ),
        quantile_forecast(flows, past=flows, **horizon),
        on,
    )
    alone = quantile_forecast(throughput, past=throughput, **horizon)
    truth = sent(21_600.0) * 1.04 + 5e6
    at_once = abs(predicted.values[1, 0, -1] - truth)
    assert at_once < 0.15 * truth
    assert at_once < 0.3 * abs(alone.values[1, 0, -1] - truth)
