"""Where a series stands now, told from its newest samples. Arrays in, arrays out; NaN is a sample nobody has."""

from __future__ import annotations

import numpy as np

from foremesh.forecast import kernels
from foremesh.forecast.kernels import FEW, MAD_TO_DEVIATION, RUN
from foremesh.model.series import Floats

__all__ = ["MAD_TO_DEVIATION", "RUN", "median", "newest", "quantile", "recent_mean", "settled"]


def median(rows: Floats) -> Floats:
    """Median of the known samples along the last axis; NaN where there is none. Faster than numpy's."""
    samples = rows.shape[-1]
    if 0 < samples <= FEW:
        found = np.empty(rows.shape[:-1])
        kernels.medians(_flat(rows), found.reshape(-1))
        return found
    ordered = np.sort(rows, axis=-1)  # NaN goes last
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
    value: Floats = rows[..., -1].copy()
    gaps = np.isnan(value)
    if gaps.any():
        some = rows[gaps]
        back = np.argmax(np.isfinite(some)[..., ::-1], axis=-1)
        value[gaps] = np.take_along_axis(some, rows.shape[-1] - 1 - back[..., None], axis=-1)[..., 0]
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
    level = np.empty(rows.shape[:-1])
    kernels.settle(_flat(rows), level.reshape(-1))
    return level


def _flat(rows: Floats) -> Floats:
    """As compiled functions take them: they know no arrays that may not be written."""
    return np.require(rows, np.float64, ["C", "W"]).reshape(-1, rows.shape[-1])
