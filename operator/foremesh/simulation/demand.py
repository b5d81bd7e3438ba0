"""Background traffic between places: how much, and how it swings. It takes its way without asking Foremesh.

How much: gravity, fitted to link utilisations drawn from what operators report. How it swings: by the clock of both
ends (``diurnal``), by walks and bursts of the same variance without a clock (``aperiodic``), or half the pairs each
(``mixed``); over either, noise that depends on the size of a flow.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from foremesh.model.series import Floats

Kind: TypeAlias = Literal["diurnal", "aperiodic", "mixed"]
Singles: TypeAlias = NDArray[np.float32]

KINDS: tuple[Kind, ...] = ("diurnal", "aperiodic", "mixed")

DAY_MINUTES = 1440

MOST_PAIRS = 2500
"""Pairs of places that send: all with a link of their own, then the heaviest. Gravity puts most traffic on few pairs
(Gunnar et al., "Traffic Matrix Estimation on a Large IP Backbone", IMC 2004: a fifth of them has four fifths)."""

BUSY_SHARE, BUSY_SHARE_CONGESTED = (0.1, 0.9), (0.9, 1.1)
"""Range of the 95th percentile of a link's utilisation, offered over capacity: of most links (as ``BUSY_SHAPE``, so 0.5
in the mean: interconnects are used to roughly 50 % at peak, Feamster, "Revealing Utilization at Internet
Interconnection Points", 2016), and of the congested ones (uniform)."""

BUSY_SHAPE = 2.0
"""Both parameters of the Beta distribution over the first range: humped, and zero at its ends."""

CONGESTED = 0.1
"""Share of corridors that run full at their peak. Endemic congestion is not found, recurring congestion on some links
is (Dhamdhere et al., "Inferring Persistent Interdomain Congestion", SIGCOMM 2018), and some operators upgrade only
after months of hours a day above 95 % (NANOG list, "Bottlenecks and link upgrades", August 2020)."""

QUIET_WAY = (0.4, 1.0)
"""Utilisation of a corridor's less used direction over that of the other, uniform: content flows towards readers."""

FIT_ROUNDS = 200
"""Rounds of iterative scaling; after a hundred the worst link of Geant2012 is within a few percent."""

RESIDENTIAL = 0.6
"""Share of pairs whose traffic peaks in the evening; the others peak in working hours. Both shapes are found in every
network (Roughan et al., "Experience in Measuring Backbone Traffic Variability", IMW 2002)."""

EVENING_PEAK_H, OFFICE_PEAK_H = (21.0, 1.0), (14.0, 1.5)
"""Local hour of the peak: mean and standard deviation over pairs. Evening peaks lie at 20 to 22 h (as Feamster,
2016)."""

DAILY_SWING, HALF_DAILY_SWING = (0.35, 0.55), (0.05, 0.15)
"""Amplitude of the daily and the half-daily harmonic over the mean, uniform over pairs: troughs of a quarter to a half
of the peak, as backbones show (Roughan et al., 2002; Thompson et al., "Wide-Area Internet Traffic Patterns", 1997)."""

EVENING_WEEKEND, OFFICE_WEEKEND = (0.95, 1.05), (0.5, 0.8)
"""Traffic of Saturdays and Sundays over that of other days, uniform over pairs: home traffic hardly changes (daily
profiles repeat within 20 % over a week, NANOG, as before), offices are empty."""

DAY_TO_DAY = 0.10
"""Log-sigma of a walk with a memory of a day: no two Mondays are alike (within 20 %, as before: two sigma)."""

NOISE, NOISE_MEMORY_MIN = 0.12, 30.0
"""Log-sigma and memory (minutes) of a median pair's short-term noise. Traffic volumes are log-normal at every time
scale (Alasmar et al., "On the Distribution of Traffic Volumes in the Internet and its Implications", INFOCOM 2019)."""

NOISE_POWER = -0.2
"""Exponent of the noise over a pair's mean rate: variance grows as the 1.6th power of the mean (Gunnar et al.,
2004)."""

NOISE_RANGE = (0.05, 0.4)
"""Log-sigmas that this power is cut to: beyond, it has not been measured."""

