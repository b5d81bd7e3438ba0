"""What is known of the forecasters of every series: how far their own past believes each, and how wide the truth lies.

The backtest stands at many instants of the past, shows each forecaster only what was known then, and hands what it said
and what came to the gate (see ``gate``); all series at once. How far the gate's mixture was off there is how wide
quantiles are at first (split conformal prediction: Lei et al., "Distribution-Free Predictive Inference for Regression",
2018); from there on they follow what comes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

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
    nearness,
)
from foremesh.forecast.gate import Gate, Mixed, mix
from foremesh.forecast.kernels import FEWEST
from foremesh.forecast.volatility import Volatility
from foremesh.model.forecast import QUANTILES
from foremesh.model.series import Floats, Metric

LOOKBACK_S = 3600.0
"""Seconds of newest samples that forecasters see: an hour's median beat shorter and longer ones on recorded links."""

FEWEST_ROW = 5
"""Samples in a row at the least, where an hour holds fewer: less is no median."""

FEWEST_ORIGINS = 48
"""Instants below which a backtest says nothing."""

APART_S = 1200.0
"""Seconds between those instants: errors of neighbours say the same, and time grows with their number. With three times
as much, errors and coverage of recorded series were worse by a percent."""

ENOUGH_ORIGINS, MOST_ORIGINS = 120, 504
"""Instants that a short proof is cut into nevertheless, and at most, for the time it takes."""

REACH_S = 7200.0
"""Seconds before the last day whose samples are remembered too: where a day ago stood is told by its newest hour."""

MOST_LAGS = 5
"""Distances at which errors are looked at, from one sample to the horizon, each so many times the one before: errors
grow slowly with distance, and time and memory with their number."""

PROOF_SHARE = 0.25
"""Newest share of the past that models are judged on, and at least a day of it, so that every hour is in it. On
recorded links half and all of the past judged worse: networks change their ways within days."""

HANDICAPS = {"median": 1.0, "last": 1.05, "additive": 1.1, "prophet": 1.2, "seasonal": 1.3}
"""Factor on a forecaster's errors: a twentieth halves the weight of an equal. The median moves circuits least; the
newest sample follows noise; a rhythm may end; Prophet needs a process of its own, and on mere noise its long memory
wins some percent; and what happened a day ago, incidents included, is to be expected again only where days are clearly
alike."""

SHOWN = 0.01
"""Weight from which a forecaster is named."""

FLAT = "series is flat"
GAPS = "series has too many gaps for a backtest"


@dataclass(frozen=True, eq=False)
class Judgement:
    """The forecasters of every series of a past, how far each is believed, and how far off they were together."""

    models: tuple[Forecaster, ...]
    """Each of them for all series; the first is the naive one."""
    gate: Gate
    told: NDArray[np.bool_]
    """Series that a backtest says anything of."""
    flat: NDArray[np.bool_]
    """Series whose known samples are all the same."""
    known: NDArray[np.int64]
    """Per series, samples known."""
    needed: int
    """Samples that a backtest needs."""
    lags_s: Floats
    """Seconds ahead that errors were looked at, ascending."""
    volatility: Volatility | None
    """None where a backtest says nothing of any."""

    @cached_property
    def chosen(self) -> NDArray[np.int64]:
        """Per series, which of the models is believed most at the horizon; -1 where a backtest says nothing."""
        return np.where(self.told, np.argmax(self.shares, axis=0), -1)

    @cached_property
    def shares(self) -> Floats:
        """Weights at the horizon, shape (models, series)."""
        return self.gate.weights()[..., -1]

    def predicted(self, view: View, ahead_s: Floats) -> Floats:
        """What every model says, shape (models, series, instants, steps); NaN where it says nothing."""
        return np.array([model.predict(view, ahead_s) for model in self.models])

    def factor(self, view: View, ahead_s: Floats) -> Floats:
        """How much wider than usual quantiles are to be, shape (series, instants, steps)."""
        if self.volatility is None:
            return np.ones((*view.newest.shape, len(ahead_s)))
        return self.volatility.factor(view, ahead_s)

    def mixed(self, view: View, ahead_s: Floats) -> Mixed:
        """What the models say together, by what is known now; a distance between two that errors were looked at is as
        far between them."""
        near = nearness(self.lags_s, ahead_s)
        middle = mix(self.predicted(view, ahead_s), self.gate.weights() @ near)
        spread = (self.gate.spread @ near)[:, :, None] * self.factor(view, ahead_s)
        return Mixed(middle, spread)

    def followed(self, values: Floats, view: View, at: NDArray[np.int64] | None = None) -> tuple[Judgement, Mixed]:
        """Let the gate take samples that came since.

        Args:
            values: Shape (series, samples).
            view: What was known at each of them, or at some.
            at: At which; all if None.
        """
        at = np.arange(values.shape[1]) if at is None else at
        predicted, factor = self.predicted(view, self.lags_s), self.factor(view, self.lags_s)
        gate, mixed = self.gate.observe(values, at, predicted, factor)
        return replace(self, gate=gate), Mixed(mixed.middle, mixed.spread * factor)

    def moved(self, values: Floats, times_s: Floats, since: NDArray[np.int64]) -> Judgement:
        """The same some samples later: only where the gate remembers what was predicted, anything is.

        Args:
            values: The past up to now, shape (series, samples).
            times_s: Its unix times.
            since: Which of its samples came since, in a row.
        """
        at = np.flatnonzero((self.gate.tick + 1 + np.arange(len(since))) % self.gate.stride == 0)
        view = view_at(values, times_s, self.gate.step_s, since[at])
        return self.followed(values[:, since], view, at)[0]

    def why(self, row: int, show: Callable[[float], str]) -> str:
        """One line on a series' forecasters, or on why it has none.

        Args:
            row: Which series.
            show: Writes an error with its unit.
        """
        if not self.told[row]:
            if self.known[row] < self.needed:
                return f"series too short ({self.known[row]} of {self.needed} samples)"
            return FLAT if self.flat[row] else GAPS
        weights, errors = self.shares[:, row], self.gate.error[:-1, row, -1]
        best, names = int(self.chosen[row]), [model.name for model in self.models]
        over = f"in backtests of {self.gate.span_s / DAY_S:.2g} days"
        if best and errors[best] > errors[0]:
            near = f"near {show(errors[0])} of {names[0]}, and quieter"
            said = f"{names[best]}: mean error {show(errors[best])} {over}, {near}"
        elif best:
            said = f"{names[best]}: mean error {show(errors[best])} against {show(errors[0])} of {names[0]} {over}"
        else:
            others = ", ".join(f"{name} {show(error)}" for name, error in zip(names[1:], errors[1:], strict=True))
            said = f"{names[0]}: mean error {show(errors[0])} {over}, not beaten ({others})"
        shares = [(weight, name) for weight, name in zip(weights, names, strict=True) if weight >= SHOWN]
        if len(shares) == 1:
            return said
        return f"{said}; weights {', '.join(f'{name} {100 * weight:.0f} %' for weight, name in sorted(shares)[::-1])}"


