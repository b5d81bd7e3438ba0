"""Fits: made elsewhere, only when due, and never in the way of a forecast."""

import asyncio
import subprocess
import sys
import textwrap
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from typing import Any

import numpy as np
import pytest

from foremesh.forecast import FittedModels, quantile_forecast, refit
from foremesh.forecast.fit import EVERY_S, Fit, calmed, predicted, thinned
from foremesh.forecast.fitted import LATE, REFIT_S
from foremesh.forecast.forecasters import Curve
from foremesh.model.series import Metric, SeriesBatch

from .made import COARSE_S, DAY_S, NOW_S, WEEK, batch, daily, knowing, noisy, times

HOUR_S = 3600.0


class Inline(Executor):
    """Fits at once and remembers how often; or fails as told."""

    def __init__(self, failure: BaseException | None = None) -> None:
        self.jobs = 0
        self.failure = failure
        self.answer: Fit | None = None

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.jobs += 1
        future: Future[Any] = Future()
        if self.answer:
            future.set_result(self.answer)
        elif self.failure:
            future.set_exception(self.failure)
        else:
            future.set_result(fn(*args, **kwargs))
        return future


@pytest.fixture
def inline(monkeypatch: pytest.MonkeyPatch, pool: ProcessPoolExecutor) -> Inline:
    """Counts jobs here and has the shared process do them."""
    counting = Inline()
    counting.submit = lambda fn, /, *args: (setattr(counting, "jobs", counting.jobs + 1), pool.submit(fn, *args))[1]
    return counting


def later(past: SeriesBatch, seconds: float) -> SeriesBatch:
    return SeriesBatch(past.metric, past.keys, past.values, past.step_s, past.end_s + seconds)


async def test_a_fit_serves_until_the_interval_is_over(inline: Inline) -> None:
    past = batch(daily(times()))
    first = await refit(FittedModels(), past, pool=inline, horizon_s=600)
    assert inline.jobs == 1
    again = await refit(first, later(past, (1 - LATE) * REFIT_S - 1), pool=inline, horizon_s=600)
    assert inline.jobs == 1
    assert again.fits == first.fits
    third = await refit(again, later(past, 2 * REFIT_S), pool=inline, horizon_s=600)
    assert inline.jobs == 2
    assert third.fits != first.fits
    two = batch(daily(times()), daily(times(), seed=2))
    await refit(first, two, pool=inline, horizon_s=600)
    assert inline.jobs == 3, "only the new series"


async def test_series_take_turns() -> None:
    """After the first fits, which come at once, about as many fall due in any quarter of an hour as in any other."""
    series, round_s = 400, 900.0
    past = batch(*np.broadcast_to(daily(times()), (series, WEEK)))
    curve = knowing(daily).fits[Metric.RTT, "s0"].curve
    pool = Inline()
    fitted, jobs, at_s = FittedModels(), [], dict[str, list[float]]()
    for number in range(round(4 * REFIT_S / round_s)):
        now = later(past, number * round_s)
        until = Curve(curve.start_s, curve.step_s * 2, curve.values)
        pool.answer = Fit(until, until, 0.0, now.end_s)
        fitted, before, done = await refit(fitted, now, pool=pool, horizon_s=600), fitted, pool.jobs
        jobs.append(done - sum(jobs))
        for name, fit in fitted.fits.items():
            if fit is not before.fits.get(name):
                at_s.setdefault(str(name[1]), []).append(fit.fitted_at_s)
    rounds = round(REFIT_S / round_s)
    assert jobs[0] == series
    assert not any(jobs[1 : rounds - 2])
    usual = series / rounds
    assert all(0.3 * usual <= one <= 2 * usual for one in jobs[rounds + 1 :])
    for each in at_s.values():
        first, *later_ones = np.diff(each)
        assert (1 - LATE) * REFIT_S <= first <= 2 * REFIT_S
        assert set(later_ones) == {REFIT_S}


async def test_a_failed_fit_is_told_and_tried_again_after_the_interval() -> None:
    failing, past = Inline(RuntimeError("no convergence")), batch(daily(times()))
    fitted = await refit(FittedModels(), past, pool=failing, horizon_s=600)
    fitted = await refit(fitted, later(past, 60), pool=failing, horizon_s=600)
    assert failing.jobs == 1
    answer = quantile_forecast(past, horizon_s=600, fitted=fitted)
    assert answer.reasons[0].endswith("; prophet: fit failed: no convergence")
    await refit(fitted, later(past, REFIT_S), pool=failing, horizon_s=600)
    assert failing.jobs == 2


async def test_a_dead_pool_is_the_callers_to_replace() -> None:
    with pytest.raises(BrokenExecutor):
        await refit(FittedModels(), batch(daily(times())), pool=Inline(BrokenExecutor("killed")), horizon_s=600)


@pytest.mark.parametrize(
    ("series", "cause"),
    [
        pytest.param(daily(times(600)), "series too short (600 of 864 samples)", id="two-days"),
        pytest.param(np.where(np.arange(WEEK) < 1500, np.nan, daily(times())), "series too short", id="new-link"),
        pytest.param(np.full(WEEK, np.nan), "series too short (0 of", id="nothing-known"),
        pytest.param(np.full(WEEK, 20.0), "series is flat", id="flat"),
        pytest.param(np.where(np.arange(WEEK) % 200, 0.0, 0.5), "series is flat", id="a-few-losses"),
    ],
)
async def test_what_is_not_fitted(series: np.ndarray, cause: str) -> None:
    nobody = Inline(AssertionError("must not be asked"))
    fitted = await refit(FittedModels(), batch(series), pool=nobody, horizon_s=600)
    assert nobody.jobs == 0
    found = fitted.find(Metric.RTT, "s0", from_s=NOW_S, until_s=NOW_S + 600)
    assert isinstance(found, str)
    assert found.startswith(cause)


