"""Paths over one or two relays on an all-pairs matrix of round trips: predicted, found, doubted.

Arrays in, arrays out. Round trips are in milliseconds, shape (nodes, nodes), from row to column; NaN is unknown. An
unknown leg makes a path unknown, never short.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numba import njit
from numpy.typing import NDArray

Matrix = NDArray[np.float32]
Nodes = NDArray[np.int32]

KEPT = (1.0, 0.95, 0.8, 0.5, 0.0)
"""Share of its weight that an average keeps at each new value: from all that was ever seen to the newest alone."""

MEDIAN_SLICES = 9
"""Newest slices that a median is over: it ignores four bad ones, and follows a new level after five."""

PRIOR_SLICES = 1.0
"""Slices' worth of evidence that the usual variance of all pairs counts for beside a pair's own."""

BLOCK = 8
"""Rows of a min-plus product that are worked on together: what they share stays in a processor's nearest cache."""


class Memory(Protocol):
    """Tells what round trips will be from those seen."""

    @property
    def name(self) -> str:
        """How it does so, in a word or two."""

    def see(self, slice_ms: Matrix) -> None:
        """Take in the next slice."""

    def level_ms(self) -> Matrix:
        """What to expect of each pair; NaN for one never seen."""


class Average:
    """A mean that forgets; a value nobody measured makes it forget nothing."""

    def __init__(self, kept: float) -> None:
        self.name = "mean" if kept == 1 else "newest" if kept == 0 else f"mean keeping {kept:g}"
        self._kept = np.float32(kept)
        self._weight: Matrix = np.zeros((1, 1), np.float32)
        self._mean: Matrix = np.full((1, 1), np.nan, np.float32)

    def see(self, slice_ms: Matrix) -> None:
        known = np.isfinite(slice_ms)
        self._weight = np.where(known, self._kept * self._weight + 1, self._weight)
        step = (slice_ms - np.nan_to_num(self._mean)) / np.maximum(self._weight, 1)
        self._mean = np.where(known, np.nan_to_num(self._mean) + step, self._mean)

    def level_ms(self) -> Matrix:
        return self._mean


