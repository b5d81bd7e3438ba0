"""Series from a file or from memory, read as Prometheus would be: for backtests, simulation and tests.

A file is in the long format: columns ``series``, ``time``, ``value``, CSV or Parquet, one row a sample. ``time`` is ISO
8601 (UTC where it names no zone) or Unix seconds; an empty ``value`` is a sample that could not be taken. A fourth
column, ``metric``, lets one file hold several: ``rtt``, ``loss``, ``throughput``, ``load``, ``jitter`` and
``demand``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from foremesh.model.link import LinkId
from foremesh.model.series import Floats, Flow, Metric, SeriesBatch, SeriesKey
from foremesh.telemetry.source import TelemetryUnavailable, samples_in

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("series", "time", "value")
METRIC = "metric"

PARQUET = (".parquet", ".pq")
"""Endings of Parquet files; everything else is read as CSV."""

NO_SAMPLE = ("", "nan", "NaN", "NAN", "null", "None", "NA")
"""How programs write a sample that could not be taken."""

LONGEST_RTT_MS = 60_000.0
"""Milliseconds; the most that an Intent can ask for. What is beyond was written in another unit."""

MOST_BPS = 1e14
"""Bit/s, the bound of every rate in a manifest."""

LARGEST = {
    Metric.RTT: LONGEST_RTT_MS,
    Metric.THROUGHPUT: MOST_BPS,
    Metric.JITTER: LONGEST_RTT_MS,
    Metric.DEMAND: MOST_BPS,
}

MOST_SHOWN = 8
"""Columns that are named where one is missing."""

LAST_TIME_S = 1e11
"""Unix seconds far beyond this century; a greater number counts milliseconds."""

LINK_NAME = re.compile(r"(?P<src>.+)->(?P<dst>[^/]+(?:/[^/]+)?)/(?P<underlay>[^/]+)")
"""A link as ``str(LinkId)`` writes it. Ids may be ``namespace/name``."""


FLOW_NAME = re.compile(r"(?P<src>[^/]+/[^/]+)->(?P<dst>[^/]+/[^/]+)/(?P<circuit>[^/]+/[^/]+)")
"""A flow as ``str(Flow)`` writes it, ids all of them."""


class RecordingError(ValueError):
    """A file that holds no series; carries ``path``, ``cause``, its ``line`` where a row of a CSV is to blame, and a
    ``cure`` where it is another than to keep to the format."""

    def __init__(self, path: Path, cause: str, line: int | None = None, cure: str = "") -> None:
        self.path = path
        self.cause = cause
        self.line = line
        self.cure = cure
        where = f"{path}:{line}" if line is not None else f"{path}"
        super().__init__(f"recording {where}: {cause}; nothing was read")


@dataclass(frozen=True, eq=False)
class Samples:
    """One series' samples."""

    times_s: Floats
    """Unix times, ascending."""
    values: Floats
    """In the metric's unit; NaN where a sample could not be taken."""

    def __post_init__(self) -> None:
        samples = len(self.times_s)
        if samples != len(self.values) or (samples > 1 and np.any(np.diff(self.times_s) < 0)):
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
        super().__init__({metric: load(path, metric) for metric, path in files.items()})


def load(path: Path, metric: Metric = Metric.RTT) -> dict[SeriesKey, Samples]:
    """Read a file in the long format: rows in any order, names like ``ams->fra/internet`` as links.

    Args:
        path: The file; Parquet if it ends in ``.parquet`` or ``.pq``, otherwise CSV.
        metric: What is wanted of a file that has a column ``metric``; any other file holds nothing else.

    Raises:
        RecordingError: If it is not there or not in that format.
    """
    frame = _read(path, metric)
    return {series_key(name): samples for name, samples in _series(frame[frame[METRIC] == metric]).items()}


def load_any(path: Path, otherwise: Metric) -> dict[Metric, dict[str, Samples]]:
    """Read whatever a file holds, by metric and by name as written, with no bounds to what values may be.

    Args:
        path: As for ``load``.
        otherwise: What is measured where the file does not say.

    Raises:
        RecordingError: If it is not there or not in the long format.
    """
    frame = _read(path, otherwise)
    return {Metric(str(metric)): _series(rows) for metric, rows in frame.groupby(METRIC, sort=True)}


def load_metrics(path: Path) -> dict[Metric, dict[str, Samples]]:
    """Read a file that may hold several metrics, by metric and by name as written; ``rtt`` where it does not say.

    Raises:
        RecordingError: If it is not there, not in the long format, or holds a value that its metric cannot take.
    """
    frame = _read(path, Metric.RTT)
    found = {}
    for metric in Metric:
        rows = frame[frame[METRIC] == metric]
        values = rows["value"].to_numpy()
        _refuse(rows, values < 0, path, f"{metric} is {{value:g}}, which is negative")
        largest = LARGEST.get(metric, np.inf)
        _refuse(rows, values > largest, path, f"{metric} is {{value:g}}, and at most {largest:,.0f} makes sense")
        _refuse(rows, values > metric.ceiling, path, f"{metric} is {{value:g}}, and a share is at most 1")
        if len(rows):
            found[metric] = _series(rows)
            for name, samples in found[metric].items():
                _refuse_contradiction(rows, name, samples, path)
    return found


