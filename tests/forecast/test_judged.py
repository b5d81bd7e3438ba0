"""Backtests are done once, and again every few hours: never for a forecast, and never because of who asked before."""

import numpy as np
import pytest

from foremesh.forecast import judged, quantile_forecast
from foremesh.forecast.judged import REJUDGE_S
from foremesh.model.series import Metric, SeriesBatch

from .made import COARSE_S, WEEK, daily, noisy, random_walk, times

BLOCK_S = 1_700_000_000.0 // REJUDGE_S * REJUDGE_S
"""A full block of the clock."""

BLOCK = round(REJUDGE_S / COARSE_S)
"""Samples of one."""

SERIES = np.array([daily(times(WEEK + 100)), noisy(WEEK + 100), random_walk(WEEK + 100)])


def past(later: int, *, off_s: float = 0.0) -> SeriesBatch:
    """A week that ends so many samples after the full block."""
    values = SERIES[:, later : later + WEEK]
    return SeriesBatch(Metric.RTT, ("a", "b", "c"), values, COARSE_S, BLOCK_S + later * COARSE_S + off_s)


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Nothing is remembered from before; holds one item per backtest."""
    counted: list[int] = []
    judge = judged.judge
    monkeypatch.setattr(judged, "judge", lambda *args, **named: (counted.append(1), judge(*args, **named))[1])
    judged.forget()
    return counted


def test_a_past_that_moved_on_by_half_an_hour_is_not_judged_again(forgotten: list[int]) -> None:
    for later in (0, 6, 12, BLOCK - 1):
        quantile_forecast(past(later), horizon_s=600)
    assert len(forgotten) == 1
    quantile_forecast(past(BLOCK), horizon_s=600)
    assert len(forgotten) == 2


@pytest.mark.parametrize("later", [0, 7, BLOCK - 1, BLOCK])
def test_who_asked_before_makes_no_difference(later: int) -> None:
    alone = quantile_forecast(past(later), horizon_s=600)
    judged.forget()
    for before in range(0, later, 5):
        quantile_forecast(past(before), horizon_s=600)
    after = quantile_forecast(past(later), horizon_s=600)
    # One sample at a time, linear algebra adds up in another order: the last digit of single precision.
    np.testing.assert_allclose(after.values, alone.values, rtol=1e-6)
    assert tuple(after.reasons) == tuple(alone.reasons)


def test_another_horizon_other_samples_or_another_grid_is_judged_for_itself(forgotten: list[int]) -> None:
    quantile_forecast(past(3), horizon_s=600)
    quantile_forecast(past(3), horizon_s=1200)
    assert len(forgotten) == 2
    other = SeriesBatch(Metric.RTT, ("a", "b", "c"), past(3).values + 1, COARSE_S, past(3).end_s)
    quantile_forecast(other, horizon_s=600)
    assert len(forgotten) == 3
    quantile_forecast(past(9, off_s=17.0), horizon_s=600)
    assert len(forgotten) == 4


def test_a_short_past_is_judged_whole() -> None:
    values = SERIES[:, : WEEK // 7]
    short = SeriesBatch(Metric.RTT, ("a", "b", "c"), values, COARSE_S, BLOCK_S + 5 * COARSE_S)
    assert (judged.judged(short, 600.0).known == WEEK // 7).all()
    assert (judged.judged(past(5), 600.0).known == WEEK - REJUDGE_S / COARSE_S).all()


def test_reasons_are_written_when_read(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = quantile_forecast(past(0), horizon_s=600)
    judgement = judged.judged(past(0), 600.0)
    monkeypatch.setattr(type(judgement), "why", lambda *_: "written now")
    assert answer.reason("a") == "written now"
    assert answer.reasons[1:] == ("written now", "written now")
    with pytest.raises(IndexError):
        answer.reasons[3]
