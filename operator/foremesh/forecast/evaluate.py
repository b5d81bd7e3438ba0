"""How good forecasts would have been: every model on the same points of many series, at the end of their past.

The end of a batch is cut into folds, blocks in time order. What is fitted (rhythms, Prophet's curves) is fitted once
for each fold, on what lies before its first origin. At each origin within the fold a model is shown the newest samples,
as the operator would have them, and no later ones; weights and the width of intervals follow the truths known by then.

Arrays in, arrays out: nothing here reads a file or a clock but to say how long models took.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields

import numpy as np
from numpy.typing import NDArray

from foremesh.forecast.choose import Judgement, fewest_samples, judge, view_at
from foremesh.forecast.fit import DAY_S, Fit
from foremesh.forecast.forecasters import Curves, SeasonalNaive, View
from foremesh.forecast.levels import quantile
from foremesh.model.forecast import QUANTILES
from foremesh.model.series import Floats, SeriesBatch

NAIVE = ("last", "median", "seasonal")
"""Models that have nothing to learn: what the others are measured by."""

MODELS = (*NAIVE, "prophet", "additive", "auto")
"""In the order in which tables show them."""

FEWEST_FOLDS = 3
"""Usable folds of a series below which the gate is not trusted: it is the last value there, and that is said."""

LEARN_S = 2 * DAY_S
"""Seconds before the first fold that are left for learning where a series is long enough: a rhythm seen twice."""

HISTORY_S = 28 * DAY_S
"""Seconds before a fold that models learn from; older ones mislead, as networks change."""

MOST_TOGETHER = 256
"""Series worked on at once: few enough for their windows at every origin to fit in memory."""

Fitter = Callable[[SeriesBatch, float, float], tuple[Sequence[Fit | None], float]]
"""Fits Prophet to a past: given it, the longest horizon and the seconds that a fit has to serve, it returns a fit for
every series that has one, and the processor seconds that they took."""


@dataclass(frozen=True)
class Folds:
    """Where the folds of a batch lie."""

    first: tuple[int, ...]
    """Sample of each fold's first origin, ascending; what lies after it was not seen by any fit for the fold."""
    origins: int
    """Origins of each, one a sample."""


@dataclass(frozen=True)
class Sums:
    """What a model was off at one horizon, summed over the points of each fold; every array (series, folds)."""

    count: Floats
    """Points: origins whose newest sample and truth are known; 0 where a fold is not usable."""
    error: Floats
    """Absolute errors of the median."""
    last: Floats
    """The last value's on the same points."""
    actual: Floats
    """Absolute truths."""
    pinball: Floats
    """Pinball losses, mean over the quantiles."""
    covered: Floats
    """Points within the outer quantiles."""
    stood_in: Floats
    """Points at which the last value stood in for a model that had nothing to say."""


SUMMED = tuple(one.name for one in fields(Sums))


@dataclass(frozen=True)
class Evaluation:
    """Models on the points of a batch."""

    sums: dict[tuple[str, float], Sums]
    """By model and horizon in seconds."""
    scale: Floats
    """Per series, mean absolute change from sample to sample before the first fold; what errors are scaled by."""
    seconds: dict[tuple[str, float], float] = field(default_factory=dict)
    """Processor time that a model took for all series and folds: to fit, to learn its intervals and to predict."""

    @property
    def usable(self) -> NDArray[np.int64]:
        """Usable folds of every series."""
        some = next(iter(self.sums.values()))
        return np.asarray((some.count > 0).sum(axis=1))


