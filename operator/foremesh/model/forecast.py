"""What is predicted for many series: quantiles over a horizon, by which model, and why by that one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from foremesh.model.link import Figure
from foremesh.model.series import Floats, Metric, SeriesKey

QUANTILES = (0.1, 0.5, 0.9)
"""The optimistic end, the middle that paths are compared by, and the pessimistic end that requirements are checked on;
wider ones would need more history than a week to know."""

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

    def figure(self, key: SeriesKey) -> Figure | None:
        """What to expect of one series over the whole horizon: the mean of the medians, and the worst step of the
        highest quantile. None if it is unknown or not in the forecast."""
        row = self._rows.get(key)
        if row is None or not self._known[row]:
            return None
        return Figure(median=self._medians[row], pessimistic=self._worst[row])

    def model(self, key: SeriesKey) -> str:
        """The model used for a series; ``UNKNOWN`` for one that is not in the forecast."""
        row = self._rows.get(key)
        return UNKNOWN if row is None else self.models[row]

    def reason(self, key: SeriesKey) -> str:
        """One line on why that model."""
        row = self._rows.get(key)
        return "no series of that name is measured" if row is None else self.reasons[row]

    @cached_property
    def _known(self) -> list[bool]:
        known: list[bool] = np.min(np.isfinite(self.values), axis=(0, 2), initial=True).tolist()
        return known

    @cached_property
    def _medians(self) -> list[float]:
        medians: list[float] = self.values[self.quantiles.index(0.5)].mean(axis=1).tolist()
        return medians

    @cached_property
    def _worst(self) -> list[float]:
        worst: list[float] = self.values[-1].max(axis=1, initial=0.0).tolist()
        return worst

    @cached_property
    def _rows(self) -> dict[SeriesKey, int]:
        return {key: row for row, key in enumerate(self.keys)}
