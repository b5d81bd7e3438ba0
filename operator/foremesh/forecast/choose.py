"""Which forecaster a series gets: the one that its own past favours; the newest sample, unless clearly beaten.

The backtest stands at many instants of the past, shows each forecaster only what was known then, and compares with
what came. How far the chosen one was off there is also how wide its quantiles are now (split conformal prediction:
Lei et al., "Distribution-Free Predictive Inference for Regression", 2018).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foremesh.forecast.fit import DAY_S, Fit
from foremesh.forecast.forecasters import Forecaster, LastValue, RollingMedian, Seasonal
from foremesh.model.forecast import QUANTILES
from foremesh.model.series import Floats

LOOKBACK_S = 3600.0
"""Seconds of newest samples that forecasters see: an hour's median beat shorter and longer ones on recorded links."""

FEWEST_ROW = 5
"""Samples in a row at the least, where an hour holds fewer: less is no median."""

FOLDS = 12
"""Parts of the proof, in time order; a model has to win most of them, not one incident."""

FEWEST_ORIGINS = 4 * FOLDS
"""Instants below which a backtest says nothing."""

MOST_ORIGINS = 504
"""Instants at most, evenly over the proof: errors of neighbours say the same, and time grows with them."""

PROOF_SHARE = 0.25
"""Newest share of the past that models are judged on, and at least a day of it, so that every hour is in it. On
recorded links half and all of the past judged worse: networks change their ways within days."""

CLEARLY = 0.05
"""Share by which a model's error has to be smaller than a simpler one's; less is luck, and luck moves circuits."""

CLEARLY_FITTED = 0.1
"""The same for a fitted model: on mere noise its long memory wins some percent, and says nothing of what comes."""

MOST_FOLDS_LOST = 4
"""Folds of ``FOLDS`` that a model may lose to the simpler one and still be trusted."""

NAIVE = 2
"""Models that need no fit; they come first, the simplest of all foremost."""


@dataclass(frozen=True, eq=False)
class Choice:
    """A forecaster for one series, why that one, and how far it was off in the past."""

    forecaster: Forecaster
    reason: str
    spread: Floats
    """What to add to a prediction for the lowest and the highest quantile, shape (2, lags), in the metric's unit."""
    lags_s: Floats
    """Seconds ahead that the columns of ``spread`` stand for, ascending."""


def row_samples(step_s: float) -> int:
    """How many samples forecasters see."""
    return max(FEWEST_ROW, round(LOOKBACK_S / step_s))


def proof_s(span_s: float, step_s: float, horizon_s: float) -> float:
    """Seconds at the end of a past that models are judged on."""
    return max(DAY_S, PROOF_SHARE * span_s, 2 * FEWEST_ORIGINS * step_s + horizon_s)


def fewest_samples(step_s: float, horizon_s: float) -> int:
    """Samples that a past needs for a backtest."""
    return FEWEST_ORIGINS + _lags(horizon_s, step_s)


def choose(
    values: Floats, times_s: Floats, step_s: float, *, horizon_s: float, fit: Fit | None, show: Callable[[float], str]
) -> Choice | None:
    """Backtest the forecasters on a series' past and pick one.

    Args:
        values: The past, oldest first, NaN where unknown.
        times_s: Its unix times.
        step_s: Seconds between its samples.
        horizon_s: Seconds ahead at which forecasters are compared.
        fit: A fitted model, if there is one.
        show: Writes an error with its unit.

    Returns:
        None if the past is too short for any backtest.
    """
    lags = np.arange(1, _lags(horizon_s, step_s) + 1)
    lags_s: Floats = lags * np.float64(step_s)
    from_s = times_s[-1] - proof_s(times_s[-1] - times_s[0], step_s, horizon_s)
    if fit:
        from_s = max(from_s, fit.proof_from_s)
    origins = np.flatnonzero(times_s[: -lags[-1]] >= from_s)
    origins = origins[:: max(1, math.ceil(len(origins) / MOST_ORIGINS))]
    came = values[origins[:, None] + lags]
    rows, row_times_s = _rows(values, times_s, step_s, origins)
    usable = np.isfinite(came[:, -1]) & np.isfinite(rows).any(axis=1)
    if usable.sum() < FEWEST_ORIGINS:
        return None
    rows, row_times_s, came = rows[usable], row_times_s[usable], came[usable]
    models: list[Forecaster] = [LastValue(), RollingMedian()]
    judged = models[:]
    if fit:
        in_proof, in_use = _seasonal(fit, rows, row_times_s, came[:, -1], horizon_s)
        judged.append(in_proof)
        models.append(in_use)
    errors = [came - model.predict(rows, row_times_s, lags_s) for model in judged]
    at_horizon = [np.abs(error[:, -1]) for error in errors]
    chosen = 0
    for index in range(1, len(models)):
        if _wins(at_horizon[index], at_horizon[chosen], fitted=index >= NAIVE):
            chosen = index
    maes = [float(error.mean()) for error in at_horizon]
    return Choice(models[chosen], _why(models, maes, chosen, show), _spread(errors[chosen]), lags_s)


