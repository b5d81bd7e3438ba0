"""A recording: any series in the long format, put on grids of one step for a backtest, whatever they are about.

Rows may come in any order. Samples within one step are one sample, their mean; a step without any is unknown. Series of
extreme values are brought near 1: a backtest tells ratios, which have no unit.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from foremesh.files.errors import InputError, shown
from foremesh.files.history import LARGEST_BYTES, check_rows
from foremesh.files.text import check_file
from foremesh.model.series import Floats, Metric, SeriesBatch
from foremesh.telemetry.recorded import RecordingError, Samples, load_any

FORMAT = "the columns are series, time (ISO 8601 or Unix seconds) and value (a number, or nothing)"

UNSAID = Metric.THROUGHPUT
"""What a file is taken for that does not say what it holds: values as measured, of any size."""

OFF_STEP = 0.05
"""Share of a step by which the usual distance of samples may differ from it: clocks of collectors wander."""

USUAL = (1e-9, 1e15)
"""Series whose greatest value is beyond are scaled: models calculate with squares in single precision."""

EMPTIEST = 0.02
"""Share of a series' steps that have to hold a sample; with fewer, its times are in another unit or partly wrong."""


@dataclass(frozen=True)
class Recording:
    """What a file holds."""

    batches: tuple[SeriesBatch, ...]
    """Series that begin and end together, each batch on a grid of its own."""
    merged: int
    """Samples that shared their step with another of their series, though the step is no coarser than they are."""
    empty: int
    """Series that are in no batch, as fewer than two of their samples are known."""

    @property
    def series(self) -> int:
        """How many there are."""
        return sum(len(batch.keys) for batch in self.batches)


def read_recording(path: Path, step_s: float, metric: Metric | None = None) -> Recording:
    """Read a recording.

    Args:
        path: The file; Parquet if it ends in ``.parquet`` or ``.pq``, otherwise CSV.
        step_s: Seconds between samples; a multiple of those in the file, whose means are then taken.
        metric: The one to read, and what a file holds that does not say; None: all there are.

    Raises:
        InputError: If it cannot be read, holds nothing, or its samples do not fit the step.
    """
    check_file(path, largest_bytes=LARGEST_BYTES)
    try:
        check_rows(path)
        found = load_any(path, metric or UNSAID)
    except RecordingError as error:
        raise InputError(path, error.line, " ".join(error.cause.split()), error.cure or FORMAT) from error
    if metric is not None and found:
        if metric not in found:
            cause = f"holds no series of {metric}, but of {', '.join(sorted(found))}"
            raise InputError(path, None, cause, "give one of those to --metric")
        found = {metric: found[metric]}
    rows: dict[tuple[Metric, float, float], list[tuple[str, Floats]]] = {}
    merged = empty = 0
    for metric, series in found.items():
        for name, samples in series.items():
            values, shared = _on_steps(path, name, samples, step_s)
            if values is None:
                empty += 1
                continue
            merged += shared
            label = name if len(found) == 1 else f"{metric} of {name}"
            rows.setdefault((metric, len(values), samples.times_s[-1]), []).append((label, values))
    if not rows:
        cause = "holds no series with two samples" if found else "holds no sample"
        raise InputError(path, None, cause, "give it a row for each sample")
    batches = (
        SeriesBatch(metric, tuple(name for name, _ in held), np.array([values for _, values in held]), step_s, end_s)
        for (metric, _, end_s), held in rows.items()
    )
    return Recording(tuple(batches), merged, empty)


def _on_steps(path: Path, name: str, samples: Samples, step_s: float) -> tuple[Floats | None, int]:
    """A series on its grid, which ends with its newest sample; and how many of its samples shared a step by mistake."""
    known = np.isfinite(samples.values)
    if known.sum() < 2:
        return None, 0
    back_s = samples.times_s[-1] - samples.times_s
    apart_s = np.diff(samples.times_s)
    usual_s = float(np.median(apart_s[apart_s > 0])) if (apart_s > 0).any() else 0.0
    if not usual_s:
        raise InputError(path, None, f"the samples of {shown(name)} all have the same time", "look at the column time")
    ratio = step_s / usual_s
    whole = max(1, round(ratio))
    if abs(ratio - whole) > OFF_STEP * whole:
        cause = f"{shown(name)} has a sample every {usual_s:g} s, which a step of {step_s:g} s does not fit"
        raise InputError(path, None, cause, f"give --step {usual_s:g} or a multiple of it")
    # Where steps are as coarse as samples, each goes to the nearest, as clocks wander; coarser ones hold what came
    # within them, so that nothing measured after an instant is known at it.
    place = np.rint(back_s / step_s) if whole == 1 else np.floor(back_s / step_s)
    steps = int(place[0]) + 1
    if len(samples.times_s) < EMPTIEST * steps * whole:
        cause = f"the {len(samples.times_s)} samples of {shown(name)} are spread over {steps:,} steps of {step_s:g} s"
        raise InputError(path, None, cause, "look for wrong times, or give a coarser --step")
    at = steps - 1 - place[known].astype(np.int64)
    count = np.bincount(at, minlength=steps)
    total = np.bincount(at, weights=_scaled(samples.values[known]), minlength=steps)
    values: Floats = np.divide(total, count, out=np.full(steps, np.nan), where=count > 0)
    return values, int(np.maximum(count - 1, 0).sum()) if whole == 1 else 0


def _scaled(values: Floats) -> Floats:
    """Values as they are, or divided by a power of two, so that no digit is lost, where they are extreme."""
    largest = float(np.abs(values).max())
    if largest == 0 or USUAL[0] <= largest <= USUAL[1]:
        return values
    scaled: Floats = np.ldexp(values, -int(np.frexp(largest)[1]))
    return scaled
