"""Fits Prophet to one series, in a process of its own: Prophet is imported nowhere else, and here only when called.

Source: Taylor & Letham, "Forecasting at Scale", 2018.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np

from foremesh.forecast.forecasters import Curve
from foremesh.forecast.levels import median
from foremesh.model.series import Floats

DAY_S = 86400.0

MOST_SAMPLES = 2016
"""A week of five-minute samples: more makes fits slower and memory larger, and a network's older weeks mislead."""

FINEST_S = 300.0
"""Finer samples are merged to this distance before a fit, so that ``MOST_SAMPLES`` reach back over days."""

SMOOTH_S = 3600.0
"""Seconds around a sample whose median is fitted: shorter than any rhythm over the day, longer than a spike."""

EVERY_S = 900.0
"""Seconds between the smoothed samples that are fitted, and between the points of a curve, where there are finer ones:
medians of an hour that overlap by more say nothing new, and cost Prophet three times as much."""

EXTREME = 0.02
"""Share of the smoothed samples at each end that is cut back to the rest."""


@dataclass(frozen=True, eq=False)
class Fit:
    """Two fits of one series: on all of it, to predict with; on its older part, to be judged on the rest."""

    curve: Curve
    proof: Curve
    proof_from_s: float
    """Unix time from which the proof curve had seen nothing."""
    fitted_at_s: float
    """Unix time of the newest sample seen."""


def fit(values: Floats, step_s: float, end_s: float, *, proof_s: float, lookback_s: float, ahead_s: float) -> Fit:
    """Fit a series twice.

    Args:
        values: Samples, oldest first, NaN where unknown; at least two days of them before the last ``proof_s``.
        step_s: Seconds between samples.
        end_s: Unix time of the newest.
        proof_s: Seconds at the end that the proof curve does not see.
        lookback_s: Seconds before those that the proof curve covers too, for correcting its level there.
        ahead_s: Seconds past the end that both curves reach.
    """
    times_s = end_s - step_s * np.arange(len(values) - 1, -1, -1, dtype=np.float64)
    proof_from_s = end_s - proof_s
    old = times_s <= proof_from_s
    return Fit(
        curve=_curve(values, times_s, times_s[-1] - lookback_s, end_s + ahead_s, step_s),
        proof=_curve(values[old], times_s[old], proof_from_s - lookback_s, end_s + ahead_s, step_s),
        proof_from_s=proof_from_s,
        fitted_at_s=end_s,
    )


def thinned(values: Floats, step_s: float) -> tuple[Floats, float]:
    """Merge samples closer than ``FINEST_S`` by their median and keep the newest ``MOST_SAMPLES``.

    Returns:
        Samples and the seconds between them.
    """
    merge = max(1, round(FINEST_S / step_s))
    kept = values[len(values) % merge :][-MOST_SAMPLES * merge :].reshape(-1, merge)
    return median(kept), step_s * merge


def calmed(values: Floats, step_s: float) -> Floats:
    """What is left of a series for a rhythm to be seen in: the median of the hour around each sample, without extremes.

    Prophet fits squares, and a few spikes would bend its curve for every day; on recorded links and servers this made
    its errors a tenth to a third smaller.
    """
    half = round(SMOOTH_S / 2 / step_s)
    around = np.pad(values, half, constant_values=np.nan)
    smooth = median(np.lib.stride_tricks.sliding_window_view(around, 2 * half + 1))
    low, high = np.nanquantile(smooth, [EXTREME, 1 - EXTREME])
    return np.where(np.isfinite(values), np.clip(smooth, low, high), np.nan)


def _curve(values: Floats, times_s: Floats, start_s: float, end_s: float, step_s: float) -> Curve:
    import pandas as pd

    prophet = _prophet()
    every = max(1, round(EVERY_S / step_s))
    chosen = np.isfinite(values) & (np.arange(len(values))[::-1] % every == 0)
    span_s = times_s[-1] - times_s[0]
    model = prophet(
        growth="flat",  # the level is corrected with the newest samples; a trend carried on from a week only strays
        daily_seasonality=bool(span_s >= 2 * DAY_S - step_s),
        weekly_seasonality=bool(span_s >= 14 * DAY_S - step_s),
        yearly_seasonality=False,
        uncertainty_samples=0,  # they take most of the time; quantiles come from the backtest
    )
    smooth = calmed(values, step_s)[chosen]
    model.fit(pd.DataFrame({"ds": pd.to_datetime(times_s[chosen], unit="s"), "y": smooth}))
    grid_s = np.arange(start_s, end_s + every * step_s, every * step_s)
    return Curve(float(start_s), every * step_s, predicted(model, grid_s))


def predicted(model: Any, times_s: Floats) -> Floats:
    """What a fitted model of flat growth says at some unix times: ``predict``'s ``yhat`` and none of its other columns,
    which take longer than a third of a fit."""
    import pandas as pd

    dates = pd.Series(pd.to_datetime(times_s, unit="s"))
    waves = [
        model.make_seasonality_features(dates, one["period"], one["fourier_order"], name).to_numpy()
        for name, one in model.seasonalities.items()
    ]
    swings: Floats = np.hstack(waves) @ model.params["beta"].ravel() if waves else np.zeros(len(times_s))
    level, scale = float(model.params["m"].item()), float(model.y_scale)
    return (level + swings) * scale


def _prophet() -> Any:
    logging.getLogger("prophet.plot").setLevel(logging.CRITICAL)  # complains at import that it cannot plot
    from prophet import Prophet

    for chatty in ("prophet", "cmdstanpy"):  # a line or two for every fit
        logger = logging.getLogger(chatty)
        logger.setLevel(logging.ERROR)
        if not logger.handlers:
            logger.addHandler(logging.NullHandler())  # without any, cmdstanpy adds its own and turns itself up
    return Prophet