class Median:
    """The median of the newest slices."""

    def __init__(self) -> None:
        self.name = f"median of {MEDIAN_SLICES}"
        self._seen: deque[Matrix] = deque(maxlen=MEDIAN_SLICES)

    def see(self, slice_ms: Matrix) -> None:
        self._seen.append(slice_ms)

    def level_ms(self) -> Matrix:
        ordered = np.sort(np.stack(self._seen), axis=0)  # NaN goes last
        known = np.isfinite(ordered).sum(axis=0)[None]
        low = np.take_along_axis(ordered, np.maximum(known - 1, 0) // 2, axis=0)[0]
        high = np.take_along_axis(ordered, np.minimum(known // 2, len(ordered) - 1), axis=0)[0]
        return np.where(known[0] > 0, low / 2 + high / 2, np.float32(np.nan))


def memories() -> list[Memory]:
    """One of each kind, without anything seen."""
    return [*(Average(kept) for kept in KEPT), Median()]


@dataclass(frozen=True, eq=False)
class Detours:
    """A path over relays for every ordered pair."""

    level_ms: Matrix
    """What it was found by; NaN for a pair without any such path."""
    first: Nodes
    """Its first relay; -1 for a pair without a path."""
    last: Nodes
    """Its last relay: the first one again where there is only one."""

    def round_trip_ms(self, slice_ms: Matrix) -> Matrix:
        """The paths' round trips in a slice."""
        total: Matrix = _along(slice_ms, self.first, self.last)
        return total

    def deviation_ms(self, slices_ms: Matrix, gain_ms: Matrix) -> Matrix:
        """How far the gain over the direct path swings from slice to slice, as a standard deviation.

        The detour is replayed on slices, so what legs and direct path have in common cancels out. A variance over a
        few slices says little, so each is moderated by the mean variance of the pairs that expect a gain, which
        counts for ``PRIOR_SLICES`` degrees of freedom (Smyth 2004, section 3, with a prior weight that is given and a
        mean that is estimated). NaN if no pair has a variance.
        """
        squares, degrees = _replayed(np.ascontiguousarray(slices_ms), self.first, self.last)
        telling = (degrees > 0) & (gain_ms > 0)
        if not telling.any():
            return np.full_like(gain_ms, np.nan)
        usual = float(np.mean(squares[telling] / degrees[telling], dtype=np.float64))
        moderated = (squares + PRIOR_SLICES * usual) / (degrees + PRIOR_SLICES)
        deviation: Matrix = np.sqrt(moderated).astype(np.float32)
        return deviation


def detours(level_ms: Matrix) -> tuple[Detours, Detours]:
    """The shortest path over exactly one relay, and the shortest over one or two, for every ordered pair.

    Two min-plus products, 2 n^3 additions; the direct path is no detour. Where none is shorter than the direct path,
    what the second says may be longer than need be.
    """
    level = np.where(np.isfinite(level_ms), level_ms, np.float32(np.inf))
    np.fill_diagonal(level, np.inf)
    one_ms, relay = min_plus(level, level)
    # A second relay goes behind the better of direct and one relay, so that it is used only where it is a gain.
    over_one = one_ms < level
    two_ms, last = min_plus(np.where(over_one, one_ms, level), level)
    rows = np.arange(len(level))[:, None]
    first = np.where(over_one[rows, last], relay[rows, last], last)
    two = two_ms < one_ms
    one = Detours(_known(one_ms), relay, relay)
    return one, Detours(_known(np.where(two, two_ms, one_ms)), np.where(two, first, relay), np.where(two, last, relay))


def min_plus(left: Matrix, right: Matrix) -> tuple[Matrix, Nodes]:
    """Min-plus product: the least ``left[i, k] + right[k, j]`` for i other than j, and its k.

    Infinity where there is no sum, with -1 for k; infinite entries never take part.
    """
    best, via = _min_plus(np.ascontiguousarray(left), np.ascontiguousarray(right))
    np.fill_diagonal(best, np.inf)
    np.fill_diagonal(via, -1)
    return best, via


def _known(values_ms: Matrix) -> Matrix:
    return np.where(np.isfinite(values_ms), values_ms, np.float32(np.nan))


@njit(cache=True)
def _min_plus(left, right):  # type: ignore[no-untyped-def]
    nodes = left.shape[0]
    best = np.full((nodes, nodes), np.float32(np.inf), np.float32)
    via = np.full((nodes, nodes), np.int32(-1), np.int32)
    for start in range(0, nodes, BLOCK):
        for k in range(nodes):
            leg = right[k]
            for i in range(start, min(start + BLOCK, nodes)):
                to = left[i, k]
                if to == np.inf:
                    continue
                row, by = best[i], via[i]
                for j in range(nodes):
                    total = to + leg[j]
                    shorter = total < row[j]
                    row[j] = total if shorter else row[j]
                    by[j] = np.int32(k) if shorter else by[j]
    return best, via


@njit(cache=True)
def _path(slice_ms, i, first, last, j):  # type: ignore[no-untyped-def]
    if first < 0:
        return np.float32(np.nan)
    total = slice_ms[i, first] + slice_ms[last, j]
    return total if first == last else total + slice_ms[first, last]


@njit(cache=True)
def _along(slice_ms, first, last):  # type: ignore[no-untyped-def]
    nodes = slice_ms.shape[0]
    total = np.empty((nodes, nodes), np.float32)
    for i in range(nodes):
        for j in range(nodes):
            total[i, j] = _path(slice_ms, i, first[i, j], last[i, j], j)
    return total


@njit(cache=True)
def _replayed(slices_ms, first, last):  # type: ignore[no-untyped-def]
    """Sum of squares of the gains around their mean, and its degrees of freedom, per pair; Welford's recurrence."""
    count, nodes = slices_ms.shape[0], slices_ms.shape[1]
    squares = np.zeros((nodes, nodes), np.float32)
    degrees = np.zeros((nodes, nodes), np.int32)
    for i in range(nodes):
        for j in range(nodes):
            if first[i, j] < 0:
                continue
            mean, square, seen = 0.0, 0.0, 0
            for at in range(count):
                gain = np.float64(slices_ms[at, i, j]) - _path(slices_ms[at], i, first[i, j], last[i, j], j)
                if np.isnan(gain):
                    continue
                seen += 1
                away = gain - mean
                mean += away / seen
                square += away * (gain - mean)
            squares[i, j], degrees[i, j] = square, max(seen - 1, 0)
    return squares, degrees