WALK_MEMORY_H = (2.0, 12.0)
"""Hours that aperiodic walks remember, log-uniform over them: what moves without a clock (releases, news, batch jobs,
migrations) lasts for hours."""

WALK_SHARES = (0.45, 0.40, 0.15)
"""Variance of a pair's walk that is the whole network's, its two places', and its own: clocks move pairs together too,
and walks of their own would cancel on a link that carries many pairs."""

BURSTS_PER_DAY, BURST_MIN, BURST_SHARE = 0.5, (40.0, 0.8), 0.2
"""Bursts of an aperiodic pair: how often, how long (median in minutes and log-sigma), and their share of its
variance."""

LEAST_SHARE = 0.1
"""Of its mean, what a pair sends at least."""

GRID_MIN = 10
"""Minutes between the points of slow walks; in between they go straight."""


@dataclass(frozen=True, eq=False)
class Demands:
    """Pairs of places and what they send in the mean."""

    src: NDArray[np.intp]
    dst: NDArray[np.intp]
    """Numbers of the places, shape (pairs,)."""
    links: tuple[tuple[int, ...], ...]
    """Links that each takes."""
    mean_bps: Floats
    """Shape (pairs,)."""


def busy_shares(corridors: NDArray[np.intp], rng: Generator) -> Floats:
    """95th percentile of each directed link's utilisation, drawn as operators report it.

    Args:
        corridors: Number of each link's corridor, shape (links,); the first link of one is its first direction.
    """
    count = int(corridors.max()) + 1
    low, high = BUSY_SHARE
    busier = low + (high - low) * rng.beta(BUSY_SHAPE, BUSY_SHAPE, count)
    busier = np.where(rng.random(count) < CONGESTED, rng.uniform(*BUSY_SHARE_CONGESTED, count), busier)
    quieter = busier * rng.uniform(*QUIET_WAY, count)
    first = np.zeros(len(corridors), dtype=bool)
    first[np.unique(corridors, return_index=True)[1]] = True
    swapped = rng.random(count) < 0.5
    shares: Floats = np.where(first ^ swapped[corridors], busier[corridors], quieter[corridors])
    return shares


def gravity(
    paths: Sequence[dict[int, list[int]]], published: dict[tuple[int, int], float], rng: Generator
) -> tuple[list[tuple[int, int]], list[tuple[int, ...]], Floats]:
    """Pairs that send, the links they take, and their weights: published demands, else the product of two masses.

    Masses are exponential, which gives traffic matrices like measured ones (Roughan, "Simplifying the Synthesis of
    Internet Traffic Matrices", CCR 2005).
    """
    sends, takes = rng.exponential(size=len(paths)), rng.exponential(size=len(paths))
    floor = min(published.values(), default=0.0) / 10
    found = []
    for src, ways in enumerate(paths):
        for dst, links in ways.items():
            weight = published.get((src, dst), floor) if published else sends[src] * takes[dst]
            found.append((len(links) > 1, -weight, src, dst, tuple(links)))
    found.sort()
    adjacent = sum(not one[0] for one in found)
    kept = found[: max(MOST_PAIRS, adjacent)]
    return [one[2:4] for one in kept], [one[4] for one in kept], -np.array([one[1] for one in kept])


def fit(links: Sequence[tuple[int, ...]], weights: Floats, target_bps: Floats) -> Floats:
    """Rates of pairs, as near to their weights as lets every link carry its target: iterative scaling.

    This is how traffic matrices are estimated from link loads (Zhang et al., "Fast Accurate Computation of Large-Scale
    IP Traffic Matrices from Link Loads", SIGMETRICS 2003: gravity first, then the least change in relative entropy).
    """
    pair = np.repeat(np.arange(len(links)), [len(one) for one in links])
    link = np.concatenate([np.array(one, dtype=np.intp) for one in links])
    hops = np.bincount(pair, minlength=len(links))
    rates = weights / weights.sum() * target_bps.sum() / hops.mean() + 1e-9
    for _ in range(FIT_ROUNDS):
        loads = np.bincount(link, weights=rates[pair], minlength=len(target_bps))
        step = np.log(target_bps / np.maximum(loads, 1e-9))
        rates = rates * np.exp(np.bincount(pair, weights=step[link], minlength=len(links)) / hops)
    fitted: Floats = rates
    return fitted