def row_samples(step_s: float) -> int:
    """How many samples forecasters see."""
    return max(FEWEST_ROW, round(LOOKBACK_S / step_s))


def view_at(values: Floats, times_s: Floats, step_s: float, origins: NDArray[np.int64]) -> View:
    """What forecasters are shown at some samples of a past: each with those just before it, and none after."""
    width = row_samples(step_s)
    first = int(origins.min(initial=len(times_s) - 1)) - width + 1
    seen = np.asarray(values[:, max(first, 0) :], dtype=np.float64)
    padded = np.concatenate([np.full((len(values), max(-first, 0)), np.nan), seen], axis=1) if first < 0 else seen
    rows = np.lib.stride_tricks.sliding_window_view(padded, width, axis=1)[:, origins - width + 1 - first]
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
    most_lags: int = MOST_LAGS,
    days: Shape | None = None,
) -> Judgement:
    """Backtest the forecasters on the past of every series.

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
        most_lags: Distances at which errors are looked at, the horizon first; they do not depend on each other.
        days: What was there a day before an instant, if anybody knows better than this past, which ends. Only what was
            there up to an instant is read for it.
    """
    values = np.asarray(values, dtype=np.float64)
    needed = fewest_samples(step_s, horizon_s)
    finite = np.isfinite(values)
    known = finite.sum(axis=1)
    flat = (known > 0) & (
        np.max(values, axis=1, where=finite, initial=-np.inf) == np.min(values, axis=1, where=finite, initial=np.inf)
    )
    able = (known >= needed) & ~flat
    lags = _lags(horizon_s, step_s, most_lags)
    lags_s: Floats = lags * np.float64(step_s)
    ticks = np.rint(times_s / step_s).astype(np.int64)
    proof = np.flatnonzero(times_s >= times_s[-1] - proof_s(times_s[-1] - times_s[0], step_s, horizon_s))
    stride = max(1, math.ceil(len(proof) / MOST_ORIGINS), min(round(APART_S / step_s), len(proof) // ENOUGH_ORIGINS))
    origins = proof[ticks[proof] % stride == 0]
    nobody = Judgement(
        models=(LastValue(),),
        gate=Gate.new(len(values), np.ones(1), lags, step_s=step_s, stride=stride, tick=int(ticks[-1])),
        told=np.zeros(len(values), dtype=np.bool_),
        flat=flat,
        known=known,
        needed=needed,
        lags_s=lags_s,
        volatility=None,
    )
    if not able.any():
        return nobody
    later = np.concatenate([values, np.full((len(values), lags[-1]), np.nan)], axis=1)
    came = later[:, origins[:, None] + lags]
    view = view_at(values, times_s, step_s, origins)
    came[~(np.isfinite(came[..., -1]) & np.isfinite(view.newest) & able[:, None])] = np.nan
    models: list[Forecaster] = [LastValue(), RollingMedian(), *rivals]
    predicted = [model.predict(view, lags_s) for model in models]
    # Losses come in bursts: of 1,276 backtests on simulated links, most with a daily rhythm, no model of days won any.
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
    if not only and metric is not Metric.LOSS and taught and horizon_s <= DAY_S:
        # How much of a distance from a day ago is kept is not learnt: that flatters what a day ago says.
        whole, always = np.ones(len(values)), np.full(len(values), np.inf)
        before = Curves.of_batch(values, times_s + DAY_S, step_s)
        if days is None:
            newest = round((DAY_S + REACH_S) / step_s)
            days = Curves.of_batch(values[:, -newest:].astype(np.float32), times_s[-newest:] + DAY_S, step_s)
        predicted.append(Seasonal("seasonal", before, whole, lags_s[-1], always).predict(view, lags_s))
        models.append(Seasonal("seasonal", days, whole, lags_s[-1], always))
    if only in ("", "prophet") and any(fits):
        proven = Curves.of([fit.proof if fit else None for fit in fits])
        curve = Curves.of([fit.curve if fit else None for fit in fits])
        _add(predicted, models, "prophet", (proven, curve), view, came[..., -1], lags_s)
    if only:
        index = max((index for index, model in enumerate(models) if model.name == only), default=0)
        models, predicted = [models[index]], [np.where(np.isfinite(predicted[index]), predicted[index], predicted[0])]
    volatility = Volatility.of(values, times_s, step_s, horizon_s, view)
    factor = volatility.factor(view, lags_s)
    handicap = np.array([HANDICAPS.get(model.name, 1.0) for model in models])
    gate = Gate.new(len(values), handicap, lags, step_s=step_s, stride=stride, tick=int(ticks[proof[0]]) - 1)
    gate, mixed = gate.observe(values[:, proof], origins - proof[0], np.array(predicted), factor)
    off = (came - mixed.middle) / factor
    off[:, _unaware(origins, lags, stride)] = np.nan
    return Judgement(
        models=tuple(models),
        gate=replace(gate, spread=np.nan_to_num(_spread(off)).astype(np.float32)),
        told=np.isfinite(came[..., -1]).sum(axis=1) >= FEWEST_ORIGINS,
        flat=flat,
        known=known,
        needed=needed,
        lags_s=lags_s,
        volatility=volatility,
    )


def _unaware(origins: NDArray[np.int64], lags: NDArray[np.int64], stride: int) -> NDArray[np.bool_]:
    """Where the gate spoke before it knew any errors, shape (instants, lags): how far off it was then says nothing of
    now. A proof too short for anything else has to do with it."""
    early = (origins - origins[0])[:, None] < lags + FEWEST * stride
    unaware: NDArray[np.bool_] = early & ((~early).sum(axis=0) >= FEWEST)
    return unaware


def _steps(horizon_s: float, step_s: float) -> int:
    return math.ceil(horizon_s / step_s - 1e-9)


def _lags(horizon_s: float, step_s: float, most: int) -> NDArray[np.int64]:
    return np.unique(np.rint(np.geomspace(_steps(horizon_s, step_s), 1, most)).astype(np.int64))


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


def _spread(errors: Floats) -> Floats:
    """Conformal quantiles of the errors of each lag, shape (2, series, lags).

    Of ``n`` errors that know nothing of each other, the next is below the ``k``-th smallest with ``k / (n + 1)``. Far
    ahead they overlap, and are worth fewer: as many as their correlation leaves (Bayley & Hammersley, "The 'Effective'
    Number of Independent Observations in an Autocorrelated Time Series", 1946). Whether they are beyond a quantile goes
    together less than how large they are, about as its square does.
    """
    errors = errors.transpose(0, 2, 1)
    ordered = np.sort(errors, axis=-1)  # NaN goes last
    count = np.isfinite(ordered).sum(axis=-1, keepdims=True)
    alike = _alike(errors)[..., None] ** 2
    worth = np.maximum(count * (1 - alike) / (1 + alike), 1.0)
    share = np.maximum(QUANTILES[0] - (0.5 - QUANTILES[0]) / worth, 0.0)
    low = np.maximum(np.floor(share * count - 0.5).astype(np.int64), 0)
    high = np.maximum(count - 1 - low, 0)
    spread = np.array([np.take_along_axis(ordered, at, axis=-1)[..., 0] for at in (low, high)])
    # The horizon's errors are all known; gaps may leave a nearer lag without any, and it is no worse.
    return np.where(np.isfinite(spread), spread, spread[..., -1:])


def _alike(errors: Floats) -> Floats:
    """Correlation of neighbours along the last axis, 0 to 1."""
    known = np.isfinite(errors)
    mean = np.sum(errors, axis=-1, where=known, keepdims=True) / np.maximum(known.sum(axis=-1, keepdims=True), 1)
    off = np.where(known, errors - mean, 0.0)
    square = np.sum(off * off, axis=-1)
    both = np.sum(off[..., 1:] * off[..., :-1], axis=-1)
    alike: Floats = np.clip(both / np.where(square > 0, square, 1.0), 0.0, 0.99)
    return alike
