"""Which forecaster every series gets: the one that its own past favours; the newest sample, unless clearly beaten.

The backtest stands at many instants of the past, shows each forecaster only what was known then, and compares with
what came; all series at once. How far the chosen one was off there is also how wide its quantiles are now (split
conformal prediction: Lei et al., "Distribution-Free Predictive Inference for Regression", 2018).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foremesh.forecast.additive import FEWEST_DAYS, fit_additive
from foremesh.forecast.fit import DAY_S, Fit
from foremesh.forecast.forecasters import (
    Curves,
    Forecaster,
    LastValue,
    RollingMedian,
    Seasonal,
    Shape,
    View,
    away,
)
from foremesh.forecast.volatility import Volatility
from foremesh.model.forecast import QUANTILES
from foremesh.model.series import Floats, Metric

LOOKBACK_S = 3600.0
"""Seconds of newest samples that forecasters see: an hour's median beat shorter and longer ones on recorded links."""

FEWEST_ROW = 5
"""Samples in a row at the least, where an hour holds fewer: less is no median."""

FOLDS = 12
"""Parts of the proof, in time order; a model has to win most of them, not one incident."""

FEWEST_ORIGINS = 4 * FOLDS
"""Instants below which a backtest says nothing."""

MOST_ORIGINS = 168
"""Instants at most, evenly over the proof: errors of neighbours say the same, and time grows with them."""

MOST_LAGS = 12
"""Distances at which errors are looked at, the horizon among them: errors grow slowly with distance."""

PROOF_SHARE = 0.25
"""Newest share of the past that models are judged on, and at least a day of it, so that every hour is in it. On
recorded links half and all of the past judged worse: networks change their ways within days."""

CLEARLY = {"median": 0.02, "additive": 0.04, "prophet": 0.1}
"""Share by which a model's error has to be smaller than that of the best simpler one; less is luck, and luck moves
circuits. Prophet needs a process of its own, and on mere noise its long memory wins some percent."""

MOST_FOLDS_LOST = 6
"""Folds of ``FOLDS`` that a model may lose to the simpler one and still be trusted."""

FLAT = "series is flat"
GAPS = "series has too many gaps for a backtest"


@dataclass(frozen=True, eq=False)
class Judgement:
    """A forecaster for every series of a past, why that one, and how far it was off."""

    models: tuple[Forecaster, ...]
    """Each of them for all series."""
    chosen: NDArray[np.int64]
    """Per series, which of the models; -1 where a backtest says nothing."""
    flat: NDArray[np.bool_]
    """Series whose known samples are all the same."""
    known: NDArray[np.int64]
    """Per series, samples known."""
    needed: int
    """Samples that a backtest needs."""
    maes: Floats
    """Mean errors at the horizon, shape (models, series), in the metric's unit."""
    lags_s: Floats
    """Seconds ahead that errors were looked at, ascending."""
    spread: Floats
    """What to add to a prediction for the lowest and the highest quantile, at usual volatility; shape (2, series,
    lags)."""
    volatility: Volatility | None
    """None where a backtest says nothing of any."""

    def why(self, row: int, show: Callable[[float], str]) -> str:
        """One line on a series' forecaster, or on why it has none.

        Args:
            row: Which series.
            show: Writes an error with its unit.
        """
        chosen = int(self.chosen[row])
        if chosen < 0:
            if self.known[row] < self.needed:
                return f"series too short ({self.known[row]} of {self.needed} samples)"
            return FLAT if self.flat[row] else GAPS
        maes, name = self.maes[:, row], self.models[chosen].name
        if chosen:
            return f"{name}: backtest MAE {show(maes[chosen])} against {show(maes[0])} of last over {FOLDS} folds"
        others = ", ".join(
            f"{model.name} {show(mae)}"
            for model, mae in zip(self.models[1:], maes[1:], strict=True)
            if np.isfinite(mae)
        )
        return f"last: backtest MAE {show(maes[0])}, not clearly beaten over {FOLDS} folds ({others})"


def row_samples(step_s: float) -> int:
    """How many samples forecasters see."""
    return max(FEWEST_ROW, round(LOOKBACK_S / step_s))


