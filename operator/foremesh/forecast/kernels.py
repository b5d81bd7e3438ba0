"""What is done with every sample of every series, compiled: without Python and without its lock, so that a hundred
thousand series take seconds, on as many processors as there are. What it means is told in ``levels`` and ``gate``.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from foremesh.compiled import called, compiled
from foremesh.model.forecast import QUANTILES
from foremesh.model.series import Floats

Floats32 = NDArray[np.float32]
Ints = NDArray[np.int64]

FEW = 32
"""Values up to which comparing each with each is the quickest way to the middle."""

NEWEST = 5
"""Samples that say where a series stands: three of five have to agree before a jump is believed."""

RUN = 3
"""Samples in a row away from the newest ones, on one side, that count as another level and not as noise."""

AWAY = 4.0
"""Noise deviations from which a sample counts as away; three in a row are then no accident."""

MAD_TO_DEVIATION = 1.4826
"""A normal distribution's standard deviation over its median absolute deviation."""

STEEPNESS = 16
"""Power by which weights fall with errors: an error that is 5 % larger halves a weight."""

FEWEST = 12.0
"""Truths that errors have to be made of, older ones counted less, before any but the first expert gets weight."""

RATE = 0.03
"""Usual errors by which a quantile moves out when a truth lies beyond it; a ninth of that back when none does. On
recorded series a third less was slow to follow what changed, and twice as much made other pinball losses worse."""

BACK = QUANTILES[0] / (1 - QUANTILES[0])


