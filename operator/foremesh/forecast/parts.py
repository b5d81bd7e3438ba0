"""Many series in parts, worked on by all processors: memory and what is remembered of a part do not depend on the rest.

Threads are enough: what takes time is NumPy's and compiled code, which others may run beside.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from foremesh.model.series import SeriesBatch

TOGETHER = 512
"""Series of a part: a week of five minutes of them is 8 MB, which lies near a processor. Of fewer, many calls would
do little."""

Found = TypeVar("Found")

_PARTS: WeakKeyDictionary[SeriesBatch, tuple[SeriesBatch, ...]] = WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class Part:
    """Some series of a batch, with their past."""

    rows: slice | NDArray[np.int64]
    """Where they are in the batch."""
    batch: SeriesBatch
    past: SeriesBatch | None


def parts(batch: SeriesBatch, past: SeriesBatch | None) -> tuple[Part, ...]:
    """Take a batch and its past apart; a past is always taken apart in the same way, and into the same batches."""
    if max(len(batch.keys), len(past.keys) if past else 0) <= TOGETHER:
        return (Part(slice(None), batch, past),)
    held = batch if past is None else past
    taken = _PARTS.get(held)
    if taken is None:
        taken = _PARTS.setdefault(held, tuple(_some(held, rows) for rows in _slices(len(held.keys))))
    if past is None:
        return tuple(Part(rows, one, None) for rows, one in zip(_slices(len(batch.keys)), taken, strict=True))
    if past.keys != batch.keys:
        return tuple(_by_key(batch, taken))
    slices = _slices(len(batch.keys))
    return tuple(Part(rows, _some(batch, rows), one) for rows, one in zip(slices, taken, strict=True))


def worked(work: Callable[[Part], Found], some: Sequence[Part]) -> list[Found]:
    """Do the same for every part, on as many processors as this process may use."""
    if len(some) == 1:
        return [work(some[0])]
    with ThreadPoolExecutor(min(len(some), len(os.sched_getaffinity(0))), thread_name_prefix="forecast") as pool:
        return list(pool.map(work, some))


def _slices(series: int) -> Iterator[slice]:
    return (slice(start, min(start + TOGETHER, series)) for start in range(0, series, TOGETHER))


def _by_key(batch: SeriesBatch, pasts: Sequence[SeriesBatch]) -> Iterator[Part]:
    row = {key: index for index, key in enumerate(batch.keys)}
    for held in pasts:
        rows = np.array([row.pop(key) for key in held.keys if key in row], dtype=np.int64)
        if len(rows):
            yield Part(rows, _some(batch, rows), held)
    rest = np.array([*row.values()], dtype=np.int64)
    for some in _slices(len(rest)):
        yield Part(rest[some], _some(batch, rest[some]), None)


def _some(batch: SeriesBatch, rows: slice | NDArray[np.int64]) -> SeriesBatch:
    keys = batch.keys[rows] if isinstance(rows, slice) else tuple(batch.keys[row] for row in rows)
    return SeriesBatch(batch.metric, keys, batch.values[rows], batch.step_s, batch.end_s)
