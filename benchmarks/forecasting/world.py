"""Series to measure on, made from a seed, and processor time; the rooms of the benchmark share both."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from foremesh.forecast.fit import DAY_S
from foremesh.model.series import Floats, Metric, SeriesBatch

SAMPLES, STEP_S = 2016, 300.0
"""A week of five-minute samples, as the operator has them of every link."""

END_S = 1_700_006_400.0
"""Unix time of the newest sample."""

KINDS = ("daily", "congested", "walk", "noise")


def made(series: int, *, samples: int = SAMPLES, seed: int = 1) -> Floats:
    """Series of four kinds in turn: a swing over the day, queues in rush hours, a random walk, noise on a level that
    jumps; shape (series, samples), float32, in milliseconds."""
    rng = np.random.default_rng(seed)
    at = times(samples) / DAY_S
    phase = rng.uniform(0, 1, (series, 1)).astype(np.float32)
    noise = rng.standard_normal((series, samples), dtype=np.float32)
    wave = np.sin(2 * np.pi * (at.astype(np.float64)[None] + phase)).astype(np.float32)
    values = np.empty((series, samples), dtype=np.float32)
    for kind in range(len(KINDS)):
        rows = slice(kind, None, len(KINDS))
        match KINDS[kind]:
            case "daily":
                values[rows] = 60 + 15 * wave[rows] + noise[rows]
            case "congested":
                load = 0.5 + 0.3 * wave[rows]
                values[rows] = 30 + 4 * load / (1 - load) * np.exp(0.1 * noise[rows])
            case "walk":
                values[rows] = 300 + np.cumsum(0.5 * noise[rows], axis=1)
            case _:
                jumps = np.cumsum(rng.random((len(values[rows]), samples)) < 1 / 500, axis=1) % 3
                values[rows] = 40 + noise[rows] + 20 * jumps
    return values


def times(samples: int = SAMPLES, step_s: float = STEP_S) -> Floats:
    return END_S - step_s * np.arange(samples - 1, -1, -1)


def batch(values: Floats, *, step_s: float = STEP_S, end_s: float = END_S, metric: Metric = Metric.RTT) -> SeriesBatch:
    return SeriesBatch(metric, tuple(f"s{index}" for index in range(len(values))), values, step_s, end_s)


def shared(name: str) -> Path | None:
    """A file of recorded series; None if there is none on this machine."""
    folder = os.environ.get("FOREMESH_SHARED")
    path = Path(folder) / "data" / name if folder else None
    return path if path and path.exists() else None


class Spent:
    """Processor seconds of this process and of those that it waited for."""

    seconds = 0.0


@contextmanager
def spent() -> Iterator[Spent]:
    before, found = _spent(), Spent()
    yield found
    found.seconds = _spent() - before


def _spent() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)