def view_at(values: Floats, times_s: Floats, step_s: float, origins: NDArray[np.int64]) -> View:
    """What forecasters are shown at some samples of a past: each with those just before it, and none after."""
    width = row_samples(step_s)
    padded = np.concatenate([np.full((len(values), width - 1), np.nan), values], axis=1)
    rows = np.lib.stride_tricks.sliding_window_view(padded, width, axis=1)[:, origins]
    return View(rows, times_s[origins][:, None] - step_s * np.arange(width - 1, -1, -1))


def proof_s(span_s: float, step_s: float, horizon_s: float) -> float:
    """Seconds at the end of a past that models are judged on."""
    return max(DAY_S, PROOF_SHARE * span_s, 2 * FEWEST_ORIGINS * step_s + horizon_s)


def fewest_samples(step_s: float, horizon_s: float) -> int:
    """Samples that a past needs for a backtest."""
    return FEWEST_ORIGINS + _steps(horizon_s, step_s)


def judge(
    values: Floats,
    times_s: Floats,
    step_s: float,
    *,
    horizon_s: float,
    fits: Sequence[Fit | None] = (),
    metric: Metric = Metric.LOAD,
    rivals: Sequence[Forecaster] = (),
    only: str = "",
) -> Judgement:
    """Backtest the forecasters on the past of every series and pick one for each.

    Args:
        values: The past, shape (series, samples), oldest first, NaN where unknown.
        times_s: Its unix times, shape (samples,).
        step_s: Seconds between its samples.
        horizon_s: Seconds ahead at which forecasters are compared.
        fits: Fitted models, one a series, if there are any.
        metric: What is measured. Round trips grow by factors above what they are when idle.
        rivals: Forecasters that are looked at besides, simplest first.
        only: The forecaster that every series gets where it says anything, whatever its past says; the others are not
            looked at. Its errors are then those that quantiles are made of.
    """
    needed = fewest_samples(step_s, horizon_s)
    finite = np.isfinite(values)
    known = finite.sum(axis=1)
    flat = (known > 0) & (
        np.max(values, axis=1, where=finite, initial=-np.inf) == np.min(values, axis=1, where=finite, initial=np.inf)
    )
    able = (known >= needed) & ~flat
    lags = _lags(horizon_s, step_s)
    lags_s: Floats = lags * np.float64(step_s)
    nobody = Judgement(
        models=(LastValue(),),
        chosen=np.full(len(values), -1),
        flat=flat,
        known=known,
        needed=needed,
        maes=np.full((1, len(values)), np.nan),
        lags_s=lags_s,
        spread=np.zeros((2, len(values), len(lags))),
        volatility=None,
    )
    if not able.any():
        return nobody
    from_s = times_s[-1] - proof_s(times_s[-1] - times_s[0], step_s, horizon_s)
    origins = np.flatnonzero(times_s[: -lags[-1]] >= from_s)
    origins = origins[:: max(1, math.ceil(len(origins) / MOST_ORIGINS))]
    came = values[:, origins[:, None] + lags]
    view = view_at(values, times_s, step_s, origins)
    came[~(np.isfinite(came[..., -1]) & np.isfinite(view.newest) & able[:, None])] = np.nan
    models: list[Forecaster] = [LastValue(), RollingMedian(), *rivals]
    if only:
        models = [models[0], *(model for model in models[1:] if model.name == only)]
    predicted = [model.predict(view, lags_s) for model in models]
    # Losses come in bursts: of 1,276 backtests on simulated links, most with a daily rhythm, the model won none.
    taught = times_s[origins[0]] - times_s[0] >= FEWEST_DAYS * DAY_S
    if only in ("", "additive") and metric is not Metric.LOSS and taught:
        there, additive = fit_additive(
            values,
            times_s,
            step_s,
            view=view,
            origins=origins,
            came=came,
            lags_s=lags_s,
            above_idle=metric is Metric.RTT,
        )
        predicted.append(there)
        models.append(additive)
    if only in ("", "prophet") and any(fits):
        proof = Curves.of([fit.proof if fit else None for fit in fits])
        curve = Curves.of([fit.curve if fit else None for fit in fits])
        _add(predicted, models, "prophet", (proof, curve), view, came[..., -1], lags_s)
    errors = [came - there for there in predicted]
    at_horizon = [np.abs(error[..., -1]) for error in errors]
    chosen = np.where(np.isfinite(at_horizon[0]).sum(axis=1) >= FEWEST_ORIGINS, 0, -1)
    best, off = at_horizon[0], errors[0]
    for index, model in enumerate(models[1:], start=1):
        wins = (chosen >= 0) & (
            np.isfinite(at_horizon[index]).any(axis=1) if only else _wins(at_horizon[index], best, model.name)
        )
        chosen = np.where(wins, index, chosen)
        best = np.where(wins[:, None], at_horizon[index], best)
        off = np.where(wins[:, None, None], errors[index], off)
    volatility = Volatility.of(values, times_s, step_s, horizon_s, view)
    return Judgement(
        models=tuple(models),
        chosen=chosen,
        flat=flat,
        known=known,
        needed=needed,
        maes=np.array([_mean(error) for error in at_horizon]),
        lags_s=lags_s,
        spread=_spread(off / volatility.factor(view, lags_s)),
        volatility=volatility,
    )


