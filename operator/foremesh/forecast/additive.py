"""The additive model: level, daily and weekly rhythm, and what the newest samples say, for all series in one go.

Prophet's form, solved in closed form: ridge regression with weights instead of sampling, so that a hundred series take
milliseconds and no process of their own. Source: Taylor & Letham, "Forecasting at Scale", 2018, section 3; the
reweighting is Huber's ("Robust Estimation of a Location Parameter", 1964).

The rhythm says by how much a series changes from now to then; where it stands now is told by the newest samples. How
far those are to be believed is learnt from the past, per series and distance: a prediction is the newest value plus
the rhythm's change, drawn towards the level of the last hour, the level of the last day, and towards no change.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foremesh.forecast.fit import DAY_S
from foremesh.forecast.forecasters import View
from foremesh.forecast.levels import MAD_TO_DEVIATION, median, quantile, recent_mean
from foremesh.model.series import Floats

BIN_S = 1800.0
"""Seconds whose median is one observation of the rhythm: spikes are gone, and eight harmonics need no finer ones."""

DAILY = 8
"""Harmonics of the day: down to three hours, which is as sharp as a rush hour. Twelve did no better in backtests."""

WEEKLY = 14
"""Harmonics of the week that are none of the day."""

WEEK_S = 7 * DAY_S

FEWEST_DAYS = 2
"""Days that a rhythm has to be seen; for weekly ones, weeks."""

MOST_KNOTS = 9
"""Bends of the level over the past, a day apart at the least: with more, it would take the rhythm's part."""

SHRINK_LEVEL = 0.1
"""Pull of the level's bends towards the median, in observations."""

SHRINK_RHYTHM = 0.3
"""Pull of the first harmonic of the day towards none, in observations; higher ones are pulled more, by their order."""

PASSES = 2
"""Times that observations are weighed anew by how far off they are."""

OUTLIER = 2.0
"""Deviations from which an observation weighs less."""

OLD_S = 7200.0
"""Seconds that the day's level is old when it is used: judgements are up to four hours old."""

DOUBT = 1.0
"""How strongly corrections are drawn towards none: as if each were known beforehand to be about ``USUAL_PULL``."""

USUAL_PULL = 0.5

USUAL = 0.98
"""Share of the distances between the hour's level and the day's that are chance; a greater one is a new level."""

LOWEST = 0.005
"""Share of samples below which a round trip is a measuring error and not the idle one."""

PULLS = 3
"""Towards the hour's level, the day's level, and no change."""


@dataclass(frozen=True, eq=False)
class Scale:
    """Where sums make sense: as measured, or as logarithms above a floor, where queues grow by factors."""

    floor: Floats
    """Per series; minus infinity for as measured."""
    least: Floats
    """Smallest distance above the floor."""

    @classmethod
    def above_idle(cls, values: Floats) -> Scale:
        """Round trips: propagation stays, and queueing, above it, multiplies with congestion."""
        some = values[:, ::3]
        low, middle = quantile(some, LOWEST), median(some)
        gap = np.maximum(middle - low, 1e-9 + 1e-6 * np.abs(middle))
        return cls(low - gap, 0.02 * gap)

    @classmethod
    def measured(cls, values: Floats) -> Scale:
        return cls(np.full(len(values), -np.inf), np.zeros(len(values)))

    def of(self, values: Floats) -> Floats:
        floor, least = self._like(values)
        if np.isinf(self.floor).all():
            return values
        scaled: Floats = np.log(np.maximum(values - floor, least))
        return scaled

    def back(self, scaled: Floats) -> Floats:
        floor, _ = self._like(scaled)
        if np.isinf(self.floor).all():
            return scaled
        values: Floats = np.exp(np.minimum(scaled, 700.0)) + floor
        return values

    def _like(self, values: Floats) -> tuple[Floats, Floats]:
        shape = (-1,) + (1,) * (values.ndim - 1)
        return self.floor.reshape(shape), self.least.reshape(shape)