@called
def part(some: Floats, count: int, place: int) -> None:
    """Bring the value that sorting would bring to a place there, what is less before it and what is greater behind it
    (Hoare, "Algorithm 65: Find", 1961)."""
    first, last = 0, count - 1
    while first < last:
        pivot = some[(first + last) // 2]
        up, down = first, last
        while up <= down:
            while some[up] < pivot:
                up += 1
            while some[down] > pivot:
                down -= 1
            if up <= down:
                some[up], some[down] = some[down], some[up]
                up += 1
                down -= 1
        if place <= down:
            last = down
        elif place >= up:
            first = up
        else:
            return


@called
def middle_of(some: Floats, count: int) -> float:
    """Median of the first so many values, whose order it changes; NaN of none."""
    if count == 0:
        return math.nan
    half = count // 2
    if count > FEW:
        part(some, count, half)
        other = some[half] if count % 2 else some[:half].max()
        return float((other + some[half]) / 2)
    # The least comes first, and so on: more comparisons than sorting, but none whose outcome has to be guessed.
    for place in range(half + 1):
        for index in range(place + 1, count):
            one, other = some[place], some[index]
            some[place] = min(one, other)
            some[index] = max(one, other)
    middle: float = (some[(count - 1) // 2] + some[half]) / 2
    return middle


@compiled("void(f8[:,::1], f8[::1])")
def medians(rows: Floats, found: Floats) -> None:
    """Median of the known samples of each row; for rows of a few dozen."""
    some = np.empty(rows.shape[1])
    for row in range(rows.shape[0]):
        count = 0
        for value in rows[row]:
            if not math.isnan(value):
                some[count] = value
                count += 1
        found[row] = middle_of(some, count)


@compiled("void(f8[:,::1], f8[::1])")
def settle(rows: Floats, found: Floats) -> None:
    """Median of the known samples of each row since its level last changed."""
    known = np.empty(rows.shape[1])
    some = np.empty(rows.shape[1])
    for row in range(rows.shape[0]):
        count = 0
        for value in rows[row]:
            if not math.isnan(value):
                known[count] = value
                count += 1
        newest = min(count, NEWEST)
        some[:newest] = known[count - newest : count]
        stand = middle_of(some, newest)
        if rows.shape[1] <= RUN:
            found[row] = stand
            continue
        pairs = max(count - RUN, 0)
        for index in range(pairs):
            some[index] = abs(known[index + RUN] - known[index])
        limit = AWAY * (MAD_TO_DEVIATION * middle_of(some, pairs) / math.sqrt(2.0) if pairs else 0.0)
        behind, above, below = 0, 0, 0
        for index in range(count):
            above = above + 1 if known[index] - stand > limit else 0
            below = below + 1 if known[index] - stand < -limit else 0
            if above >= RUN or below >= RUN:
                behind = index + 1
        some[: count - behind] = known[behind:count]
        found[row] = middle_of(some, count - behind)


@called
def believed(error: Floats32, mass: Floats32, handicap: Floats32, row: int, lag: int, weights: Floats) -> None:
    """Weights of all experts for a series and a lag."""
    experts = handicap.size
    weights[:] = 0.0
    weights[0] = 1.0
    if mass[row, lag] < FEWEST:
        return
    best = math.inf
    for expert in range(experts):
        best = min(best, np.float64(error[expert, row, lag]) * handicap[expert])
    total = 0.0
    for expert in range(experts):
        off = np.float64(error[expert, row, lag]) * handicap[expert]
        weights[expert] = (best / off if off > 0.0 else 1.0) ** STEEPNESS
        total += weights[expert]
    for expert in range(experts):
        weights[expert] /= total


@compiled("void(f4[:,:,::1], f4[:,::1], f4[::1], f8[:,:,::1])")
def weigh(error: Floats32, mass: Floats32, handicap: Floats32, weights: Floats) -> None:
    """Weights of all experts, series and lags."""
    some = np.empty(handicap.size)
    for row in range(mass.shape[0]):
        for lag in range(mass.shape[1]):
            believed(error, mass, handicap, row, lag, some)
            weights[:, row, lag] = some


@called
def compare(
    truth: float,
    row: int,
    lag: int,
    place: int,
    decay: float,
    error: Floats32,
    mass: Floats32,
    spread: Floats32,
    pending: Floats32,
) -> None:
    """Compare what was predicted for now."""
    experts = error.shape[0] - 1
    mass[row, lag] *= decay
    if math.isfinite(truth - pending[0, row, place]):
        mass[row, lag] += 1.0
        part = 1.0 / max(np.float64(mass[row, lag]), 1.0)
        for expert in range(experts + 1):
            off = abs(truth - pending[expert, row, place])
            error[expert, row, lag] += part * (off - error[expert, row, lag])
        scaled = (truth - pending[experts, row, place]) / pending[experts + 1, row, place]
        step = RATE * error[experts, row, lag]
        spread[0, row, lag] -= step * (1.0 if scaled < spread[0, row, lag] else -BACK)
        spread[1, row, lag] += step * (1.0 if scaled > spread[1, row, lag] else -BACK)
    pending[:, row, place] = np.nan


@compiled(
    "void(f4[:,:], i8[::1], f8[:,:,:,::1], f8[:,:,::1], i8[::1], i8[::1], i8, i8, f8, f4[::1], "
    "f4[:,:,::1], f4[:,::1], f4[:,:,::1], f4[:,:,::1], f8[:,:,::1], f4[:,:,:,::1])"
)
def observe(
    truths: Floats32,
    at: Ints,
    given: Floats,
    factor: Floats,
    lags: Ints,
    first: Ints,
    stride: int,
    tick: int,
    decay: float,
    handicap: Floats32,
    error: Floats32,
    mass: Floats32,
    spread: Floats32,
    pending: Floats32,
    middle: Floats,
    spreads: Floats32,
) -> None:
    """Take samples of all series, and what experts predict at some of them.

    Args:
        truths, at, given, factor: As ``Gate.observe`` takes them; ``given`` has gaps only where nobody says anything.
        first: Per lag, the first of its places.
        error, mass, spread, pending: The gate's; changed.
        middle, spreads: Results.
    """
    experts = handicap.size
    weights = np.empty(experts)
    due = np.full((truths.shape[1], lags.size), -1)  # places whose truth comes with a sample
    own = np.full((truths.shape[1], lags.size), -1)  # where what is predicted at a sample is remembered
    for index in range(truths.shape[1]):
        for lag in range(lags.size):
            now, places = tick + 1 + index, first[lag + 1] - first[lag]
            if (now - lags[lag]) % stride == 0:
                due[index, lag] = first[lag] + (now - lags[lag]) // stride % places
            if now % stride == 0:
                own[index, lag] = first[lag] + now // stride % places
    for row in range(truths.shape[0]):
        column = 0
        for index in range(truths.shape[1]):
            truth = np.float64(truths[row, index])
            for lag in range(lags.size):
                if due[index, lag] >= 0:
                    compare(truth, row, lag, due[index, lag], decay, error, mass, spread, pending)
            if column < at.size and at[column] == index:
                for lag in range(lags.size):
                    believed(error, mass, handicap, row, lag, weights)
                    # Experts of one mind give just what they say, whatever the weights' last digits.
                    mixture = naive = given[0, row, column, lag]
                    for expert in range(1, experts):
                        mixture += weights[expert] * (given[expert, row, column, lag] - naive)
                    middle[row, column, lag] = mixture
                    spreads[0, row, column, lag] = spread[0, row, lag]
                    spreads[1, row, column, lag] = spread[1, row, lag]
                    place = own[index, lag]
                    if place >= 0:
                        for expert in range(experts):
                            pending[expert, row, place] = given[expert, row, column, lag]
                        pending[experts, row, place] = mixture
                        pending[experts + 1, row, place] = factor[row, column, lag]
                column += 1