def _steps(horizon_s: float, step_s: float) -> int:
    return math.ceil(horizon_s / step_s - 1e-9)


def _lags(horizon_s: float, step_s: float) -> NDArray[np.int64]:
    steps = _steps(horizon_s, step_s)
    return np.unique(np.ceil(np.linspace(0, steps, MOST_LAGS + 1)[1:]).astype(np.int64))


def _add(
    predicted: list[Floats],
    models: list[Forecaster],
    name: str,
    shapes: tuple[Shape, Shape],
    view: View,
    came: Floats,
    lags_s: Floats,
) -> None:
    """A shape, to be judged and to be used, with the share of its distance that the level kept."""
    proof, shape = shapes
    off = away(proof, view)
    later = came - proof.at(view.times_s[:, -1] + lags_s[-1])
    both = np.isfinite(off) & np.isfinite(later)
    product = np.sum(np.where(both, off * later, 0.0), axis=1)
    square = np.sum(np.where(both, off * off, 0.0), axis=1)
    kept = np.clip(product / np.maximum(square, 1e-300), 0.01, 1.0)
    usual = np.max(np.abs(off), axis=1, where=both, initial=0.0)
    predicted.append(Seasonal(name, proof, kept, lags_s[-1], usual).predict(view, lags_s))
    models.append(Seasonal(name, shape, kept, lags_s[-1], usual))


def _mean(errors: Floats) -> Floats:
    known = np.isfinite(errors)
    count = known.sum(axis=1)
    total = np.sum(errors, axis=1, where=known)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _wins(model: Floats, simpler: Floats, name: str) -> NDArray[np.bool_]:
    """Per series, whether a model's errors, in time order, are clearly smaller than those of a simpler one.

    Args:
        model: Absolute errors, shape (series, instants), NaN where unknown.
        simpler: The same of the simpler model.
        name: The model's.
    """
    both = np.isfinite(model) & np.isfinite(simpler)
    starts = [part[0] for part in np.array_split(np.arange(model.shape[1]), FOLDS) if len(part)]
    ours = np.add.reduceat(np.where(both, model, 0.0), starts, axis=1)
    theirs = np.add.reduceat(np.where(both, simpler, 0.0), starts, axis=1)
    better = ours.sum(axis=1) < (1 - CLEARLY[name]) * theirs.sum(axis=1)
    lost = ours > theirs
    wins: NDArray[np.bool_] = better & (lost.sum(axis=1) <= MOST_FOLDS_LOST) & (both.sum(axis=1) >= FEWEST_ORIGINS)
    # A rhythm may have ended since it was fitted, hours ago; the newest fold would show it.
    return wins & ~lost[:, -1] if name == "prophet" else wins


def _spread(errors: Floats) -> Floats:
    """Conformal quantiles of the errors of each lag, shape (2, series, lags): the highest one rounded up and the lowest
    down, so that they cover what they say with few errors too."""
    ordered = np.sort(errors.transpose(0, 2, 1), axis=-1)  # NaN goes last
    count = np.isfinite(ordered).sum(axis=-1, keepdims=True)
    low = np.maximum(np.floor(QUANTILES[0] * (count + 1)).astype(np.int64) - 1, 0)
    high = np.maximum(np.minimum(np.ceil(QUANTILES[-1] * (count + 1)).astype(np.int64), count) - 1, 0)
    spread = np.array([np.take_along_axis(ordered, at, axis=-1)[..., 0] for at in (low, high)])
    # The horizon's errors are all known; gaps may leave a nearer lag without any, and it is no worse.
    return np.where(np.isfinite(spread), spread, spread[..., -1:])
