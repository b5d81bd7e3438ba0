"""The forecasters: the newest samples of many series in, values ahead out, all series at once.

What they see is a ``View``: of now, or of many instants in the past. Prediction and backtest are the same call. Nothing
here reads a clock or keeps state; what was fitted is passed in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from foremesh.forecast.levels import median, newest, settled
from foremesh.model.series import Floats


@dataclass(frozen=True, eq=False)
class View:
    """The newest samples of many series, seen from one instant or from many."""

    rows: Floats
    """Shape (series, instants, samples), oldest first, NaN where unknown."""
    times_s: Floats
    """Unix times of the samples, shape (instants, samples); the last of each row is its instant."""
    held_s: float = 0.0
    """Seconds that one sample of the past is the mean of, where the rows are finer than that; else 0."""

    @cached_property
    def merge(self) -> int:
        """Samples here that make one of the past; of few samples a third, so that there is something to compare."""
        samples: int = self.rows.shape[-1]
        if not self.held_s or samples < 2:
            return 1
        whole = round(self.held_s / float(self.times_s[0, -1] - self.times_s[0, -2]))
        return max(1, min(whole, samples // 3))

    @cached_property
    def newest(self) -> Floats:
        """Newest value, shape (series, instants). Of rows finer than the past: the newest level, what would have been
        one sample there, and as quick after a jump; or nearer to the newest sample where samples carry little noise."""
        value = newest(self.rows)
        if self.merge <= 1:
            return value
        level = settled(self.rows[..., -self.merge :])
        return level + _trust(self.rows, self.merge) * (value - level)

    @cached_property
    def settled(self) -> Floats:
        """Median since the level last changed, shape (series, instants)."""
        return settled(self.rows)

    @cached_property
    def deviation(self) -> Floats:
        """Median absolute deviation within each row, of samples as coarse as the past's, shape (series, instants)."""
        rows = self.rows
        if (merge := self.merge) > 1:
            rows = rows[..., rows.shape[-1] % merge :].reshape(*rows.shape[:-1], -1, merge)
            known = np.isfinite(rows)
            count = known.sum(axis=-1)
            rows = np.where(count > 0, np.sum(rows, axis=-1, where=known) / np.maximum(count, 1), np.nan)
        return median(np.abs(rows - median(rows)[..., None]))


def _trust(rows: Floats, apart: int) -> Floats:
    """How far the newest sample says more than the level of the last few, 0 to 1, shape (series, instants).

    Differences between neighbours hold the noise twice and one step of the series' own movement; those ``apart``
    samples apart the same noise and so many steps. Their proportion gives the gain of the Kalman filter of a level that
    wanders (Harvey, "Forecasting, Structural Time Series Models and the Kalman Filter", 1989, section 4.1.2).
    """
    near, far = (median(np.abs(rows[..., lag:] - rows[..., :-lag])) ** 2 for lag in (1, apart))
    steps = np.maximum(far - near, 0.0) / (apart - 1)
    noise = np.maximum(near - steps, 0.0) / 2
    ratio = steps / np.where(noise > 0, noise, 1.0)
    gain = np.where(noise > 0, (np.sqrt(ratio * ratio + 4 * ratio) - ratio) / 2, np.where(steps > 0, 1.0, 0.0))
    trust: Floats = np.clip((gain - LEVEL_GAIN) / (1 - LEVEL_GAIN), 0.0, 1.0)
    return trust


LEVEL_GAIN = 1 / 3
"""Gain that the level of a few samples amounts to."""


class Forecaster(Protocol):
    """Predicts many series, from many instants, at once."""

    @property
    def name(self) -> str:
        """How reasons and status call it."""

    def predict(self, view: View, ahead_s: Floats) -> Floats:
        """Predict the same distances ahead of every instant.

        Args:
            view: What is known.
            ahead_s: Seconds after each instant, shape (steps,).

        Returns:
            Shape (series, instants, steps), in the samples' unit; NaN where nothing can be said.
        """


@dataclass(frozen=True)
class LastValue:
    """The newest known sample, held: hard to beat a few minutes ahead."""

    name: str = "last"

    def predict(self, view: View, ahead_s: Floats) -> Floats:
        return np.repeat(view.newest[..., None], len(ahead_s), axis=-1)


