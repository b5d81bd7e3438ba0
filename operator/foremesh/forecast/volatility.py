"""How restless series are: at that time of the day, and in the last hour. Quantiles widen and narrow with it.

On recorded links and servers both made the quantiles' pinball loss smaller, each by a few percent, and on round trips
that queue in rush hours by a third; more than the square root of either was too much.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foremesh.forecast.fit import DAY_S
from foremesh.forecast.forecasters import View
from foremesh.forecast.levels import median, recent_mean
from foremesh.model.series import Floats

PARTS = 12
"""Parts of the day told apart: two hours each, so that a week has hundreds of errors in every one."""

HOUR_S = 3600.0
"""Seconds whose mean says where a series stood: errors of the day's parts are distances from it."""

FEWEST_DAYS = 3
"""Days of past below which one bad hour would mark that hour of every day."""

CALMEST, WILDEST = 0.5, 4.0
"""Bounds of each factor."""


@dataclass(frozen=True, eq=False)
class Volatility:
    """What is usual for every series."""

    of_day: Floats
    """Error in each part of the day, over the average one; shape (series, ``PARTS``)."""
    hour: Floats
    """Usual deviation within an hour, shape (series,); 0 where there is none."""

    @classmethod
    def of(cls, values: Floats, times_s: Floats, step_s: float, horizon_s: float, view: View) -> Volatility:
        """Learn it from a past.

        Args:
            values: Shape (series, samples), NaN where unknown.
            times_s: Unix times of the samples.
            step_s: Seconds between them.
            horizon_s: Seconds ahead at which errors are looked at.
            view: Instants at which the hour is looked at.
        """
        of_day = np.ones((len(values), PARTS))
        if times_s[-1] - times_s[0] >= FEWEST_DAYS * DAY_S:
            steps = max(1, round(horizon_s / step_s))
            errors = np.abs(values[:, steps:] - recent_mean(values, max(1, round(HOUR_S / step_s)))[:, :-steps])
            known = np.isfinite(errors)
            errors = np.where(known, errors, 0.0)
            into = _part(times_s[steps:])[:, None] == np.arange(PARTS)
            total, count = errors @ into, known @ into.astype(np.float64)
            mean = total.sum(axis=1, keepdims=True) / np.maximum(count.sum(axis=1, keepdims=True), 1.0)
            there = (mean > 0) & (count > 0)
            of_day = np.where(there, total / np.maximum(count * mean, 1e-300), 1.0)
            of_day = (np.roll(of_day, 1, axis=1) + 2 * of_day + np.roll(of_day, -1, axis=1)) / 4
        return cls(of_day, np.nan_to_num(median(view.deviation)))

    def factor(self, view: View, ahead_s: Floats) -> Floats:
        """How much wider than usual quantiles are to be, shape (series, instants, steps)."""
        now = np.nan_to_num(view.deviation, nan=0.0)
        usual = self.hour[:, None]
        hour = np.where(usual > 0, (now + usual) / np.where(usual > 0, 2 * usual, 1.0), 1.0)
        day = self.of_day[:, _part(view.times_s[:, -1:] + ahead_s)]
        factor: Floats = _rooted(hour)[..., None] * _rooted(day)
        return factor


def _rooted(factor: Floats) -> Floats:
    rooted: Floats = np.clip(np.sqrt(factor), CALMEST, WILDEST)
    return rooted


def _part(times_s: Floats) -> NDArray[np.int64]:
    part: NDArray[np.int64] = (times_s % DAY_S * (PARTS / DAY_S)).astype(np.int64) % PARTS
    return part