@dataclass(frozen=True, eq=False)
class Rhythm:
    """Daily and weekly terms of every series."""

    terms: Floats
    """Shape (series, terms); NaN for a series that was not seen for long enough."""
    weekly: bool

    def at(self, times_s: Floats) -> Floats:
        """Distance from the level at these unix times, shape (series, *times)."""
        waves, _ = _waves(times_s.ravel(), self.weekly)
        distance: Floats = (self.terms @ waves.T).reshape(len(self.terms), *times_s.shape)
        return distance


@dataclass(frozen=True, eq=False)
class Additive:
    """The model of every series, fitted."""

    scale: Scale
    rhythm: Rhythm
    daily: Floats
    """Level of the last day above the rhythm, shape (series,), scaled."""
    usual: Floats
    """Greatest distance of the hour's level from the day's that is taken for chance, scaled, shape (series,)."""
    pulls: Floats
    """Shape (series, lags, ``PULLS``)."""
    lags_s: Floats
    bounds: Floats
    """Least and greatest value of the past, shape (2, series): nothing beyond is predicted but of what is there now."""
    name: str = "additive"

    def predict(self, view: View, ahead_s: Floats) -> Floats:
        lag = np.array([np.interp(ahead_s, self.lags_s, one) for one in np.eye(len(self.lags_s))])
        pulls = np.einsum("slp,lt->stp", self.pulls, lag)
        stand = _Stand.of(self.scale, self.rhythm, view, self.daily[:, None])
        predicted = self.scale.back(stand.predict(view, ahead_s, pulls[:, None]))
        # A level never seen: it is kept, with the change that the rhythm makes at its usual level.
        usual_s = np.concatenate([view.times_s[:, -1:], view.times_s[:, -1:] + ahead_s], axis=1)
        usual = self.scale.back(self.rhythm.at(usual_s) + self.daily[:, None, None])
        kept = view.settled[..., None] + usual[..., 1:] - usual[..., :1]
        new = np.abs(stand.hour - self.daily[:, None]) > self.usual[:, None]
        low, high = self.bounds[..., None, None]
        now = view.newest[..., None]
        predicted = np.clip(predicted, np.minimum(low, now), np.maximum(high, now))
        return np.where(new[..., None], kept, predicted)


@dataclass(frozen=True, eq=False)
class _Stand:
    """Where series stand above their rhythm, each of shape (series, instants), scaled."""

    rhythm: Rhythm
    newest: Floats
    hour: Floats
    day: Floats

    @classmethod
    def of(cls, scale: Scale, rhythm: Rhythm, view: View, day: Floats) -> _Stand:
        off = View(scale.of(view.rows) - rhythm.at(view.times_s), view.times_s, view.held_s)
        return cls(rhythm, off.newest, off.settled, day)

    def change(self, view: View, ahead_s: Floats) -> tuple[Floats, Floats]:
        """The rhythm then, and its change from now, shape (series, instants, steps)."""
        times_s = view.times_s[:, -1:]
        then = self.rhythm.at(times_s + ahead_s)
        return then, then - self.rhythm.at(times_s)

    def towards(self, change: Floats) -> Floats:
        """What each pull would add in full, shape (series, instants, steps, ``PULLS``)."""
        level = np.stack([self.hour - self.newest, self.day - self.newest], axis=-1)
        level = np.broadcast_to(level[..., None, :], (*change.shape, PULLS - 1))
        return np.concatenate([level, -change[..., None]], axis=-1)

    def predict(self, view: View, ahead_s: Floats, pulls: Floats) -> Floats:
        then, change = self.change(view, ahead_s)
        predicted: Floats = then + self.newest[..., None] + np.sum(self.towards(change) * pulls, axis=-1)
        return predicted