def walks(rng: Generator, count: int, points: int, memory: Floats) -> Floats:
    """Standard-normal walks that revert to zero, shape (count, points); ``memory`` in points, one each."""
    keep = np.exp(-1.0 / memory)
    steps = rng.standard_normal((points, count))
    steps[1:] *= np.sqrt(1 - keep**2)
    for point in range(1, points):
        steps[point] += keep * steps[point - 1]
    return steps.T


def shared_walks(rng: Generator, demands: Demands, places: int, points: int, memory_h: tuple[float, float]) -> Floats:
    """A standard-normal walk for each pair, on the grid: part the network's, part its places', part its own."""

    def some(count: int) -> Floats:
        low, high = np.log(np.array(memory_h) * 60 / GRID_MIN)
        return walks(rng, count, points, np.exp(rng.uniform(low, high, count)))

    of_all, of_places, own = np.sqrt(WALK_SHARES)
    everywhere, local, single = some(1), some(places), some(len(demands.src))
    ends = (local[demands.src] + local[demands.dst]) / np.sqrt(2)
    result: Floats = of_all * everywhere + of_places * ends + own * single
    return result


def bursts(rng: Generator, pairs: int, points: int) -> Floats:
    """Standardised sums of bursts, on the grid, shape (pairs, points): zero mean, unit variance in expectation."""
    median, sigma = BURST_MIN
    rate = BURSTS_PER_DAY * GRID_MIN / DAY_MINUTES
    lead = int(np.ceil(median * np.exp(3 * sigma) / GRID_MIN))
    pair, start = np.nonzero(rng.random((pairs, lead + points)) < rate)
    length = np.maximum(1, np.rint(median * np.exp(sigma * rng.standard_normal(len(pair))) / GRID_MIN)).astype(int)
    height = rng.exponential(size=len(pair))
    changes = np.zeros((pairs, lead + points + 1))
    np.add.at(changes, (pair, start), height)
    np.add.at(changes, (pair, np.minimum(start + length, lead + points)), -height)
    total = np.cumsum(changes, axis=1)[:, lead : lead + points]
    busy = rate * median * np.exp(sigma**2 / 2) / GRID_MIN  # mean number of bursts under way
    standard: Floats = (total - busy) / np.sqrt(2 * busy)
    return standard


@dataclass(frozen=True, eq=False)
class _Clock:
    """The daily and weekly shape of each pair, about a mean of one."""

    harmonics: Floats
    """Factors of cos and sin of the day and of the half day, shape (4, pairs)."""
    weekend: Floats
    """Traffic at a weekend over that of other days."""
    zone_h: NDArray[np.intp]
    """Hours ahead of UTC, -12 to 12, for the weekend."""

    @property
    def spread(self) -> Floats:
        """Standard deviation of each pair's shape over a week."""
        daily = (self.harmonics**2).sum(axis=0) / 2
        weekly = (1 - self.weekend) ** 2 * (2 / 7) * (5 / 7)
        spread: Floats = np.sqrt(daily + weekly)
        return spread


def clocks(rng: Generator, demands: Demands, longitudes: Floats) -> _Clock:
    """Draw each pair's shape: where its two ends' clocks stand, when it peaks, how far it swings."""
    pairs = len(demands.src)
    evening = rng.random(pairs) < RESIDENTIAL
    peak_h = np.where(evening, rng.normal(*EVENING_PEAK_H, pairs), rng.normal(*OFFICE_PEAK_H, pairs))
    second_h = peak_h + rng.normal(0.0, 2.0, pairs)
    daily, half = rng.uniform(*DAILY_SWING, pairs), rng.uniform(*HALF_DAILY_SWING, pairs)
    share = rng.random(pairs)
    harmonics = np.zeros((4, pairs))
    for weight, ends in ((share, demands.src), (1 - share, demands.dst)):
        ahead_h = longitudes[ends] / 15
        for row, (swing, top_h, period_h) in enumerate(((daily, peak_h, 24.0), (half, second_h, 12.0))):
            angle = 2 * np.pi * (top_h - ahead_h) / period_h
            harmonics[2 * row] += weight * swing * np.cos(angle)
            harmonics[2 * row + 1] += weight * swing * np.sin(angle)
    weekend = np.where(evening, rng.uniform(*EVENING_WEEKEND, pairs), rng.uniform(*OFFICE_WEEKEND, pairs))
    nearer = np.where(share >= 0.5, demands.src, demands.dst)
    return _Clock(harmonics, weekend, np.rint(longitudes[nearer] / 15).astype(np.intp))


