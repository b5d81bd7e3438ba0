"""Series made up for tests, all from seeds, and a shorthand for batches."""

from __future__ import annotations

import numpy as np

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