def fit_additive(
    values: Floats,
    times_s: Floats,
    step_s: float,
    *,
    view: View,
    origins: NDArray[np.int64],
    came: Floats,
    lags_s: Floats,
    above_idle: bool,
) -> tuple[Floats, Additive]:
    """Fit the model twice: on the past before the proof, to be judged there, and on all of it, to be used.

    Args:
        values: The past, shape (series, samples), NaN where unknown.
        times_s: Its unix times.
        step_s: Seconds between samples.
        view: What was known at the instants of the proof.
        origins: Where those are in the past.
        came: What came after them, shape (series, instants, lags); NaN where it is not to be looked at.
        lags_s: Seconds ahead.
        above_idle: Whether values grow by factors above what they are when idle.

    Returns:
        Predictions in the proof, by pulls learnt in its other half, shape (series, instants, lags); and the model.
    """
    scale = Scale.above_idle(values) if above_idle else Scale.measured(values)
    scaled = scale.of(values)
    older = origins[0] + 1
    weekly = bool(times_s[older - 1] - times_s[0] >= FEWEST_DAYS * WEEK_S - step_s)
    proof = fit_rhythm(scaled[:, :older], times_s[:older], step_s, weekly=weekly)
    rhythm = fit_rhythm(scaled, times_s, step_s, weekly=weekly)
    width = max(1, round(DAY_S / step_s))
    known_at = np.maximum(origins - round(OLD_S / step_s), 0)
    used = slice(max(0, known_at[0] + 1 - width), known_at[-1] + 1)
    day = recent_mean(scaled[:, used] - proof.at(times_s[used]), width)[:, known_at - used.start]
    stand = _Stand.of(scale, proof, view, day)
    then, change = stand.change(view, lags_s)
    base, towards = then + stand.newest[..., None], stand.towards(change)
    missed = scale.of(came) - base
    overlap = np.maximum(1.0, lags_s / ((origins[1] - origins[0]) * step_s if len(origins) > 1 else step_s))
    half = np.arange(len(origins)) >= len(origins) // 2
    learnt = [_pulls(towards[:, part], missed[:, part], overlap) for part in (~half, half)]
    there = np.where(half[:, None, None], learnt[0][:, None], learnt[1][:, None])
    model = Additive(
        scale=scale,
        rhythm=rhythm,
        daily=recent_mean(scaled[:, -width:] - rhythm.at(times_s[-width:]), width)[:, -1],
        usual=np.nan_to_num(quantile(np.abs(stand.hour - day), USUAL)),
        pulls=(learnt[0] + learnt[1]) / 2,
        lags_s=lags_s,
        bounds=np.array([np.fmin.reduce(values, axis=1), np.fmax.reduce(values, axis=1)]),
    )
    return scale.back(base + np.sum(towards * there, axis=-1)), model


def fit_rhythm(scaled: Floats, times_s: Floats, step_s: float, *, weekly: bool) -> Rhythm:
    """Level and rhythm by ridge regression on medians of half hours, the rhythm kept.

    Args:
        scaled: Shape (series, samples), NaN where unknown.
        times_s: Unix times of the samples.
        step_s: Seconds between them.
        weekly: Whether a weekly rhythm is looked for.
    """
    merge = max(1, round(BIN_S / step_s))
    used = scaled.shape[1] // merge * merge
    seen = median(scaled[:, scaled.shape[1] - used :].reshape(len(scaled), -1, merge))
    at_s = times_s[len(times_s) - used :].reshape(-1, merge).mean(axis=1)
    known = np.isfinite(seen)
    waves, order = _waves(at_s, weekly)
    span_s = at_s[-1] - at_s[0]
    knots = int(np.clip(np.ceil(span_s / DAY_S) + 1, 2, MOST_KNOTS))
    place = (at_s - at_s[0]) / max(span_s, 1.0) * (knots - 1)
    levels = np.maximum(0.0, 1.0 - np.abs(place[:, None] - np.arange(knots)))
    columns = np.concatenate([levels, waves], axis=1)
    count = columns.shape[1]
    pull = np.diag(np.concatenate([np.full(knots, SHRINK_LEVEL), SHRINK_RHYTHM * order]))
    centre = median(seen)[:, None]
    apart = np.where(known, seen - centre, np.nan)
    unit = np.maximum(MAD_TO_DEVIATION * median(np.abs(apart)), 0.1 * np.nan_to_num(_mean(np.abs(apart))))[:, None]
    unit = np.where(unit > 0, unit, 1.0)
    target = np.nan_to_num(apart / unit)
    upper = np.triu_indices(count)
    products = columns[:, upper[0]] * columns[:, upper[1]]
    weight = known.astype(np.float64)
    terms = np.zeros((len(scaled), count))
    for again in range(PASSES + 1):
        if again:
            off = np.abs(target - terms @ columns.T)
            usual = MAD_TO_DEVIATION * np.nan_to_num(median(np.where(known, off, np.nan)))[:, None] + 1e-6
            weight = known * np.minimum(1.0, OUTLIER * usual / np.maximum(off, 1e-12))
        square = np.zeros((len(scaled), count, count))
        square[:, upper[0], upper[1]] = weight @ products
        square[:, upper[1], upper[0]] = square[:, upper[0], upper[1]]
        terms = np.linalg.solve(square + pull, ((weight * target) @ columns)[..., None])[..., 0]
    rhythm = unit * terms[:, knots:]
    rhythm[known.sum(axis=1) * merge * step_s < FEWEST_DAYS * DAY_S] = np.nan
    return Rhythm(rhythm, weekly)