async def test_a_fit_past_its_use_is_not_used_and_then_dropped(inline: Inline) -> None:
    past = batch(daily(times()))
    fitted = await refit(FittedModels(), past, pool=inline, horizon_s=600)
    old = later(past, 4 * REFIT_S)
    assert "its fit is too old" in quantile_forecast(old, horizon_s=600, fitted=fitted).reasons[0]
    empty = SeriesBatch(Metric.RTT, (), np.empty((0, 0)), COARSE_S, old.end_s)
    assert (await refit(fitted, empty, pool=inline, horizon_s=600)).fits == {}


async def test_an_empty_past_forgets_no_fit(inline: Inline) -> None:
    fitted = await refit(FittedModels(), batch(daily(times())), pool=inline, horizon_s=600)
    empty = SeriesBatch(Metric.RTT, (), np.empty((0, 0)), COARSE_S, NOW_S + 60)
    assert (await refit(fitted, empty, pool=inline, horizon_s=600)).fits == fitted.fits


async def test_the_loop_runs_on_while_a_fit_does(pool: Executor) -> None:
    fitting = asyncio.create_task(refit(FittedModels(), batch(daily(times())), pool=pool, horizon_s=600))
    turns = 0
    while not fitting.done():
        turns += 1
        await asyncio.sleep(0)
    assert (await fitting).fits
    assert turns > 10


@pytest.mark.parametrize("logs", ["", "logging.basicConfig(level=logging.INFO)"], ids=["no-logs-set-up", "logs"])
def test_prophet_stays_out_of_the_operators_process_and_silent_in_its_own(logs: str) -> None:
    program = f"""
        import logging, sys
        import numpy as np
        {logs}
        import foremesh.forecast
        assert not {{"prophet", "cmdstanpy", "pandas"}} & set(sys.modules), "imported before a fit"
        from foremesh.forecast.fit import fit
        times_s = 300.0 * np.arange(1200)
        for _ in range(2):
            made = fit(np.sin(times_s / 13750) + 5, 300, times_s[-1], proof_s=86400, lookback_s=7200, ahead_s=3600)
        assert np.isfinite(made.curve.values).all()
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


async def test_the_proof_saw_nothing_of_what_it_is_judged_on(pool: Executor) -> None:
    series = daily(times(), noise=0)
    fitted = await refit(FittedModels(), batch(series), pool=pool, horizon_s=600)
    changed = np.where(times() > NOW_S - DAY_S, series + 500, series)
    other = await refit(FittedModels(), batch(changed), pool=pool, horizon_s=600)
    (one,), (two,) = fitted.fits.values(), other.fits.values()
    np.testing.assert_allclose(one.proof.values, two.proof.values, atol=0.5)
    assert not np.allclose(one.curve.values, two.curve.values, atol=0.5)


def test_fine_samples_are_merged_and_old_ones_left_out() -> None:
    fine = np.repeat(np.arange(5000.0), 20)
    values, step_s = thinned(fine, 15.0)
    assert (len(values), step_s) == (2016, 300.0)
    assert values[-1] == 4999
    coarse, step_s = thinned(np.arange(10.0), 1800.0)
    assert (coarse.tolist(), step_s) == (list(range(10)), 1800.0)


def test_spikes_do_not_bend_the_curve() -> None:
    series = daily(times(), noise=0)
    spiked = series.copy()
    spiked[np.arange(0, WEEK, 37)] += 500
    spiked[np.arange(5, WEEK, 97)] = np.nan
    calm = calmed(spiked, COARSE_S)
    known = np.isfinite(spiked)
    assert np.isfinite(calm).tolist() == known.tolist()
    assert np.abs(calm - series)[known].max() < 5
    assert np.isfinite(calmed(noisy(30), 3600.0)).all()


@pytest.mark.parametrize("days", [3, 15])
def test_what_is_predicted_is_what_prophet_predicts(days: int) -> None:
    import pandas as pd
    from prophet import Prophet

    at_s = NOW_S - 1800.0 * np.arange(48 * days)[::-1]
    model = Prophet(growth="flat", weekly_seasonality=days > 14, yearly_seasonality=False, uncertainty_samples=0)
    swing = np.sin(2 * np.pi * at_s / DAY_S) + 0.3 * np.sin(2 * np.pi * at_s / DAY_S / 7)
    model.fit(pd.DataFrame({"ds": pd.to_datetime(at_s, unit="s"), "y": 40 + 7 * swing}))
    ahead_s = NOW_S + 900.0 * np.arange(100)
    whole = model.predict(pd.DataFrame({"ds": pd.to_datetime(ahead_s, unit="s")}))
    np.testing.assert_allclose(predicted(model, ahead_s), whole["yhat"], rtol=1e-12)


async def test_a_curve_of_fine_samples_is_as_coarse_as_what_it_was_fitted_to(pool: Executor) -> None:
    (made,) = (await refit(FittedModels(), batch(daily(times(), noise=0)), pool=pool, horizon_s=600)).fits.values()
    assert made.curve.step_s == EVERY_S
    assert made.curve.end_s >= NOW_S + 600
