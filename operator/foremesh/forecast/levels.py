"""Where a series stands now, told from its newest samples. Arrays in, arrays out; NaN is a sample nobody has."""

from __future__ import annotations

import numpy as np

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
    """Median of each row's known samples, shape (rows,); NaN for a row without any. Faster than numpy's."""
    ordered = np.sort(rows, axis=1)  # NaN goes last
    known = np.isfinite(rows).sum(axis=1)
    at = np.arange(len(rows))
    middle = (ordered[at, np.maximum(known - 1, 0) // 2] + ordered[at, np.minimum(known // 2, rows.shape[1] - 1)]) / 2
    return np.where(known > 0, middle, np.nan)


def newest(rows: Floats) -> Floats:
    """Newest known sample of each row, shape (rows,); NaN for a row without any."""
    back = np.argmax(np.isfinite(rows)[:, ::-1], axis=1)
    value: Floats = rows[np.arange(len(rows)), rows.shape[1] - 1 - back]
    return value


def settled(rows: Floats) -> Floats:
    """Median of each row's samples since its level last changed, shape (rows,); NaN for a row without any.

    A plain median ignores a new level until it fills half the window. Here older samples stop counting where ``RUN``
    of them in a row lie away from the newest ones, so that a jump is followed once it held for three samples. Noise
    is judged by differences over as many samples: one jump disturbs few of them, and samples whose windows overlap
    differ too little from their neighbours.
    """
    order = np.argsort(np.isfinite(rows), axis=1, kind="stable")
    packed = np.take_along_axis(rows, order, axis=1)  # known samples side by side, newest last
    stand = median(packed[:, -NEWEST:])
    if rows.shape[1] <= RUN:
        return stand
    noise = MAD_TO_DEVIATION * median(np.abs(packed[:, RUN:] - packed[:, :-RUN])) / np.sqrt(2.0)
    apart = packed - stand[:, None]
    side = np.where(np.abs(apart) > AWAY * np.nan_to_num(noise)[:, None], np.sign(apart), 0.0)
    side = np.nan_to_num(side)
    runs = (side[:, :-2] != 0) & (side[:, :-2] == side[:, 1:-1]) & (side[:, 1:-1] == side[:, 2:])
    behind = np.where(runs.any(axis=1), runs.shape[1] - 1 - np.argmax(runs[:, ::-1], axis=1) + RUN, 0)
    since = np.where(np.arange(rows.shape[1]) >= behind[:, None], packed, np.nan)
    return median(since)