def _waves(times_s: Floats, weekly: bool) -> tuple[Floats, Floats]:
    """Columns of the rhythm at these times, shape (times, terms), and each one's order in cycles a day, at least 1."""
    cycles = np.arange(1, DAILY + 1, dtype=np.float64)
    if weekly:
        of_week = np.arange(1, 2 * WEEKLY)
        cycles = np.concatenate([cycles, of_week[of_week % 7 > 0][:WEEKLY] / 7])
    angle = 2 * np.pi * (times_s / DAY_S)[:, None] * cycles
    return np.concatenate([np.cos(angle), np.sin(angle)], axis=1), np.tile(np.maximum(cycles, 1.0), 2)


def _pulls(towards: Floats, missed: Floats, overlap: Floats) -> Floats:
    """How far to follow each pull, shape (series, lags, ``PULLS``): least absolute errors, drawn towards none.

    Args:
        towards: What each would add in full, shape (series, instants, lags, ``PULLS``).
        missed: What was to be added, shape (series, instants, lags), NaN where unknown.
        overlap: Per lag, errors of neighbouring instants that are about one and the same.
    """
    known = (np.isfinite(missed) & np.isfinite(towards).all(axis=-1)).transpose(0, 2, 1)
    given = np.where(known[..., None], towards.transpose(0, 2, 1, 3), 0.0)
    wanted = np.where(known, missed.transpose(0, 2, 1), 0.0)
    pulls = np.zeros((*wanted.shape[:2], PULLS))
    count = np.maximum(known.sum(axis=-1, keepdims=True), 1)
    for _ in range(3):
        off = np.abs(wanted - (given @ pulls[..., None])[..., 0])
        mean = off.sum(axis=-1, keepdims=True) / count + 1e-12
        usual = np.maximum(np.nan_to_num(median(np.where(known, off, np.nan)))[..., None], 0.1 * mean)
        weighted = given * (known / np.maximum(off / usual, 0.3))[..., None]
        square = np.matmul(weighted.transpose(0, 1, 3, 2), given)
        product = np.matmul(weighted.transpose(0, 1, 3, 2), wanted[..., None])
        doubt = DOUBT * overlap[:, None] * mean * usual / USUAL_PULL**2
        doubt = doubt + 1e-6 * np.trace(square, axis1=-2, axis2=-1)[..., None] + 1e-30  # pulls may say the same
        pulls = np.linalg.solve(square + doubt[..., None] * np.eye(PULLS), product)[..., 0]
    clipped: Floats = np.clip(pulls, [-1.0, 0.0, 0.0], 1.0)
    return clipped


def _mean(values: Floats) -> Floats:
    known = np.isfinite(values)
    mean: Floats = np.sum(values, axis=1, where=known) / np.maximum(known.sum(axis=1), 1)
    return mean
