"""The additive model: level, daily and weekly rhythm, and what the newest samples say, for all series in one go.

The rhythm (see ``rhythm``) says by how much a series changes from now to then; where it stands now is told by the
newest samples. How far those are to be believed is learnt from the past, per series and distance: a prediction is the
newest value plus the rhythm's change, drawn towards the level of the last hour, the level of the last day, and towards
no change. A hundred series take milliseconds and no process of their own; a few hundred at once are quickest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foremesh.forecast.fit import DAY_S
from foremesh.forecast.forecasters import View, nearness
from foremesh.forecast.levels import median, quantile, recent_mean
from foremesh.forecast.rhythm import FEWEST_DAYS, WEEK_S, Array, Rhythm, bin_samples, binned, fit_rhythm
from foremesh.model.series import Floats

__all__ = ["FEWEST_DAYS", "Additive", "Scale", "fit_additive"]

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

TURNS = 3
"""Fits of the pulls, with observations weighed anew: squares to absolute errors."""

NEAREST = 0.3
"""Usual errors below which an observation weighs no more."""

LARGEST_LOG = 80.0
"""Exponents above say nothing, and overflow."""


@dataclass(frozen=True, eq=False)
class Scale:
    """Where sums make sense: as measured, or as logarithms above a floor, where queues grow by factors."""

    floor: Floats
    """Per series, what is taken off."""
    least: Array
    """Smallest distance above the floor; minus infinity for as measured."""

    @classmethod
    def above_idle(cls, values: Floats) -> Scale:
        """Round trips: propagation stays, and queueing, above it, multiplies with congestion."""
        some = values[:, ::3]
        low, middle = quantile(some, LOWEST), median(some)
        gap = np.maximum(middle - low, 1e-9 + 1e-6 * np.abs(middle))
        return cls(low - gap, (0.02 * gap).astype(np.float32))

    @classmethod
    def measured(cls, values: Floats) -> Scale:
        middle = np.nan_to_num(median(values[:, ::3]))
        return cls(middle, np.full(len(values), -np.inf, dtype=np.float32))

    def of(self, values: NDArray[Any]) -> Array:
        return self.told(self.above(values))

    def above(self, values: NDArray[Any]) -> Array:
        """How far values lie above the floor."""
        above: Array = np.empty(values.shape, dtype=np.float32)
        np.subtract(values, self._like(self.floor, values), out=above, casting="same_kind")  # all digits until then
        return above

    def told(self, above: Array) -> Array:
        """What is so far above the floor, scaled."""
        if self._measured:
            return above
        scaled: Array = np.log(np.maximum(above, self._like(self.least, above)))
        return scaled

    def back(self, scaled: Array) -> Floats:
        above = scaled if self._measured else np.exp(np.minimum(scaled, LARGEST_LOG))
        values: Floats = above + self._like(self.floor, scaled)
        return values

    @property
    def _measured(self) -> bool:
        return bool(np.isneginf(self.least).all())

    @staticmethod
    def _like(own: NDArray[Any], values: NDArray[Any]) -> NDArray[Any]:
        return own.reshape((-1,) + (1,) * (values.ndim - 1))


@dataclass(frozen=True, eq=False)
class Additive:
    """The model of every series, fitted."""

    scale: Scale
    rhythm: Rhythm
    daily: Array
    """Level of the last day above the rhythm, shape (series,), scaled."""
    usual: Floats
    """Greatest distance of the hour's level from the day's that is taken for chance, scaled, shape (series,)."""
    pulls: Array
    """Shape (series, lags, ``PULLS``)."""
    lags_s: Floats
    bounds: Floats
    """Least and greatest value of the past, shape (2, series): nothing beyond is predicted but of what is there now."""
    name: str = "additive"

    def predict(self, view: View, ahead_s: Floats) -> Floats:
        stand = _Stand.of(self.scale, self.rhythm, view, self.daily[:, None], ahead_s)
        near = nearness(self.lags_s, ahead_s).astype(np.float32)
        predicted = self.scale.back(stand.predict(np.einsum("slp,lt->stp", self.pulls, near)))
        low, high = self.bounds[..., None, None]
        held = view.newest[..., None]
        predicted = np.clip(predicted, np.minimum(low, held), np.maximum(high, held))
        new = np.abs(stand.hour - stand.day) > self.usual[:, None]
        if new.any():
            # A level never seen: it is kept, with the change that the rhythm makes at its usual level.
            level = stand.day[..., None]
            usual = self.scale.back(stand.then + level) - self.scale.back(stand.now + level)
            predicted = np.where(new[..., None], view.settled[..., None] + usual, predicted)
        return predicted


@dataclass(frozen=True, eq=False)
class _Stand:
    """Where series stand above their rhythm, each of shape (series, instants), scaled; and the rhythm."""

    newest: Array
    hour: Array
    day: Array
    now: Array
    """The rhythm at the instants, shape (series, instants, 1)."""
    then: Array
    """The rhythm at what is predicted, shape (series, instants, steps)."""

    @classmethod
    def of(cls, scale: Scale, rhythm: Rhythm, view: View, day: Array, ahead_s: Floats) -> _Stand:
        off = View((scale.of(view.rows) - rhythm.at(view.times_s)).astype(np.float64), view.times_s, view.held_s)
        times_s = view.times_s[:, -1:]
        newest, hour = off.newest.astype(np.float32), off.settled.astype(np.float32)
        return cls(newest, hour, day, rhythm.at(times_s), rhythm.at(times_s + ahead_s))

    def predict(self, pulls: Array) -> Array:
        """By pulls of shape (series, steps, ``PULLS``)."""
        pull = pulls[:, None]
        predicted: Array = self.then + self.newest[..., None]
        predicted += (self.hour - self.newest)[..., None] * pull[..., 0]
        predicted += (self.day - self.newest)[..., None] * pull[..., 1]
        predicted += (self.now - self.then) * pull[..., 2]
        return predicted

    def part(self, instants: slice) -> _Stand:
        return _Stand(*(one[:, instants] for one in (self.newest, self.hour, self.day, self.now, self.then)))


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
    older = int(origins[0]) + 1
    weekly = bool(times_s[older - 1] - times_s[0] >= FEWEST_DAYS * WEEK_S - step_s)
    above = scale.above(values)
    bins, at_s = binned(above, times_s, step_s)
    seen = scale.told(bins)
    before = len(at_s) + (older - values.shape[1]) // bin_samples(step_s)
    proof = fit_rhythm(seen[:, :before], at_s[:before], weekly=weekly)
    rhythm = fit_rhythm(seen, at_s, weekly=weekly)
    width = max(1, round(DAY_S / step_s))
    known_at = np.maximum(origins - round(OLD_S / step_s), 0)
    start = max(0, int(known_at[0]) + 1 - width)
    newer = scale.told(above[:, start:])
    day = _day(newer - proof.at(times_s[start:]), width)[:, known_at - start]
    stand = _Stand.of(scale, proof, view, day, lags_s)
    missed = scale.of(came) - stand.then - stand.newest[..., None]
    overlap = np.maximum(1.0, lags_s / ((origins[1] - origins[0]) * step_s if len(origins) > 1 else step_s))
    half = len(origins) // 2
    parts = (slice(None, half), slice(half, None))
    learnt = [_pulls(stand.part(part), missed[:, part], overlap) for part in parts]
    there = [stand.part(part).predict(pulls) for part, pulls in zip(parts, learnt[::-1], strict=True)]
    last_day = newer[:, -width:] - rhythm.at(times_s[-width:])
    model = Additive(
        scale=scale,
        rhythm=rhythm,
        daily=_day(last_day, width)[:, -1],
        usual=np.nan_to_num(quantile(np.abs(stand.hour - day), USUAL)),
        pulls=(learnt[0] + learnt[1]) / np.float32(2),
        lags_s=lags_s,
        bounds=scale.floor + np.array([np.fmin.reduce(above, axis=1), np.fmax.reduce(above, axis=1)]),
    )
    return scale.back(np.concatenate(there, axis=1)), model


def _day(off: NDArray[Any], width: int) -> Array:
    """Mean of the day up to each sample."""
    mean: Array = recent_mean(np.asarray(off, dtype=np.float64), width).astype(np.float32)
    return mean


def _pulls(stand: _Stand, missed: Array, overlap: Floats) -> Array:
    """How far to follow each pull, shape (series, lags, ``PULLS``): least absolute errors, drawn towards none.

    Args:
        stand: Where series stood.
        missed: What was to be added, shape (series, instants, lags), NaN where unknown.
        overlap: Per lag, errors of neighbouring instants that are about one and the same.
    """
    rows = np.empty((len(missed), missed.shape[2], PULLS + 1, missed.shape[1]), dtype=np.float32)
    rows[:, :, 0] = (stand.hour - stand.newest)[:, None]
    rows[:, :, 1] = (stand.day - stand.newest)[:, None]
    rows[:, :, 2] = (stand.now - stand.then).transpose(0, 2, 1)
    rows[:, :, PULLS] = missed.transpose(0, 2, 1)
    known = np.isfinite(rows.sum(axis=2))
    whole = bool(known.all())
    if not whole:
        rows[~np.broadcast_to(known[:, :, None], rows.shape)] = 0.0
    count = np.maximum(known.sum(axis=-1), 1)
    pulls = np.zeros((*rows.shape[:2], PULLS))
    for _ in range(TURNS):
        signs = np.concatenate([-pulls, np.ones((*rows.shape[:2], 1))], axis=-1).astype(np.float32)
        off = np.abs(signs[:, :, None] @ rows)[:, :, 0]
        mean = off.sum(axis=-1) / count + 1e-12
        usual = np.maximum(np.nan_to_num(median(off if whole else np.where(known, off, np.nan))), 0.1 * mean)
        unit = usual[..., None].astype(np.float32)
        weight = unit / np.maximum(off, np.float32(NEAREST) * unit)
        square = ((rows * weight[:, :, None]) @ rows.transpose(0, 1, 3, 2)).astype(np.float64)
        own = square[..., :PULLS, :PULLS]
        doubt = DOUBT * overlap * mean * usual / USUAL_PULL**2
        doubt += 1e-6 * np.trace(own, axis1=-2, axis2=-1) + 1e-30  # pulls may say the same
        pulls = np.linalg.solve(own + doubt[..., None, None] * np.eye(PULLS), square[..., :PULLS, PULLS:])[..., 0]
    clipped: Array = np.clip(pulls, [-1.0, 0.0, 0.0], 1.0).astype(np.float32)
    return clipped
