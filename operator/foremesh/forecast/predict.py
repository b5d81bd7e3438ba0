"""The one way into this room: series in, quantiles over the horizon out. A pure function of its inputs."""

from __future__ import annotations

from collections.abc import Callable
from weakref import WeakKeyDictionary

import numpy as np

from foremesh.forecast.choose import Choice, choose, fewest_samples, row_samples
from foremesh.forecast.fit import Fit
from foremesh.forecast.fitted import FittedModels
from foremesh.forecast.forecasters import LastValue
from foremesh.forecast.levels import newest
from foremesh.model.forecast import QUANTILES, UNKNOWN, Forecast
from foremesh.model.series import Floats, Metric, SeriesBatch, SeriesKey
from foremesh.model.units import Bandwidth

LONGEST_AGE_S = 120.0
"""Seconds that a newest sample may be old; a minute of rate and a few lost scrapes. Older ones say nothing of now."""

LONGEST_AGE_STEPS = 4
"""The same in steps, for series that are sampled less often."""

FLAT = "series is flat"

_JUDGED: WeakKeyDictionary[SeriesBatch, dict[tuple[int, float], tuple[Fit | None, Choice | str]]] = WeakKeyDictionary()
"""Backtests already done, by what they depend on; they go when the past does. Batches and fits never change."""


class HorizonError(ValueError):
    """A horizon that is no positive multiple of the step; carries ``horizon_s`` and ``step_s``."""

    def __init__(self, horizon_s: float, step_s: float) -> None:
        self.horizon_s = horizon_s
        self.step_s = step_s
        super().__init__(
            f"horizon of {horizon_s:g} s is no positive multiple of the step of {step_s:g} s; nothing is forecast"
        )


def quantile_forecast(
    batch: SeriesBatch,
    *,
    horizon_s: float,
    step_s: float | None = None,
    past: SeriesBatch | None = None,
    fitted: FittedModels | None = None,
    max_age_s: float | None = None,
) -> Forecast:
    """Forecast every series of a batch.

    Each series gets the forecaster that its own past favours (see ``choose``), started at its newest samples: a jump
    is followed within three of them. Without enough past, or where it is flat, the newest sample is held, and the
    hour's range is the spread. A series whose newest sample is too old is unknown.

    Args:
        batch: The series up to now; its last hour, or what it has of it, says where they stand.
        horizon_s: Seconds ahead; a positive multiple of the step. Forecasters are compared at this distance.
        step_s: Seconds between predicted values; the batch's step if None.
        past: The same series over days, if the batch does not reach so far; its step may be coarser. Steps ahead are
            then as uncertain as the next of its steps.
        fitted: Models from ``refit``; without them only forecasters that need no fit take part.
        max_age_s: Seconds that a newest sample may be old.

    Returns:
        Quantiles 0.1, 0.5 and 0.9 in the metric's unit: ordered, not negative, not over 1 for shares.

    Raises:
        HorizonError: If the horizon is not a positive multiple of the step.
    """
    step_s = batch.step_s if step_s is None else step_s
    steps = round(horizon_s / step_s) if step_s > 0 and np.isfinite(horizon_s) else 0
    if steps < 1 or abs(steps * step_s - horizon_s) > 1e-6 * step_s:
        raise HorizonError(horizon_s, step_s)
    if max_age_s is None:
        max_age_s = max(LONGEST_AGE_S, LONGEST_AGE_STEPS * batch.step_s)
    ahead_s = step_s * np.arange(1, steps + 1, dtype=np.float64)
    rows_of = [(held, {key: row for row, key in enumerate(held.keys)}) for held in (past, batch) if held is not None]
    width = row_samples(batch.step_s)
    rows, times_s = batch.values[:, -width:], batch.times_s[None, -width:]
    _, ages_s = batch.newest()
    values = np.full((len(QUANTILES), len(batch.keys), steps), np.nan)
    models, reasons = [], []
    for index, key in enumerate(batch.keys):
        if ages_s[index] > max_age_s:
            models.append(UNKNOWN)
            reasons.append(f"{UNKNOWN}: no sample in the last {max_age_s:g} s")
            continue
        fit = _fit(fitted, batch, key, horizon_s)
        row = rows[index : index + 1]
        pasts = [(held, row_of[key]) for held, row_of in rows_of if key in row_of]
        choice, why = _choose(pasts, row, horizon_s, fit)
        middle = choice.forecaster.predict(row, times_s, ahead_s)[0]
        lag = np.minimum(np.searchsorted(choice.lags_s, ahead_s - 1e-6), len(choice.lags_s) - 1)
        low, high = middle + np.minimum(choice.spread[0, lag], 0), middle + np.maximum(choice.spread[1, lag], 0)
        values[:, index] = np.clip([low, middle, high], 0.0, batch.metric.ceiling)
        models.append(choice.forecaster.name)
        reasons.append(why)
    return Forecast(batch.metric, batch.keys, step_s, batch.end_s, values, tuple(models), tuple(reasons))


def _fit(fitted: FittedModels | None, batch: SeriesBatch, key: SeriesKey, horizon_s: float) -> Fit | str:
    if fitted is None:
        return ""
    back_s = row_samples(batch.step_s) * batch.step_s
    return fitted.find(batch.metric, key, from_s=batch.end_s - back_s, until_s=batch.end_s + horizon_s)


def _choose(pasts: list[tuple[SeriesBatch, int]], row: Floats, horizon_s: float, fit: Fit | str) -> tuple[Choice, str]:
    model = fit if isinstance(fit, Fit) else None
    aside = f"; prophet: {fit}" if fit and isinstance(fit, str) else ""
    cause = ""
    for past, index in pasts:
        judged = _judged(past, index, horizon_s, model)
        if isinstance(judged, Choice):
            return judged, judged.reason + aside
        cause = judged
        if cause == FLAT:
            break
    seen = row[np.isfinite(row)] - newest(row)
    spread = np.quantile(seen, [QUANTILES[0], QUANTILES[-1]])[:, None]
    return Choice(LastValue(), f"last: {cause}", spread, np.array([horizon_s])), f"last: {cause}{aside}"


def _judged(past: SeriesBatch, index: int, horizon_s: float, fit: Fit | None) -> Choice | str:
    """The past's favourite, or why it has none; remembered, since a past serves many forecasts."""
    known = _JUDGED.setdefault(past, {})
    before = known.get((index, horizon_s))
    if before is not None and before[0] is fit:
        return before[1]
    answer = _judge(past, index, horizon_s, fit)
    known[index, horizon_s] = fit, answer
    return answer


def _judge(past: SeriesBatch, index: int, horizon_s: float, fit: Fit | None) -> Choice | str:
    values = past.values[index]
    known = values[np.isfinite(values)]
    needed = fewest_samples(past.step_s, horizon_s)
    if len(known) < needed:
        return f"series too short ({len(known)} of {needed} samples)"
    if np.ptp(known) == 0:
        return FLAT
    show = _writer(past.metric)
    choice = choose(values, past.times_s, past.step_s, horizon_s=horizon_s, fit=fit, show=show)
    return choice or "series has too many gaps for a backtest"


def _writer(metric: Metric) -> Callable[[float], str]:
    match metric:
        case Metric.RTT:
            return "{:.3g} ms".format
        case Metric.THROUGHPUT:
            return lambda bps: f"{Bandwidth(float(f'{bps:.3g}'))}bit/s"
        case _:
            return lambda share: f"{100 * share:.3g} %"
