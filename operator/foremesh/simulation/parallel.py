"""One of several parallel paths at every sample of a recording: rules that choose, and what came of their choices.

A rule sees the samples before, never the one that it chooses for. Round trips only; nobody's traffic changes them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foremesh.forecast.levels import median
from foremesh.model.series import Floats
from foremesh.routing.stability import MEAN_TO_DEVIATION, flattered
from foremesh.settings import PlanningSettings

Choices = NDArray[np.int64]
"""By sample, the path in use."""

HOUR_S = 3600.0
"""Seconds that the simple rule's median looks back."""

NEWEST, LEVEL = 3, 9
"""Samples whose medians both have to speak for a move: three tell a jump from an outlier, and three times as many tell
it from a dip. Recorded paths were left for dips with fewer, and with an hour of them were held too long."""

HALF_LIFE_S = 2 * 86400.0
"""Seconds after which an error counts half: the same hours of two days are in it. With half a day, recorded pairs that
had been quiet for a night were left for little in the morning."""

ALIKE = 0.05
"""Share by which medians of paths may lie apart for them to be parallel."""


def last_value(rtt_ms: Floats, step_s: float) -> Choices:
    """Whichever was shortest in the sample before."""
    return _shortest(_before(rtt_ms, 1))


def hour_median(rtt_ms: Floats, step_s: float) -> Choices:
    """Whichever has the shortest median in the hour before."""
    return _shortest(_before(rtt_ms, max(1, round(HOUR_S / step_s))))


def worth_it(rtt_ms: Floats, step_s: float) -> Choices:
    """The planner's rule for parallel paths: move only for more than the best of so many is likely flattered by.

    How far predictions of the difference between two paths err is taken from the differences predicted and found so
    far, over the planner's horizon; so what a move has to save is the data's own.

    Args:
        rtt_ms: Shape (samples, paths), milliseconds, nothing missing.
        step_s: Seconds between samples.
    """
    samples, paths = rtt_ms.shape
    level, newest = _before(rtt_ms, LEVEL), _before(rtt_ms, NEWEST)
    ahead = math.ceil(PlanningSettings().horizon / step_s)
    sums = np.concatenate([np.zeros((1, paths)), np.cumsum(rtt_ms, axis=0)])
    kept = 0.5 ** (step_s / HALF_LIFE_S)
    off, mass = np.zeros((paths, paths)), 0.0
    chosen = np.empty(samples, dtype=np.int64)
    in_use = int(np.argmin(level[0]))
    for now in range(samples):
        if now > ahead:
            then = now - ahead
            missed = level[then] - (sums[now] - sums[then]) / ahead
            off, mass = off * kept + np.abs(missed[:, None] - missed), mass * kept + 1
        if mass:
            needed = flattered(paths, 1.0) * MEAN_TO_DEVIATION * off[in_use] / mass
            saved = np.minimum(level[now, in_use] - level[now], newest[now, in_use] - newest[now])
            saved[in_use] = needed[in_use] = 0.0
            best = int(np.argmax(saved - needed))
            in_use = best if saved[best] > needed[best] else in_use
        chosen[now] = in_use
    return chosen


RULES: dict[str, Callable[[Floats, float], Choices]] = {
    "last value": last_value,
    "one-hour median": hour_median,
    "foremesh": worth_it,
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a rule."""

    lost: float
    """By what share its mean round trip is above that of who always has the shortest."""
    moves_per_day: float


def outcome(rtt_ms: Floats, chosen: Choices, step_s: float) -> Outcome:
    """Judge choices; the first sample, which nothing came before, is left out."""
    judged, choices = rtt_ms[1:], chosen[1:]
    mean_ms = float(judged[np.arange(len(judged)), choices].mean())
    moves = int(np.count_nonzero(choices[1:] != choices[:-1]))
    return Outcome(mean_ms / float(judged.min(axis=1).mean()) - 1, moves / (len(judged) * step_s / 86400))


def groups(medians_ms: Sequence[float], size: int = 3) -> list[tuple[int, ...]]:
    """Paths that are as good as parallel, greedily: the shortest that are left, if their medians lie within ``ALIKE``
    of the first; else the shortest goes by itself."""
    order, found, at = sorted(range(len(medians_ms)), key=medians_ms.__getitem__), list[tuple[int, ...]](), 0
    while at + size <= len(order):
        some = order[at : at + size]
        alike = medians_ms[some[-1]] <= (1 + ALIKE) * medians_ms[some[0]]
        if alike:
            found.append(tuple(some))
        at += size if alike else 1
    return found


def _shortest(before_ms: Floats) -> Choices:
    return np.argmin(before_ms, axis=1)


def _before(rtt_ms: Floats, width: int) -> Floats:
    """By sample, the median of so many before it, of fewer at the start; the first stands in for what was before it."""
    padded = np.concatenate([np.full((width, rtt_ms.shape[1]), np.nan), rtt_ms])
    padded[width - 1] = rtt_ms[0]
    rows = np.lib.stride_tricks.sliding_window_view(padded, width, axis=0)[:-1]
    return median(rows.reshape(-1, width)).reshape(len(rtt_ms), -1)