def _lags(horizon_s: float, step_s: float) -> int:
    return math.ceil(horizon_s / step_s - 1e-9)


def _rows(values: Floats, times_s: Floats, step_s: float, origins: NDArray[np.int64]) -> tuple[Floats, Floats]:
    width = row_samples(step_s)
    padded = np.concatenate([np.full(width - 1, np.nan), values])
    back_s = step_s * np.arange(width - 1, -1, -1)
    return np.lib.stride_tricks.sliding_window_view(padded, width)[origins], times_s[origins][:, None] - back_s


def _seasonal(fit: Fit, rows: Floats, times_s: Floats, came: Floats, horizon_s: float) -> tuple[Forecaster, Forecaster]:
    """The fitted model, to be judged and to be used, with the share of its distance that the level kept in the past."""
    free = Seasonal(fit.proof)
    away = free.away(rows, times_s)
    later = came - fit.proof.at(times_s[:, -1] + horizon_s)
    kept = float(np.clip(np.sum(away * later) / max(np.sum(away * away), 1e-300), 0.01, 1.0))
    usual = float(np.max(np.abs(away)))
    return Seasonal(fit.proof, kept, horizon_s, usual), Seasonal(fit.curve, kept, horizon_s, usual)


def _wins(model: Floats, simpler: Floats, *, fitted: bool) -> bool:
    """Whether a model's errors, in time order, are clearly smaller than those of a simpler one."""
    if not model.mean() < (1 - (CLEARLY_FITTED if fitted else CLEARLY)) * simpler.mean():
        return False
    folds = zip(np.array_split(model, FOLDS), np.array_split(simpler, FOLDS), strict=True)
    lost = [bool(ours.mean() > theirs.mean()) for ours, theirs in folds]
    # A rhythm may have ended since it was fitted; the newest fold would show it.
    return sum(lost) <= MOST_FOLDS_LOST and not (fitted and lost[-1])


def _why(models: Sequence[Forecaster], maes: Sequence[float], chosen: int, show: Callable[[float], str]) -> str:
    name = models[chosen].name
    if chosen:
        return f"{name}: backtest MAE {show(maes[chosen])} against {show(maes[0])} of last over {FOLDS} folds"
    others = ", ".join(f"{model.name} {show(mae)}" for model, mae in zip(models[1:], maes[1:], strict=True))
    return f"last: backtest MAE {show(maes[0])}, not clearly beaten over {FOLDS} folds ({others})"


def _spread(errors: Floats) -> Floats:
    """Conformal quantiles of the errors of each lag, shape (2, lags): the highest one rounded up and the lowest down,
    so that they cover what they say with few errors too."""
    ordered = np.sort(errors, axis=0)  # NaN goes last
    count = np.isfinite(errors).sum(axis=0)
    low = np.maximum(np.floor(QUANTILES[0] * (count + 1)).astype(int) - 1, 0)
    high = np.minimum(np.ceil(QUANTILES[-1] * (count + 1)).astype(int), count) - 1
    at = np.arange(errors.shape[1])
    spread = np.array([ordered[low, at], ordered[high, at]])
    # The horizon's errors are all known; gaps may leave a nearer lag without any, and it is no worse.
    return np.where(np.isfinite(spread), spread, spread[:, -1:])
