"""The gate: which forecaster a series gets, and that nothing wins by luck."""

from concurrent.futures import Executor
from pathlib import Path

import numpy as np
import pytest

from foremesh.forecast import FittedModels, quantile_forecast, refit
from foremesh.model.forecast import Forecast
from foremesh.model.series import Metric, SeriesBatch

from .made import COARSE_S, DAY_S, NOW_S, WEEK, batch, daily, knowing, noisy, random_walk, times, wave

HOUR_S = 3600.0


async def forecast(pool: Executor, past: SeriesBatch, horizon_s: float) -> Forecast:
    fitted = await refit(FittedModels(), past, pool=pool, horizon_s=horizon_s)
    return quantile_forecast(past, horizon_s=horizon_s, fitted=fitted)


def test_a_daily_rhythm_is_learnt_without_any_fit() -> None:
    past = batch(daily(times()), np.roll(daily(times()), 70))
    answer = quantile_forecast(past, horizon_s=6 * HOUR_S)
    assert answer.models == ("additive", "additive")
    came = daily(NOW_S + COARSE_S * np.arange(1, 73), noise=0)
    low, middle, high = answer.values[:, 0]
    assert np.abs(middle - came).mean() < 2
    assert np.mean((low < came) & (came < high)) > 0.9
    assert np.ptp(came) > 25, "a day's swing lies ahead, so holding the newest sample would not do"
    assert answer.reasons[0].startswith("additive: mean error ")
    assert " ms of last in backtests of 0.7" in answer.reasons[0]


def test_a_fit_that_knows_more_is_used() -> None:
    past, fitted = batch(wave(times())), knowing(wave)
    answer = quantile_forecast(past, horizon_s=3 * HOUR_S, fitted=fitted)
    assert answer.models == ("prophet",)
    came = wave(NOW_S + COARSE_S * np.arange(1, 37), noise=0)
    assert np.abs(answer.values[1, 0] - came).mean() < 1
    assert np.ptp(came) > 25


@pytest.mark.parametrize("seed", range(6))
async def test_a_random_walk_is_held(pool: Executor, seed: int) -> None:
    answer = await forecast(pool, batch(random_walk(seed=seed)), 300)
    assert answer.models == ("last",)
    assert "not beaten" in answer.reasons[0]
    assert "prophet" in answer.reasons[0], "it took part and lost"


async def test_noise_is_smoothed_and_needs_no_prophet(pool: Executor) -> None:
    answer = await forecast(pool, batch(*[noisy(seed=seed) for seed in range(4)]), 600)
    assert set(answer.models) <= {"median", "additive"}
    assert answer.values[1] == pytest.approx(40, abs=0.8)


def test_quantiles_cover_what_they_say() -> None:
    inside = []
    for seed in range(40):
        series = noisy(WEEK + 12, seed=seed)
        answer = quantile_forecast(batch(series[:WEEK]), horizon_s=HOUR_S)
        low, _, high = answer.values[:, 0]
        inside.append((low < series[WEEK:]) & (series[WEEK:] < high))
    assert 0.72 < np.mean(inside) < 0.88


@pytest.mark.parametrize(
    ("metric", "scale", "shown"),
    [(Metric.RTT, 1.0, " ms "), (Metric.THROUGHPUT, 1e6, "Mbit/s "), (Metric.LOSS, 0.001, " % ")],
)
def test_a_reason_has_the_metrics_unit(metric: Metric, scale: float, shown: str) -> None:
    answer = quantile_forecast(batch(noisy() * scale, metric=metric), horizon_s=600)
    assert shown in answer.reasons[0]


@pytest.mark.shared
async def test_on_recorded_links_the_gate_is_not_worse_than_the_last_value(pool: Executor, shared: Path) -> None:
    """Real round-trip times: over all links the gate has to win, and on none may it lose by much."""
    import pandas as pd

    frame = pd.read_parquet(shared / "data" / "atlas_rtt_ms.parquet")
    step_s, ratios = 240.0, []
    for _, series in [*frame.groupby("series")["value"]][::4]:
        values, off, fitted = series.to_numpy(), [], FittedModels()
        for end in range(WEEK, len(values) - 120, 90):
            past = batch(values[end - WEEK : end], step_s=step_s, end_s=NOW_S + end * step_s)
            fitted = await refit(fitted, past, pool=pool, horizon_s=HOUR_S, interval_s=4 * DAY_S)
            for now in range(end, end + 90, 5):  # as in operation, a past serves for a while
                recent = batch(values[now - 15 : now], step_s=step_s, end_s=NOW_S + now * step_s)
                answer = quantile_forecast(recent, horizon_s=HOUR_S, past=past, fitted=fitted)
                off.append(np.abs([answer.values[1, 0, -1], recent.newest()[0][0]] - values[now + 14]))
        if off:
            gate, last = np.nanmean(off, axis=0)
            ratios.append(gate / last)
    assert len(ratios) >= 5
    assert np.exp(np.mean(np.log(ratios))) < 0.95
    assert max(ratios) < 1.03
