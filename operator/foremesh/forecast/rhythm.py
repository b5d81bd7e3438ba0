"""What returns every day and every week, of all series in one go: Prophet's form, solved in closed form.

A trend of straight pieces whose changes are shrunk, and Fourier terms of day and week; ridge regression instead of
sampling, so that a thousand series take a tenth of a second. Robust by Huber's modified observations: what is too far
off is brought near, and the fit is repeated with the same matrix. Sources: Taylor & Letham, "Forecasting at Scale",
2018, section 3; Huber & Dutter, "Numerical solution of robust regression problems", 1974.

Only what returns is kept; where a series stands is told by its newest samples (see ``additive``).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foremesh.forecast.fit import DAY_S
from foremesh.forecast.levels import MAD_TO_DEVIATION, median, quantile
from foremesh.model.series import Floats

Array = NDArray[np.float32]
"""Distances from where a series usually stands need no more digits, and half the memory is twice as quick."""

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
"""Ends of the trend's pieces, a day apart at the least: with more, it would take the rhythm's part."""

SHRINK_CHANGES = 1.0
"""Pull of the trend's changes of slope towards none, in observations: a few percent off errors on recorded servers,
against a level that bends freely."""

SHRINK_LEVEL = 0.02
"""Pull of the trend towards the median, in observations: where nothing is known, it has to be somewhere."""

SHRINK_RHYTHM = 0.3
"""Pull of the first harmonic of the day towards none, in observations; higher ones are pulled more, by their order."""

COMMON, EXTREME = 0.9, 1.5
"""Share of the observations that are no spikes, and how much farther from the median than those one is brought near
before the first fit, so that a few passes are enough: quiet weekends are as far off as spikes, but not as rare."""

PASSES = 3
"""Fits with what is too far off brought near. Five did no better."""

OUTLIER = 2.0
"""Deviations that are too far off."""

NARROW = 16
"""Values up to which comparing whole columns is quicker than sorting each row."""


@dataclass(frozen=True, eq=False)
class Rhythm:
    """Daily and weekly terms of every series."""

    terms: Array
    """Shape (series, terms); NaN for a series that was not seen for long enough."""
    weekly: bool

    def at(self, times_s: Floats) -> Array:
        """Distance from the trend at these unix times, shape (series, *times)."""
        waves = _waves(times_s.ravel(), _cycles(self.weekly))
        distance: Array = (self.terms @ waves.T).reshape(len(self.terms), *times_s.shape)
        return distance


def fit_rhythm(seen: NDArray[Any], at_s: Floats, *, weekly: bool) -> Rhythm:
    """Fit trend and rhythm to medians of half hours, and keep the rhythm.

    Args:
        seen: Shape (series, observations), NaN where unknown; with so little in common that float32 is enough.
        at_s: Unix times of the observations, evenly spaced.
        weekly: Whether a weekly rhythm is looked for.
    """
    known = np.isfinite(seen)
    columns, pull = _columns(at_s, _cycles(weekly))
    centre = median(seen)[:, None]
    apart = np.where(known, seen - centre, np.nan)
    size = np.abs(apart)
    mean = np.sum(size, axis=1, where=known) / np.maximum(known.sum(axis=1), 1)
    unit = np.maximum(MAD_TO_DEVIATION * np.nan_to_num(median(size)), 0.1 * mean)[:, None]
    unit = np.where(unit > 0, unit, 1.0)
    target = np.nan_to_num(apart / unit).astype(np.float32)
    terms = np.empty((len(seen), columns.shape[1]), dtype=np.float32)
    whole = known.all(axis=1)
    if whole.any():
        terms[whole] = _fit_whole(target[whole], columns, pull)
    if not whole.all():
        terms[~whole] = _fit_gapped(target[~whole], known[~whole], columns, pull)
    rhythm = (unit * terms[:, -2 * len(_cycles(weekly)) :]).astype(np.float32)
    apart_s = float(at_s[-1] - at_s[0]) / max(len(at_s) - 1, 1)
    rhythm[known.sum(axis=1) * apart_s < FEWEST_DAYS * DAY_S] = np.nan
    return Rhythm(rhythm, weekly)


def binned(values: Array, times_s: Floats, step_s: float) -> tuple[Array, Floats]:
    """Medians of half hours up to the newest sample, and their times; of samples coarser than that, each one."""
    merge = bin_samples(step_s)
    used = values.shape[1] // merge * merge
    rows = values[:, values.shape[1] - used :].reshape(len(values), -1, merge)
    return _medians(rows), times_s[len(times_s) - used :].reshape(-1, merge).mean(axis=1)


def bin_samples(step_s: float) -> int:
    """Samples that make one observation."""
    return max(1, round(BIN_S / step_s))


def _fit_whole(target: Array, columns: Array, pull: Floats) -> Array:
    """Fit series without gaps: the matrix is the same for all."""
    wide = columns.astype(np.float64)
    back = np.linalg.solve(wide.T @ wide + pull, wide.T).T.astype(np.float32)
    terms: Array = _brought_near(target, np.ones_like(target, dtype=np.bool_)) @ back
    for _ in range(PASSES):
        fitted = terms @ columns.T
        off = target - fitted
        size = np.abs(off)
        limit = OUTLIER * MAD_TO_DEVIATION * _middle(size) + 1e-6
        better = (fitted + np.clip(off, -limit, limit)) @ back
        terms = terms + (better - terms) / _inside(size <= limit, target.shape[1])
    return terms


def _fit_gapped(target: Array, known: NDArray[np.bool_], columns: Array, pull: Floats) -> Array:
    """Fit series with gaps: each has its own matrix, made of what is known of it."""
    upper = np.triu_indices(columns.shape[1])
    square = np.empty((len(target), *pull.shape))
    square[:, upper[0], upper[1]] = known.astype(np.float32) @ (columns[:, upper[0]] * columns[:, upper[1]])
    square[:, upper[1], upper[0]] = square[:, upper[0], upper[1]]
    inverse = np.linalg.inv(square + pull).astype(np.float32)

    def solved(wanted: Array) -> Array:
        terms: Array = (inverse @ ((wanted * known) @ columns)[..., None])[..., 0]
        return terms

    terms = solved(_brought_near(target, known))
    count = np.maximum(known.sum(axis=1, keepdims=True), 1)
    for _ in range(PASSES):
        fitted = terms @ columns.T
        off = target - fitted
        size = np.abs(off)
        usual = np.nan_to_num(median(np.where(known, size, np.nan)))[:, None].astype(np.float32)
        limit = OUTLIER * MAD_TO_DEVIATION * usual + 1e-6
        better = solved(fitted + np.clip(off, -limit, limit))
        terms = terms + (better - terms) / _inside((size <= limit) & known, count)
    return terms


def _brought_near(target: Array, known: NDArray[np.bool_]) -> Array:
    limit = EXTREME * quantile(np.where(known, np.abs(target), np.nan), COMMON)[:, None].astype(np.float32)
    near: Array = np.clip(target, -np.nan_to_num(limit), np.nan_to_num(limit))
    return near


def _inside(near: NDArray[np.bool_], count: Any) -> Array:
    """Share of observations that move the fit; the others stay brought near, so it has to go further."""
    share: Array = np.maximum(near.sum(axis=1, keepdims=True) / count, 0.5).astype(np.float32)
    return share


def _columns(at_s: Floats, cycles: Floats) -> tuple[Array, Floats]:
    """What a past is made of, shape (times, terms), and how strongly terms are drawn to none, shape (terms, terms)."""
    span_s = at_s[-1] - at_s[0]
    knots = int(np.clip(np.ceil(span_s / DAY_S) + 1, 2, MOST_KNOTS))
    place = (at_s - at_s[0]) / max(span_s, 1.0) * (knots - 1)
    trend = np.maximum(0.0, 1.0 - np.abs(place[:, None] - np.arange(knots)))
    change = np.diff(np.eye(knots), 2, axis=0)
    order = np.tile(np.maximum(cycles, 1.0), 2)
    pull = np.diag(np.concatenate([np.full(knots, SHRINK_LEVEL), SHRINK_RHYTHM * order]))
    pull[:knots, :knots] += SHRINK_CHANGES * change.T @ change
    return np.concatenate([trend, _waves(at_s, cycles)], axis=1, dtype=np.float32), pull


def _cycles(weekly: bool) -> Floats:
    """Cycles a day of every wave."""
    cycles = np.arange(1, DAILY + 1, dtype=np.float64)
    if not weekly:
        return cycles
    of_week = np.arange(1, 2 * WEEKLY)
    return np.concatenate([cycles, of_week[of_week % 7 > 0][:WEEKLY] / 7])


def _waves(times_s: Floats, cycles: Floats) -> Array:
    """Columns of the rhythm at these times, shape (times, terms)."""
    angle = 2 * np.pi * ((times_s / DAY_S)[:, None] * cycles % 1.0)
    waves: Array = np.concatenate([np.cos(angle), np.sin(angle)], axis=1, dtype=np.float32)
    return waves


def _middle(rows: Array) -> Array:
    """Median along the last axis of rows without gaps, one column."""
    ordered = np.sort(rows, axis=-1)
    count = rows.shape[-1]
    middle: Array = (ordered[:, (count - 1) // 2, None] + ordered[:, count // 2, None]) / np.float32(2)
    return middle


def _medians(rows: Array) -> Array:
    """Median along a last axis that is short: whole columns are compared instead of rows sorted."""
    count = rows.shape[-1]
    if count == 1:
        return rows[..., 0]
    if count > NARROW or np.isnan(rows).any():
        return median(rows.astype(np.float64)).astype(np.float32)
    columns = list(np.ascontiguousarray(np.moveaxis(rows, -1, 0)))
    for one, other in _pairs(count):
        columns[one], columns[other] = (
            np.minimum(columns[one], columns[other]),
            np.maximum(columns[one], columns[other]),
        )
    middle: Array = (columns[(count - 1) // 2] + columns[count // 2]) / np.float32(2)
    return middle


@cache
def _pairs(count: int) -> tuple[tuple[int, int], ...]:
    """What to compare to sort so many: Batcher's merge exchange (Knuth, "Sorting and Searching", algorithm 5.2.2M)."""
    pairs = []
    top = 1 << (count - 1).bit_length() - 1
    part = top
    while part:
        far, rest, apart = top, 0, part
        while True:
            pairs += [(index, index + apart) for index in range(count - apart) if index & part == rest]
            if far == part:
                break
            apart, far, rest = far - part, far >> 1, part
        part >>= 1
    return tuple(pairs)