def traffic(
    demands: Demands, *, kind: Kind, longitudes: Floats, start_s: float, days: int, rng: dict[str, Generator]
) -> Iterator[Singles]:
    """What every pair sends, bit/s, a day at a time: shape (pairs, 1440) each.

    Args:
        longitudes: Of the places, degrees.
        rng: A generator each for ``clock``, ``walk``, ``days``, ``noise`` and ``halves``.
    """
    pairs, places = len(demands.src), len(longitudes)
    points = days * DAY_MINUTES // GRID_MIN + 1
    clock = clocks(rng["clock"], demands, longitudes)
    day_to_day = DAY_TO_DAY * shared_walks(rng["days"], demands, places, points, (24.0, 24.0))
    periodic = np.ones(pairs, dtype=bool)
    if kind == "aperiodic":
        periodic[:] = False
    elif kind == "mixed":
        periodic[rng["halves"].permutation(pairs)[: pairs // 2]] = False
    free = np.sqrt(1 - BURST_SHARE) * shared_walks(rng["walk"], demands, places, points, WALK_MEMORY_H)
    free += np.sqrt(BURST_SHARE) * bursts(rng["walk"], pairs, points)
    free *= clock.spread[:, None]
    slow = np.exp(day_to_day - DAY_TO_DAY**2 / 2)
    shaped = _by_clock(clock, start_s, points)
    shaped[~periodic] = 1 + free[~periodic]
    level = (np.maximum(shaped, LEAST_SHARE) * slow * demands.mean_bps[:, None]).astype(np.float32)
    relative = (demands.mean_bps / np.median(demands.mean_bps)) ** NOISE_POWER
    sigma = np.clip(NOISE * relative, *NOISE_RANGE).astype(np.float32)
    keep = np.float32(np.exp(-1 / NOISE_MEMORY_MIN))
    fresh = np.float32(np.sqrt(1 - keep**2))
    last = rng["noise"].standard_normal(pairs, dtype=np.float32)
    between = (np.arange(GRID_MIN, dtype=np.float32) / GRID_MIN)[None, None, :]
    per_day = DAY_MINUTES // GRID_MIN
    for day in range(days):
        steps = rng["noise"].standard_normal((DAY_MINUTES, pairs), dtype=np.float32)
        steps *= fresh
        for minute in range(DAY_MINUTES):
            steps[minute] += keep * last
            last = steps[minute]
        noise = np.ascontiguousarray(steps.T)
        noise *= sigma[:, None]
        noise -= (sigma**2 / 2)[:, None]
        np.exp(noise, out=noise)
        ends = level[:, day * per_day : (day + 1) * per_day + 1]
        straight = ends[:, :-1, None] + (ends[:, 1:] - ends[:, :-1])[:, :, None] * between
        noise *= straight.reshape(pairs, DAY_MINUTES)
        yield noise


def _by_clock(clock: _Clock, start_s: float, points: int) -> Floats:
    """Each pair's shape on the grid, shape (pairs, points)."""
    hours = start_s / 3600 + np.arange(points) * GRID_MIN / 60
    turns = 2 * np.pi * hours / 24
    shape = 1 + clock.harmonics.T @ np.stack([np.cos(turns), np.sin(turns), np.cos(2 * turns), np.sin(2 * turns)])
    zones = np.arange(-12, 13)
    # Unix time began on a Thursday. A weekend comes and goes over three hours around midnight.
    week_h = (hours[None, :] + zones[:, None] + 72) % 168
    resting = (
        np.clip((week_h - 118.5) / 3, 0, 1) - np.clip((week_h - 166.5) / 3, 0, 1) + np.clip((1.5 - week_h) / 3, 0, 1)
    )
    quiet = 1 - (1 - clock.weekend)[:, None] * (resting[clock.zone_h + 12] - 2 / 7)
    result: Floats = shape * quiet
    return result
