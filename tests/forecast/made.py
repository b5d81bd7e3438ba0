"""Series made up for tests, all from seeds, and a shorthand for batches."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from foremesh.forecast import FittedModels
from foremesh.forecast.fit import Fit
from foremesh.forecast.forecasters import Curve
from foremesh.model.series import Floats, Metric, SeriesBatch

NOW_S = 1_700_000_000.0
DAY_S = 86400.0
COARSE_S = 300.0
FINE_S = 15.0
WEEK = 2016
"""Coarse samples in a week."""


def batch(*rows: Floats, step_s: float = COARSE_S, metric: Metric = Metric.RTT, end_s: float = NOW_S) -> SeriesBatch:
    keys = tuple(f"s{index}" for index in range(len(rows)))
    return SeriesBatch(metric, keys, np.array(rows), step_s, end_s)


def times(samples: int = WEEK, step_s: float = COARSE_S, end_s: float = NOW_S) -> Floats:
    return end_s - step_s * np.arange(samples - 1, -1, -1)


def daily(times_s: Floats, *, noise: float = 1.0, seed: int = 1) -> Floats:
    """A round-trip time of 60 ms that swings by 30 ms over the day."""
    swing = 30 * np.sin(2 * np.pi * times_s / DAY_S)
    return 60 + swing + np.random.default_rng(seed).normal(0, noise, len(times_s)) if noise else 60 + swing


def random_walk(samples: int = WEEK, *, seed: int = 1) -> Floats:
    return 500 + np.cumsum(np.random.default_rng(seed).normal(0, 1, samples))


def noisy(samples: int = WEEK, *, level: float = 40.0, seed: int = 1) -> Floats:
    return level + np.random.default_rng(seed).normal(0, 1, samples)


def wandering(samples: int = WEEK, *, seed: int = 1) -> Floats:
    """Noise on a level that wanders: the newest hour says where it stands, and the day before says nothing."""
    walk = np.cumsum(np.random.default_rng(seed + 100).normal(0, 0.15, samples))
    return noisy(samples, level=80, seed=seed) + walk


def wave(times_s: Floats, *, noise: float = 0.5, seed: int = 1) -> Floats:
    """A swing of 11 hours, which no model of days knows."""
    swing = 20 * np.sin(2 * np.pi * times_s / 39_600.0)
    return 60 + swing + (np.random.default_rng(seed).normal(0, noise, len(times_s)) if noise else 0.0)


def knowing(shape: Callable[..., Floats], key: str = "s0", days: float = 8.0) -> FittedModels:
    """A fit of a series that knows its shape, as of now."""
    start_s = NOW_S - days * DAY_S
    grid_s = np.arange(start_s, NOW_S + 2 * DAY_S, COARSE_S)
    curve = Curve(start_s, COARSE_S, shape(grid_s, noise=0))
    return FittedModels({(Metric.RTT, key): Fit(curve, curve, start_s, NOW_S)})


def congested(times_s: Floats, *, seed: int = 1, noise: float = 0.3) -> Floats:
    """A round-trip time that queues in rush hours: 30 ms, and sharply more where the load comes near to full."""
    load = 0.45 + 0.25 * np.sin(2 * np.pi * times_s / DAY_S) + 0.18 * np.sin(4 * np.pi * times_s / DAY_S)
    random = np.random.default_rng(seed)
    return 30 + 4 * load / (1 - load) * random.lognormal(0, 0.05, len(times_s)) + random.normal(0, noise, len(times_s))
