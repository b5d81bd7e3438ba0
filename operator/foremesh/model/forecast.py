"""What is predicted for many series: quantiles over a horizon, by which model, and why by that one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from foremesh.model.link import Figure
from foremesh.model.series import Floats, Metric, SeriesKey

QUANTILES = (0.1, 0.5, 0.9)
"""The optimistic end, the middle that paths are compared by, and the pessimistic end that requirements are checked on;
wider ones would need more history than a week to know."""

CHANGES = 0.02
"""Share of its size by which a median has to change over the horizon for its steps to matter: what a move is worth
(``planning.moveWorth``), or less would be taken for a reason to move at one moment instead of another. And it has to
change by more than it is uncertain."""

CHANGES_OF_SHARES = 0.001
"""The same of figures that are shares themselves, such as loss, beside that: most are so small that they seem to change
all the time."""

UNKNOWN = "unknown"
"""Stands for a model where nothing can be predicted."""


@dataclass(frozen=True, eq=False)
class Forecast:
    """Predicted values of one metric for many series.

    Raises:
        ValueError: If the values' shape does not fit the quantiles, keys, models and reasons.
    """

    metric: Metric
    keys: tuple[SeriesKey, ...]
    step_s: float
    """Seconds between predicted values."""
    start_s: float
    """Unix time of the newest sample behind it; step ``i``, counted from 0, lies at ``start_s + (i + 1) * step_s``."""
    values: Floats
    """Shape (quantiles, series, steps), in the metric's unit; a series of NaN is unknown. Read-only."""
    models: tuple[str, ...]
    """Per series, the model used; ``UNKNOWN`` where nothing can be predicted."""
    reasons: Sequence[str]
    """Per series, one line on why that model; may be written as it is read."""
    quantiles: tuple[float, ...] = QUANTILES
    errors: Floats | None = None
    """Per series, how far the model was off of late at the end of the horizon, on average, in the metric's unit; NaN
    where nobody looked, None if that is all of them."""

    def __post_init__(self) -> None:
        values = np.array(self.values, dtype=np.float64)
        if values.ndim != 3 or values.shape[:2] != (len(self.quantiles), len(self.keys)):
            raise ValueError(
                f"{self.metric} forecast has shape {values.shape}; {len(self.quantiles)} quantiles of "
                f"{len(self.keys)} series are due"
            )
        if not len(self.keys) == len(self.models) == len(self.reasons):
            raise ValueError(f"{self.metric} forecast names {len(self.models)} models for {len(self.keys)} series")
        values.flags.writeable = False
        object.__setattr__(self, "values", values)

    def __contains__(self, key: SeriesKey) -> bool:
        return key in self._rows

    def within(self, least: Mapping[SeriesKey, float], most: Mapping[SeriesKey, float]) -> Forecast:
        """The same with every quantile of a series within bounds, in the metric's unit; a series that no bound is given
        of stays as it is."""
        if not any(key in least or key in most for key in self.keys):
            return self
        low = np.array([least.get(key, -np.inf) for key in self.keys])[None, :, None]
        high = np.array([most.get(key, np.inf) for key in self.keys])[None, :, None]
        return replace(self, values=np.clip(self.values, low, high))

    def figure(self, key: SeriesKey) -> Figure | None:
        """What to expect of one series over the whole horizon: the mean of the medians, and the worst step of the
        highest quantile. None if it is unknown or not in the forecast."""
        return self.figures.get(key)

    @cached_property
    def figures(self) -> Mapping[SeriesKey, Figure]:
        """The same of all that are known."""
        medians, worst = self.values[self.quantiles.index(0.5)].mean(axis=1), self.values[-1].max(axis=1, initial=0.0)
        known = np.min(np.isfinite(self.values), axis=(0, 2), initial=True)
        rows = zip(self.keys, known.tolist(), medians.tolist(), worst.tolist(), strict=True)
        return {key: Figure(median=median, pessimistic=most) for key, is_known, median, most in rows if is_known}

    def course(self, key: SeriesKey) -> tuple[Figure, ...]:
        """The same step by step; empty where it is unknown, or does not change by more than it is uncertain anyway."""
        return self.courses.get(key, ())

    @cached_property
    def courses(self) -> Mapping[SeriesKey, tuple[Figure, ...]]:
        """The same of all that change."""
        medians, worst = self.values[self.quantiles.index(0.5)], self.values[-1]
        least = CHANGES_OF_SHARES if self.metric.ceiling <= 1.0 else 0.0
        with np.errstate(invalid="ignore"):  # what is not known does not change
            sizes = np.maximum(CHANGES * np.abs(medians).mean(axis=1), (worst - medians).mean(axis=1))
            changing = np.flatnonzero(np.ptp(medians, axis=1) > np.maximum(least, sizes))
        rows = zip(changing.tolist(), medians[changing].tolist(), worst[changing].tolist(), strict=True)
        return {
            self.keys[row]: tuple([Figure(median=one, pessimistic=other) for one, other in zip(*steps, strict=True)])
            for row, *steps in rows
        }

    def model(self, key: SeriesKey) -> str:
        """The model used for a series; ``UNKNOWN`` for one that is not in the forecast."""
        row = self._rows.get(key)
        return UNKNOWN if row is None else self.models[row]

    def error(self, key: SeriesKey) -> float | None:
        """How far the model of a series was off of late; None if that is not known."""
        row = self._rows.get(key)
        if row is None or self.errors is None or not np.isfinite(self.errors[row]):
            return None
        return float(self.errors[row])

    def reason(self, key: SeriesKey) -> str:
        """One line on why that model."""
        row = self._rows.get(key)
        return "no series of that name is measured" if row is None else self.reasons[row]

    @cached_property
    def _rows(self) -> dict[SeriesKey, int]:
        return {key: row for row, key in enumerate(self.keys)}