def folds_of(samples: int, step_s: float, horizon_s: float, folds: int) -> Folds:
    """Cut the end of a past into folds.

    Each fold is a day long, so that every hour of it counts the same; where a past is too short for that, and for
    ``LEARN_S`` before the first fold, they are shorter, but never shorter than two horizons; then there are fewer.

    Args:
        samples: How long the past is.
        step_s: Seconds between its samples.
        horizon_s: The longest one looked at, a multiple of the step.
        folds: How many at most.
    """
    ahead = round(horizon_s / step_s)
    least, day = 2 * ahead, round(DAY_S / step_s)
    room = (samples - ahead - round(LEARN_S / step_s)) // folds
    origins = max(least, min(day, room))
    count = min(folds, max(0, samples - ahead - fewest_samples(step_s, horizon_s)) // origins)
    start = samples - ahead - count * origins
    return Folds(tuple(start + origins * index for index in range(count)), origins)


def evaluate(
    batch: SeriesBatch,
    *,
    horizons_s: Sequence[float],
    models: Sequence[str],
    folds: int,
    fitter: Fitter | None = None,
    history_s: float = HISTORY_S,
    progress: Callable[[float], None] = lambda share: None,
) -> Evaluation | None:
    """Let models predict the end of a batch.

    Args:
        batch: Series that begin and end together.
        horizons_s: Seconds ahead, multiples of the batch's step.
        models: Names out of ``MODELS``. Where ``prophet`` is among them, ``auto`` may choose it.
        folds: How many at most, see ``folds_of``.
        fitter: Needed for ``prophet``.
        history_s: Seconds before a fold that are learnt from.
        progress: Called with the share done.

    Returns:
        None if the batch is too short for a single fold.
    """
    layout = folds_of(batch.values.shape[1], batch.step_s, max(horizons_s), folds)
    if not layout.first:
        return None
    parts = []
    starts = range(0, len(batch.keys), MOST_TOGETHER)
    for start in starts:
        rows = slice(start, start + MOST_TOGETHER)
        part = SeriesBatch(batch.metric, batch.keys[rows], batch.values[rows], batch.step_s, batch.end_s)

        def show(share: float, done: float = start / MOST_TOGETHER) -> None:
            progress((done + share) / len(starts))

        parts.append(_evaluate(part, layout, tuple(horizons_s), tuple(models), fitter, history_s, show))
    return joined(parts)


def joined(parts: Sequence[Evaluation]) -> Evaluation:
    """Evaluations of different series as one; those with fewer folds have had none of the others' earliest."""
    most = max(next(iter(part.sums.values())).count.shape[1] for part in parts)

    def stacked(name: tuple[str, float]) -> Sums:
        held = [part.sums[name] for part in parts]
        return Sums(
            **{
                key: np.concatenate(
                    [np.pad(one, ((0, 0), (most - one.shape[1], 0))) for one in (getattr(sums, key) for sums in held)]
                )
                for key in SUMMED
            }
        )

    return Evaluation(
        sums={name: stacked(name) for name in parts[0].sums},
        scale=np.concatenate([part.scale for part in parts]),
        seconds={name: sum(part.seconds[name] for part in parts) for name in parts[0].seconds},
    )


def _evaluate(
    batch: SeriesBatch,
    layout: Folds,
    horizons_s: tuple[float, ...],
    models: tuple[str, ...],
    fitter: Fitter | None,
    history_s: float,
    progress: Callable[[float], None],
) -> Evaluation:
    values, times_s, step_s = batch.values, batch.times_s, batch.step_s
    usable = _usable(values, layout, fewest_samples(step_s, max(horizons_s)))
    trusted = usable.sum(axis=1) >= FEWEST_FOLDS
    collected: dict[tuple[str, float], list[Sums]] = {}
    seconds = {(model, horizon_s): 0.0 for model in models for horizon_s in horizons_s}
    seasonal = SeasonalNaive(Curves.of_batch(values, times_s, step_s))
    days = Curves.of_batch(values, times_s + DAY_S, step_s)
    steps = len(layout.first) * len(horizons_s) * len(models)
    done = 0
    for fold, first in enumerate(layout.first):
        oldest = max(0, first + 1 - round(history_s / step_s))
        past = SeriesBatch(batch.metric, batch.keys, values[:, oldest : first + 1], step_s, float(times_s[first]))
        origins = np.arange(first, first + layout.origins)
        view = view_at(values, times_s, step_s, origins)
        fits, fitting_s = _fits(fitter, past, max(horizons_s), layout.origins * step_s, models)
        for horizon_s in horizons_s:
            came = values[:, origins + round(horizon_s / step_s)]
            points = np.isfinite(came) & np.isfinite(view.newest) & usable[:, fold, None]
            held: Floats | None = None
            for model in dict.fromkeys(("last", *models)):
                began_s = time.process_time()
                judgement = judge(
                    past.values,
                    past.times_s,
                    step_s,
                    horizon_s=horizon_s,
                    fits=fits if model in ("prophet", "auto") else (),
                    metric=batch.metric,
                    rivals=(seasonal,) if model == "seasonal" else (),
                    only="" if model == "auto" else model,
                    most_lags=1,
                    days=days,
                )
                quantiles, there = followed(judgement, values[:, origins], view)
                held = quantiles if held is None else held
                if model == "auto":
                    quantiles = np.where(trusted[:, None], quantiles, held)
                if model not in models:
                    continue
                took_s = time.process_time() - began_s
                seconds[model, horizon_s] += took_s + (fitting_s if model == "prophet" else 0.0)
                if model not in ("auto", judgement.models[0].name):
                    there[:] = False  # it could not be fitted
                sums = _sums(quantiles, held[1], came, points, points & ~there)
                collected.setdefault((model, horizon_s), []).append(sums)
                done += 1
                progress(done / steps)
    return Evaluation(
        sums={
            name: Sums(**{key: np.stack([getattr(one, key) for one in each], axis=1) for key in SUMMED})
            for name, each in collected.items()
        },
        scale=_scale(values[:, : layout.first[0] + 1]),
        seconds=seconds,
    )


def followed(judgement: Judgement, values: Floats, view: View) -> tuple[Floats, NDArray[np.bool_]]:
    """What models say of the horizon at each of many samples, the gate taking one after the other.

    Args:
        judgement: Of the past up to the first of these samples.
        values: Shape (series, samples).
        view: What was known at each of them.

    Returns:
        Quantiles, shape (quantiles, series, samples), NaN where not even a newest sample is known; and where any model
        had something to say itself.
    """
    ahead_s = judgement.lags_s[-1:]
    first = judgement.mixed(View(view.rows[:, :1], view.times_s[:1]), judgement.lags_s)
    _, rest = judgement.followed(values[:, 1:], View(view.rows[:, 1:], view.times_s[1:]))
    middle, low, high = (
        np.concatenate([one[..., -1], other[..., -1]], axis=1)
        for one, other in zip((first.middle, *first.spread), (rest.middle, *rest.spread), strict=True)
    )
    there = np.isfinite(judgement.predicted(view, ahead_s)[..., 0]).max(axis=0)
    middle = np.where(np.isfinite(middle), middle, view.newest)
    nobody = ~judgement.told
    if nobody.any():
        middle[nobody] = view.newest[nobody]
        off = view.rows[nobody] - middle[nobody][..., None]
        low[nobody], high[nobody] = (quantile(off, share) for share in (QUANTILES[0], QUANTILES[-1]))
    return np.array([middle + np.minimum(low, 0.0), middle, middle + np.maximum(high, 0.0)]), there


def _usable(values: Floats, layout: Folds, needed: int) -> NDArray[np.bool_]:
    """Whether enough is known before each fold, and anything in it; shape (series, folds)."""
    known = np.cumsum(np.isfinite(values), axis=1)
    first = np.array(layout.first)
    inside = known[:, first + layout.origins] - known[:, first]
    usable: NDArray[np.bool_] = (known[:, first] >= needed) & (inside > 0)
    return usable


def _fits(
    fitter: Fitter | None, past: SeriesBatch, horizon_s: float, serve_s: float, models: Sequence[str]
) -> tuple[Sequence[Fit | None], float]:
    if "prophet" not in models:
        return (), 0.0
    if fitter is None:
        raise ValueError("prophet is to be evaluated, and no fitter is given")
    return fitter(past, horizon_s, serve_s)


def _sums(
    quantiles: Floats, last: Floats, came: Floats, points: NDArray[np.bool_], stood_in: NDArray[np.bool_]
) -> Sums:
    def total(values: Floats) -> Floats:
        summed: Floats = np.sum(np.where(points, values, 0.0), axis=1)
        return summed

    over = came - quantiles
    levels = np.array(QUANTILES)[:, None, None]
    return Sums(
        count=points.sum(axis=1).astype(np.float64),
        error=total(np.abs(over[1])),
        last=total(np.abs(came - last)),
        actual=total(np.abs(came)),
        pinball=total(np.mean(np.maximum(levels * over, (levels - 1) * over), axis=0)),
        covered=total(((over[0] >= 0) & (over[-1] <= 0)).astype(np.float64)),
        stood_in=stood_in.sum(axis=1).astype(np.float64),
    )


def _scale(past: Floats) -> Floats:
    apart = np.abs(np.diff(past, axis=1))
    known = np.isfinite(apart)
    count = known.sum(axis=1)
    mean: Floats = np.sum(apart, axis=1, where=known) / np.maximum(count, 1)
    return np.where(count > 0, mean, np.nan)
