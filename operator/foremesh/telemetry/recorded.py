"""Series from a file or from memory, read as Prometheus would be: for backtests, simulation and tests.

A file is in the long format: columns ``series``, ``time``, ``value``, CSV or Parquet, one row a sample. ``time`` is ISO
8601 (UTC where it names no zone) or Unix seconds; an empty ``value`` is a sample that could not be taken.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from foremesh.model.link import LinkId
from foremesh.model.series import Floats, Metric, SeriesBatch, SeriesKey
from foremesh.telemetry.source import TelemetryUnavailable, samples_in

COLUMNS = ("series", "time", "value")

LINK_NAME = re.compile(r"(?P<src>.+)->(?P<dst>[^/]+(?:/[^/]+)?)/(?P<underlay>[^/]+)")
"""A link as ``str(LinkId)`` writes it. Ids may be ``namespace/name``."""


class RecordingError(ValueError):
    """A file that holds no series; carries ``path`` and ``cause``."""

    def __init__(self, path: Path, cause: str) -> None:
        self.path = path
        self.cause = cause
        super().__init__(f"recording {path}: {cause}; nothing was read")


@dataclass(frozen=True, eq=False)
class Samples:
    """One series' samples."""

    times_s: Floats
    """Unix times, ascending."""
    values: Floats
    """In the metric's unit; NaN where a sample could not be taken."""

    def __post_init__(self) -> None:
        if len(self.times_s) != len(self.values) or np.any(np.diff(self.times_s) < 0):
            raise ValueError("a series needs as many times as values, oldest first")

    @property
    def step_s(self) -> float:
        """The usual distance of its samples, seconds; NaN for fewer than two."""
        return float(np.median(np.diff(self.times_s))) if len(self.times_s) > 1 else np.nan


class MemorySource:
    """Series held in memory. A sample read is the mean of those within the step before its time, as rates are.

    Args:
        series: Samples by metric and key.
    """

    def __init__(self, series: Mapping[Metric, Mapping[SeriesKey, Samples]] | None = None) -> None:
        self.series: dict[Metric, dict[SeriesKey, Samples]] = {
            metric: dict(keyed) for metric, keyed in (series or {}).items()
        }
        self.outage = ""
        """While this says why, nothing can be read."""

    async def read(self, metric: Metric, *, end_s: float, window_s: float, step_s: float) -> SeriesBatch:
        """See ``SeriesSource``."""
        if self.outage:
            raise TelemetryUnavailable("memory:", self.outage)
        return on_grid(metric, self.series.get(metric, {}), end_s=end_s, window_s=window_s, step_s=step_s)


class RecordedSource(MemorySource):
    """Series recorded in files, one file for each metric.

    Raises:
        RecordingError: If a file is not there or holds no series in the long format.
    """

    def __init__(self, files: Mapping[Metric, Path]) -> None:
        super().__init__({metric: load(path) for metric, path in files.items()})


def load(path: Path) -> dict[SeriesKey, Samples]:
    """Read a file in the long format: rows in any order, names like ``ams->fra/internet`` as links.

    Raises:
        RecordingError: If it is not there or not in that format.
    """
    import pandas as pd  # takes a second to import, and the operator reads no files

    try:
        frame = pd.read_parquet(path) if path.suffix in (".parquet", ".pq") else pd.read_csv(path)
    except (OSError, ValueError) as error:  # what pyarrow and the CSV reader raise derives from these
        raise RecordingError(path, str(error)) from error
    if absent := [name for name in COLUMNS if name not in frame]:
        raise RecordingError(path, f"has no column {', '.join(absent)}; it needs {', '.join(COLUMNS)}")
    try:
        values = pd.to_numeric(frame["value"]).to_numpy(dtype=np.float64, na_value=np.nan)
        if pd.api.types.is_numeric_dtype(frame["time"]):
            times_s = frame["time"].to_numpy(dtype=np.float64)
        else:
            when = pd.to_datetime(frame["time"], utc=True, format="ISO8601")
            times_s = (when - pd.Timestamp(0, tz="UTC")).dt.total_seconds().to_numpy()
    except (TypeError, ValueError) as error:
        raise RecordingError(path, str(error)) from error
    if not np.isfinite(times_s).all():
        raise RecordingError(path, "has rows without a time")
    values = np.where(np.isfinite(values), values, np.nan)
    found = {}
    for name, rows in frame.groupby("series", sort=True).indices.items():
        order = rows[np.argsort(times_s[rows], kind="stable")]
        found[series_key(str(name))] = Samples(times_s[order], values[order])
    return found


def series_key(name: str) -> SeriesKey:
    """The link that a name like ``ams->fra/internet`` means; any other name is a key by itself."""
    link = LINK_NAME.fullmatch(name)
    return LinkId(**link.groupdict()) if link else name


def on_grid(
    metric: Metric, series: Mapping[SeriesKey, Samples], *, end_s: float, window_s: float, step_s: float
) -> SeriesBatch:
    """Samples put on one grid, as ``SeriesSource.read`` gives them: each is the mean of those within its step.

    Raises:
        WindowError: If the window is no positive multiple of the step.
    """
    samples = samples_in(window_s, step_s)
    # Keys sort by their names, as every source's do.
    held = sorted(series.items(), key=lambda item: str(item[0]))
    rows = {key: _means(one, end_s, step_s, samples) for key, one in held}
    rows = {key: row for key, row in rows.items() if np.isfinite(row).any()}
    return SeriesBatch(metric, tuple(rows), np.array([*rows.values()]).reshape(len(rows), samples), step_s, end_s)


def _means(series: Samples, end_s: float, step_s: float, samples: int) -> Floats:
    # The bin of time t holds (t - step, t], so that nothing measured after an instant is known at it.
    back = np.floor((end_s - series.times_s) / step_s)
    inside = (back >= 0) & (back < samples) & np.isfinite(series.values)
    place = samples - 1 - back[inside].astype(int)
    count = np.bincount(place, minlength=samples)
    total = np.bincount(place, weights=series.values[inside], minlength=samples)
    means: Floats = np.divide(total, count, out=np.full(samples, np.nan), where=count > 0)
    return means
