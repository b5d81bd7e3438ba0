"""Where a series stands now, told from its newest samples. Arrays in, arrays out; NaN is a sample nobody has."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from foremesh.model.series import Floats

NEWEST = 5
"""Samples that say where the series stands: three of five have to agree before a jump is believed."""

RUN = 3
"""Samples in a row away from the newest ones, on one side, that count as another level and not as noise."""

AWAY = 4.0
"""Noise deviations from which a sample counts as away; three in a row are then no accident."""

MAD_TO_DEVIATION = 1.4826
"""A normal distribution's standard deviation over its median absolute deviation."""


def median(rows: Floats) -> Floats:
    """Median of the known samples along the last axis; NaN where there is none. Faster than numpy's."""
    ordered = np.sort(rows, axis=-1)  # NaN goes last
    samples = rows.shape[-1]
    middle = np.asarray((ordered[..., (samples - 1) // 2] + ordered[..., samples // 2]) / 2)
    gaps = np.isnan(ordered[..., -1])
    if gaps.any():
        some = ordered[gaps]
        known = np.isfinite(some).sum(axis=-1, keepdims=True)
        below = np.take_along_axis(some, np.maximum(known - 1, 0) // 2, axis=-1)
        above = np.take_along_axis(some, np.minimum(known // 2, samples - 1), axis=-1)
        middle[gaps] = np.where(known > 0, (below + above) / 2, np.nan)[..., 0]
    return middle


def quantile(rows: Floats, share: float) -> Floats:
    """A quantile of the known samples along the last axis, by straight lines between them; NaN where there is none."""
    ordered = np.sort(rows, axis=-1)  # NaN goes last
    place = share * np.maximum(np.isfinite(ordered).sum(axis=-1, keepdims=True) - 1, 0)
    below = np.floor(place).astype(np.int64)
    low = np.take_along_axis(ordered, below, axis=-1)
    high = np.take_along_axis(ordered, np.ceil(place).astype(np.int64), axis=-1)
    between: Floats = (low + (place - below) * (high - low))[..., 0]
    return between


def newest(rows: Floats) -> Floats:
    """Newest known sample along the last axis; NaN where there is none."""
    back = np.argmax(np.isfinite(rows)[..., ::-1], axis=-1)
    value: Floats = np.take_along_axis(rows, rows.shape[-1] - 1 - back[..., None], axis=-1)[..., 0]
    return value


def recent_mean(values: Floats, width: int) -> Floats:
    """Mean of the ``width`` samples up to each one along the last axis, of those that are known; NaN where none is."""
    known = np.isfinite(values)
    whole = bool(known.all())
    total = np.cumsum(values if whole else np.where(known, values, 0.0), axis=-1)
    total[..., width:] -= total[..., :-width].copy()
    if whole:
        return total / np.minimum(np.arange(1, values.shape[-1] + 1), width)
    count = np.cumsum(known, axis=-1)
    count[..., width:] -= count[..., :-width].copy()
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def settled(rows: Floats) -> Floats:
    """Median along the last axis of the samples since the level last changed; NaN where there is none.

    A plain median ignores a new level until it fills half the window. Here older samples stop counting where ``RUN``
    of them in a row lie away from the newest ones, so that a jump is followed once it held for three samples. Noise
    is judged by differences over as many samples: one jump disturbs few of them, and samples whose windows overlap
    differ too little from their neighbours.
    """
    samples = rows.shape[-1]
    flat = np.ascontiguousarray(rows.reshape(-1, samples))
    packed = flat
    gaps = np.isnan(flat).any(axis=-1)
    if gaps.any():
        order = np.argsort(np.isfinite(flat[gaps]), axis=-1, kind="stable")
        packed = flat.copy()
        packed[gaps] = np.take_along_axis(flat[gaps], order, axis=-1)  # known samples side by side, newest last
    stand = median(packed[:, -NEWEST:])
    if samples <= RUN:
        return stand.reshape(rows.shape[:-1])
    noise = MAD_TO_DEVIATION * median(np.abs(packed[:, RUN:] - packed[:, :-RUN])) / np.sqrt(2.0)
    apart = packed - stand[:, None]
    limit = AWAY * np.nan_to_num(noise)[:, None]
    above, below = apart > limit, apart < -limit
    runs = _runs(above) | _runs(below)
    level = median(packed)
    jumped = np.flatnonzero(runs.any(axis=-1))
    if len(jumped):
        behind = runs.shape[-1] - 1 - np.argmax(runs[jumped, ::-1], axis=-1) + RUN
        level[jumped] = median(np.where(np.arange(samples) >= behind[:, None], packed[jumped], np.nan))
    return level.reshape(rows.shape[:-1])


def _runs(away: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return away[:, :-2] & away[:, 1:-1] & away[:, 2:]