def _refuse_contradiction(frame: pd.DataFrame, name: str, samples: Samples, path: Path) -> None:
    """Raise if a series has two values for one time. A row written twice is no contradiction, nor is a sample lost in
    the second in which another was taken."""
    taken = np.isfinite(samples.values)
    times_s, values = samples.times_s[taken], samples.values[taken]
    wrong = (np.diff(times_s) == 0) & (np.diff(values) != 0)
    if wrong.any():
        at = int(np.argmax(wrong))
        same = frame[(frame["series"] == name) & (frame["time"] == times_s[at])]
        lines = [int(same.index[same["value"] == value][0]) + 2 for value in values[at : at + 2]]
        where, line = (f" in line {lines[0]}", lines[1]) if path.suffix not in PARQUET else ("", None)
        cause = f"{name} is {values[at + 1]:g}, and at the same time it is {values[at]:g}{where} already"
        raise RecordingError(path, cause, line, "remove one of the two rows")


def _read(path: Path, otherwise: Metric) -> pd.DataFrame:
    """The four columns of a file, times in Unix seconds; without a column ``metric`` all is of ``otherwise``. A row's
    label is its place in the file, counted from 0."""
    import pandas as pd  # takes a second to import, and the operator reads no files

    try:
        if path.suffix in PARQUET:
            frame = pd.read_parquet(path).reset_index(drop=True)
        else:
            frame = pd.read_csv(
                path,
                encoding="utf-8-sig",
                dtype={"series": str, METRIC: str},
                # A gateway may be called NA; and a blank line keeps its place, so that lines can be counted.
                keep_default_na=False,
                na_values={"value": NO_SAMPLE, "time": [""]},
                skip_blank_lines=False,
            )
    except pd.errors.EmptyDataError as error:
        raise RecordingError(path, "is empty") from error
    except UnicodeDecodeError as error:
        cure = f"save it as UTF-8, or name it {PARQUET[0]} if it is Parquet"
        raise RecordingError(path, "is no text in UTF-8", cure=cure) from error
    except (OSError, ValueError) as error:  # what pyarrow and the CSV reader raise derives from these
        if fields := re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", str(error)):
            cause = f"a row of {fields[3]} fields below a header of {fields[1]}"
            raise RecordingError(path, cause, int(fields[2]), "put quotes around names with commas") from error
        raise RecordingError(path, str(error).strip()) from error
    if absent := [name for name in COLUMNS if name not in frame]:
        there = ", ".join(repr(str(name)) for name in frame.columns[:MOST_SHOWN])
        raise RecordingError(path, f"has no column {', '.join(absent)}, but {there or 'none at all'}")
    named = frame[METRIC].fillna("").replace("", Metric.RTT.value) if METRIC in frame else otherwise.value
    frame = frame[[*COLUMNS]].assign(**{METRIC: named})
    unnamed = frame["series"].isna() | (frame["series"] == "")
    frame = frame[~(unnamed & frame["time"].isna() & frame["value"].isna())]
    _refuse(frame, unnamed[frame.index].to_numpy(), path, "a row without a series")
    _refuse(frame, frame["time"].isna().to_numpy(), path, "a row without a time")
    values = pd.to_numeric(frame["value"], errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    unread = np.isnan(values) & frame["value"].notna().to_numpy()
    _refuse(frame, unread, path, "the value {value!r} is no number")
    _refuse(frame, np.isinf(values), path, "the value {value} is infinite")
    times_s = _times_s(frame["time"])
    _refuse(frame, ~np.isfinite(times_s), path, "the time {time!r} is none")
    late = np.abs(times_s) > LAST_TIME_S
    _refuse(frame, late, path, "the time {time} is no count of seconds, but maybe of milliseconds")
    known = [metric.value for metric in Metric]
    unknown = ~frame[METRIC].isin(known).to_numpy()
    _refuse(frame, unknown, path, f"unknown metric {{metric!r}}; there are {', '.join(known)}")
    return frame.assign(time=times_s, value=values)


def _times_s(column: pd.Series) -> Floats:
    """Unix times; NaN where there is none to be read."""
    import pandas as pd

    if pd.api.types.is_numeric_dtype(column):
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    when = pd.to_datetime(column, utc=True, format="ISO8601", errors="coerce")
    seconds = (when - pd.Timestamp(0, tz="UTC")).dt.total_seconds().to_numpy()
    return np.where(np.isnan(seconds), pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64), seconds)


def _refuse(frame: pd.DataFrame, wrong: NDArray[np.bool_], path: Path, cause: str) -> None:
    """Raise at the first row that is wrong, if there is one; ``cause`` names its fields in braces."""
    if wrong.any():
        at = int(np.argmax(wrong))
        line = None if path.suffix in PARQUET else int(frame.index.to_numpy()[at]) + 2  # the header is line 1
        fields = {str(name): value for name, value in frame.iloc[at].items()}
        raise RecordingError(path, cause.format(**fields), line)


def _series(frame: pd.DataFrame) -> dict[str, Samples]:
    times_s, values = frame["time"].to_numpy(), frame["value"].to_numpy()
    found = {}
    for name, rows in frame.groupby("series", sort=True).indices.items():
        order = rows[np.argsort(times_s[rows], kind="stable")]
        found[str(name)] = Samples(times_s[order], values[order])
    return found


def series_key(name: str) -> SeriesKey:
    """The link that a name like ``ams->fra/internet`` means, or the flow if it ends with a circuit's id; any other name
    is a key by itself."""
    if flow := FLOW_NAME.fullmatch(name):
        return Flow(**flow.groupdict())
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
