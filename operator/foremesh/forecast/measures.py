"""Figures by which forecasts are compared, each with how far chance may have moved it.

Ratios are told as geometric means over series (AvgRelMAE: Davydenko & Fildes, "Measuring forecasting accuracy", 2013),
so that a model twice as good on one series and half as good on another comes out as equal, and a series that hardly
moves counts like any other. Pure: arrays in, figures out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foremesh.forecast.evaluate import FEWEST_FOLDS, NAIVE, Evaluation, Sums
from foremesh.model.series import Floats

INTERVAL = (0.025, 0.975)
"""Quantiles of the bootstrap that are told: 95 % of it."""

DRAWS = 1000
"""Resamples; their 2.5 % quantile is then known to about 0.5 %."""

MOST_DRAWN = 2_000_000
"""Series times draws at most: of many series fewer draws are enough."""

SEED = 20_130_101
"""The same data gives the same interval."""


@dataclass(frozen=True)
class Measured:
    """A model at a horizon."""

    model: str
    horizon_s: float
    rel_mae: float
    """Geometric mean over series of MAE over the last value's MAE on the same points; below 1 is better than it."""
    rel_mae_interval: tuple[float, float]
    best_naive: str
    """Which of the naive models evaluated has the smallest ``rel_mae`` at this horizon; empty if none was."""
    vs_best_naive: float
    """``rel_mae`` over that model's; the same resamples make its interval, so it is narrower than either's."""
    vs_best_naive_interval: tuple[float, float]
    mase: float
    """Mean over series of MAE over the mean change from sample to sample before the first fold (Hyndman & Koehler)."""
    wmape: float
    """Mean over series of summed absolute errors over summed absolute truths."""
    pinball: float
    """Mean over series of the pinball loss of the quantiles 0.1, 0.5 and 0.9, scaled as for ``mase``."""
    coverage80: float
    """Mean over series of the share of truths within the quantiles 0.1 and 0.9."""
    seconds_per_series: float
    """Processor time to fit one series for one fold, learn its intervals and predict all the fold's origins."""
    series: int
    """Series that ``rel_mae`` is the mean of."""
    left_out: int
    """Series left out of it, as the model's error or the last value's is zero."""
    folds: int
    """Folds evaluated; series that are shorter than others have fewer."""
    points: int
    stood_in: float
    """Share of points at which the last value stood in, as the model had nothing to say."""
    untrusted: int
    """Series with fewer than ``FEWEST_FOLDS`` usable folds: ``auto`` is the last value there."""


def measure(found: Evaluation) -> list[Measured]:
    """Measure every model at every horizon, in the order in which they were evaluated."""
    usable = found.usable
    ratios = {name: _Ratios.of(sums) for name, sums in found.sums.items()}
    draws = _draws(next(iter(found.sums.values())))
    drawn = {name: _drawn(sums, draws) for name, sums in found.sums.items()}
    measured = []
    for (model, horizon_s), sums in found.sums.items():
        ratio = ratios[model, horizon_s]
        naive = {one: ratios[one, horizon_s].mean for one in NAIVE if (one, horizon_s) in ratios}
        naive = {one: mean for one, mean in naive.items() if np.isfinite(mean)}
        best = min(naive, key=lambda one: naive[one]) if naive else ""
        again = drawn[model, horizon_s]
        against = again / drawn[best, horizon_s] if best else np.full(len(again), np.nan)
        count = np.maximum(sums.count.sum(axis=1), 1)
        judged = sums.count.sum(axis=1) > 0
        folds_run = np.maximum((sums.count > 0).any(axis=0).sum(), 1)
        measured.append(
            Measured(
                model=model,
                horizon_s=horizon_s,
                rel_mae=ratio.mean,
                rel_mae_interval=_interval(again),
                best_naive=best,
                vs_best_naive=ratio.mean / naive[best] if best else np.nan,
                vs_best_naive_interval=_interval(against),
                mase=_mean(sums.error.sum(axis=1) / count, found.scale, judged),
                wmape=_mean(sums.error.sum(axis=1), sums.actual.sum(axis=1), judged),
                pinball=_mean(sums.pinball.sum(axis=1) / count, found.scale, judged),
                coverage80=_mean(sums.covered.sum(axis=1), sums.count.sum(axis=1), judged),
                seconds_per_series=found.seconds[model, horizon_s] / (len(usable) * folds_run),
                series=int(ratio.used.sum()),
                left_out=int((judged & ~ratio.used).sum()),
                folds=int(folds_run),
                points=int(sums.count.sum()),
                stood_in=float(sums.stood_in.sum() / max(sums.count.sum(), 1)),
                untrusted=int((judged & (usable < FEWEST_FOLDS)).sum()),
            )
        )
    return measured


@dataclass(frozen=True)
class _Ratios:
    used: NDArray[np.bool_]
    mean: float

    @classmethod
    def of(cls, sums: Sums) -> _Ratios:
        ours, last = sums.error.sum(axis=1), sums.last.sum(axis=1)
        used = (ours > 0) & (last > 0)
        mean = float(np.exp(np.mean(np.log(ours[used] / last[used])))) if used.any() else np.nan
        return cls(used, mean)


def _draws(sums: Sums) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Resamples: which series, and which of each one's usable folds, so that a file of one series has an interval too.

    The same for all models, so that they can be compared."""
    random = np.random.default_rng(SEED)
    series, folds = sums.count.shape
    usable = sums.count > 0
    able = np.flatnonzero(usable.any(axis=1))
    order = np.argsort(~usable, axis=1, kind="stable")  # usable folds first
    many = usable.sum(axis=1)
    draws = []
    for _ in range(max(100, min(DRAWS, MOST_DRAWN // max(series, 1)))):
        picked = random.choice(able, len(able)) if len(able) else able
        which = (random.random((len(picked), folds)) * many[picked, None]).astype(np.int64)
        draws.append((picked, np.take_along_axis(order[picked], which, axis=1)))
    return draws


def _drawn(sums: Sums, draws: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]]) -> Floats:
    """The ratio in each resample; NaN where no series is left."""
    found = np.full(len(draws), np.nan)
    for index, (picked, folds) in enumerate(draws):
        ours, last = sums.error[picked[:, None], folds].sum(axis=1), sums.last[picked[:, None], folds].sum(axis=1)
        used = (ours > 0) & (last > 0)
        if used.any():
            found[index] = np.exp(np.mean(np.log(ours[used] / last[used])))
    return found


def _interval(drawn: Floats) -> tuple[float, float]:
    known = drawn[np.isfinite(drawn)]
    if not len(known):
        return np.nan, np.nan
    low, high = np.quantile(known, INTERVAL)
    return float(low), float(high)


def _mean(above: Floats, below: Floats, judged: NDArray[np.bool_]) -> float:
    used = judged & np.isfinite(above) & (np.nan_to_num(below) > 0)
    return float(np.mean(above[used] / below[used])) if used.any() else np.nan
