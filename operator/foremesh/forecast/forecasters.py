"""The forecasters: one row of newest samples in, values ahead out.

A row is the newest samples of a series, or the samples before an instant in its past: prediction and backtest are the
same call. Nothing here reads a clock or keeps state; what was fitted is passed in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from foremesh.forecast.levels import newest, settled
from foremesh.model.series import Floats


class Forecaster(Protocol):
    """Predicts many rows at once."""

    @property
    def name(self) -> str:
        """How reasons and status call it."""

    def predict(self, rows: Floats, times_s: Floats, ahead_s: Floats) -> Floats:
        """Predict the same distances ahead of every row.

        Args:
            rows: Samples, shape (rows, samples), oldest first, NaN where unknown.
            times_s: Their unix times, same shape.
            ahead_s: Seconds after each row's last time, shape (steps,).

        Returns:
            Shape (rows, steps), in the samples' unit; NaN where nothing can be said.
        """


@dataclass(frozen=True)
class LastValue:
    """The newest known sample, held: hard to beat a few minutes ahead."""

    name: str = "last"

    def predict(self, rows: Floats, times_s: Floats, ahead_s: Floats) -> Floats:
        return np.repeat(newest(rows)[:, None], len(ahead_s), axis=1)


@dataclass(frozen=True)
class RollingMedian:
    """The median since the level last changed, held: quieter than the newest sample, and as quick after a jump."""

    name: str = "median"

    def predict(self, rows: Floats, times_s: Floats, ahead_s: Floats) -> Floats:
        return np.repeat(settled(rows)[:, None], len(ahead_s), axis=1)


@dataclass(frozen=True, eq=False)
class Curve:
    """What a fitted model says for every instant of a span, evenly spaced."""

    start_s: float
    step_s: float
    values: Floats

    @property
    def end_s(self) -> float:
        """Unix time of its last point."""
        return self.start_s + self.step_s * (len(self.values) - 1)

    def at(self, times_s: Floats) -> Floats:
        """Its value at these unix times, between its points by straight lines; NaN outside its span."""
        position = (np.asarray(times_s) - self.start_s) / self.step_s
        inside = np.interp(position.ravel(), np.arange(len(self.values)), self.values, left=np.nan, right=np.nan)
        return inside.reshape(position.shape)


@dataclass(frozen=True, eq=False)
class Seasonal:
    """A fitted model's rhythm, moved to the level that the newest samples show."""

    curve: Curve
    kept: float = 1.0
    """Share of the distance between level and curve that is still there ``horizon_s`` ahead; it shrinks evenly."""
    horizon_s: float = np.inf
    usual: float = np.inf
    """Greatest distance that is taken for chance; a greater one is an incident, and stays."""
    name: str = "prophet"

    def predict(self, rows: Floats, times_s: Floats, ahead_s: Floats) -> Floats:
        away = self.away(rows, times_s)[:, None]
        share = np.where(np.abs(away) > self.usual, 1.0, self.kept ** (ahead_s / self.horizon_s))
        return self.curve.at(times_s[:, -1:] + ahead_s) + away * share

    def away(self, rows: Floats, times_s: Floats) -> Floats:
        """How far each row's newest samples lie from the curve, shape (rows,)."""
        return settled(rows - self.curve.at(times_s))