@dataclass(frozen=True)
class RollingMedian:
    """The median since the level last changed, held: quieter than the newest sample, and as quick after a jump."""

    name: str = "median"

    def predict(self, view: View, ahead_s: Floats) -> Floats:
        return np.repeat(view.settled[..., None], len(ahead_s), axis=-1)


@dataclass(frozen=True, eq=False)
class Curve:
    """What a fitted model says of one series for every instant of a span, evenly spaced."""

    start_s: float
    step_s: float
    values: Floats

    @property
    def end_s(self) -> float:
        """Unix time of its last point."""
        return self.start_s + self.step_s * (len(self.values) - 1)


class Shape(Protocol):
    """What a model says of many series at any instant, but for where they stand."""

    def at(self, times_s: Floats) -> Floats:
        """Values at these unix times, shape (series, *times); NaN where it says nothing."""


@dataclass(frozen=True, eq=False)
class Curves:
    """Curves of many series, read between their points by straight lines."""

    start_s: Floats
    """Shape (series,)."""
    step_s: Floats
    values: Floats
    """Shape (series, points)."""

    @classmethod
    def of(cls, curves: Sequence[Curve | None]) -> Curves:
        """One series each; None says nothing."""
        points = max((len(curve.values) for curve in curves if curve), default=1)
        values = np.full((len(curves), points), np.nan)
        for row, curve in zip(values, curves, strict=True):
            if curve:
                row[: len(curve.values)] = curve.values
        return cls(
            np.array([curve.start_s if curve else 0.0 for curve in curves]),
            np.array([curve.step_s if curve else 1.0 for curve in curves]),
            values,
        )

    @classmethod
    def of_batch(cls, values: Floats, times_s: Floats, step_s: float) -> Curves:
        """Series as they were measured, one a row."""
        return cls(np.full(len(values), times_s[0]), np.full(len(values), step_s), values)

    def at(self, times_s: Floats) -> Floats:
        points = self.values.shape[1]
        position = (times_s.ravel() - self.start_s[:, None]) / self.step_s[:, None]
        left = np.clip(np.floor(position + 1e-9), 0, points - 1).astype(np.int64)
        part = position - left
        low = np.take_along_axis(self.values, left, axis=1)
        if np.abs(part).max(initial=0.0) > 1e-6:
            high = np.take_along_axis(self.values, np.minimum(left + 1, points - 1), axis=1)
            low = np.where(part > 1e-6, low + part * (high - low), low)
            low = np.where((part < -1e-6) | (part > 1 + 1e-6), np.nan, low)
        return low.reshape(len(self.values), *times_s.shape)


@dataclass(frozen=True, eq=False)
class SeasonalNaive:
    """What was there a day before, as it was: the measure of every model of rhythms."""

    past: Shape
    """The samples as they came. Only those up to an instant are read for it, so it may reach beyond."""
    season_s: float = 86400.0
    name: str = "seasonal"

    def predict(self, view: View, ahead_s: Floats) -> Floats:
        back_s = np.ceil(ahead_s / self.season_s - 1e-9) * self.season_s
        before = self.past.at(view.times_s[:, -1:] + ahead_s - back_s)
        return np.where(np.isfinite(before), before, view.newest[..., None])


@dataclass(frozen=True, eq=False)
class Seasonal:
    """A shape, moved to the level that the newest samples show."""

    name: str
    shape: Shape
    kept: Floats
    """Per series, share of the distance between level and shape that is still there ``horizon_s`` ahead; it shrinks
    evenly."""
    horizon_s: float
    usual: Floats
    """Per series, greatest distance that is taken for chance; a greater one is an incident, and stays."""

    def predict(self, view: View, ahead_s: Floats) -> Floats:
        off = away(self.shape, view)[..., None]
        share = self.kept[:, None, None] ** (ahead_s / self.horizon_s)
        share = np.where(np.abs(off) > self.usual[:, None, None], 1.0, share)
        return self.shape.at(view.times_s[:, -1:] + ahead_s) + off * share


def nearness(lags_s: Floats, ahead_s: Floats) -> Floats:
    """How near steps ahead are to distances that something is known of, by straight lines, shape (lags, steps): what is
    known, times this, is what is taken for known at the steps."""
    return np.array([np.interp(ahead_s, lags_s, one) for one in np.eye(len(lags_s))])


def away(shape: Shape, view: View) -> Floats:
    """How far the newest samples lie from a shape, shape (series, instants)."""
    return settled(view.rows - shape.at(view.times_s))
