"""Measured series: many links' samples of one metric on one time grid.

A sample that is missing, or that could not be taken, is NaN: unknown, never zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from foremesh.model.link import LinkId
from foremesh.model.manifest import Wire


class Flow(Wire, frozen=True, kw_only=True):
    """What one end of a circuit sends to the other: a pair of gateways, one way, and a class of traffic."""

    src: str
    dst: str
    circuit: str
    """``namespace/name``; empty: all circuits from ``src`` to ``dst`` together."""

    def __str__(self) -> str:
        return f"{self.src}->{self.dst}/{self.circuit}" if self.circuit else f"{self.src}->{self.dst}"


SeriesKey: TypeAlias = LinkId | Flow | str
"""What a series is about: a link, a flow, or a gateway by its id. Recordings may name series as they like."""

Floats: TypeAlias = NDArray[np.float64]


class Metric(StrEnum):
    """What is measured."""

    RTT = "rtt"
    """Round-trip time over a link, milliseconds."""
    LOSS = "loss"
    """Share of a link's probes that were lost, 0 to 1."""
    THROUGHPUT = "throughput"
    """What a link carries, bit/s; not what it could carry."""
    LOAD = "load"
    """Share of what a gateway can carry that is in use, 0 to 1."""
    JITTER = "jitter"
    """How much one-way transit times over a link vary from probe to probe, milliseconds (RFC 3550's estimate)."""
    DEMAND = "demand"
    """What one end of a circuit sends into it, bit/s: what people use, whichever links it runs over."""

    @property
    def unit(self) -> str:
        """The unit as people write it; empty for a share."""
        return {Metric.RTT: "ms", Metric.JITTER: "ms", Metric.THROUGHPUT: "bit/s", Metric.DEMAND: "bit/s"}.get(self, "")

    @property
    def ceiling(self) -> float:
        """The greatest value it can take; the least is zero for all."""
        return 1.0 if self in (Metric.LOSS, Metric.LOAD) else np.inf


@dataclass(frozen=True, eq=False)
class SeriesBatch:
    """Samples of one metric for many series.

    Raises:
        ValueError: If keys repeat, the step is not positive, or the values' shape is not (keys, samples).
    """

    metric: Metric
    keys: tuple[SeriesKey, ...]
    values: Floats
    """Shape (series, samples), oldest first, NaN where unknown; in the metric's unit. Read-only. Single precision stays
    single, at half the memory; arrays that are read-only already are not copied."""
    step_s: float
    """Seconds between samples."""
    end_s: float
    """Unix time of the newest sample's place on the grid, which may hold NaN."""

    def __post_init__(self) -> None:
        values = np.asarray(self.values)
        kind = np.float32 if values.dtype == np.float32 else np.float64
        if values.flags.writeable or values.dtype != kind:
            values = np.array(values, dtype=kind)
        if values.ndim != 2 or len(values) != len(self.keys):
            raise ValueError(
                f"{self.metric} values have shape {values.shape}; {len(self.keys)} series need that many rows"
            )
        if len(set(self.keys)) != len(self.keys):
            raise ValueError(f"{self.metric} series repeat: a key names one series")
        if not self.step_s > 0:
            raise ValueError(f"{self.metric} step is {self.step_s} s; it must be positive")
        values.flags.writeable = False
        object.__setattr__(self, "values", values)

    @property
    def times_s(self) -> Floats:
        """Unix times of the samples, oldest first."""
        samples = self.values.shape[1]
        return self.end_s - self.step_s * np.arange(samples - 1, -1, -1, dtype=np.float64)

    def select(self, keys: Sequence[SeriesKey]) -> SeriesBatch:
        """The same metric for these keys, in this order; a key without a series becomes one of NaN."""
        row = {key: index for index, key in enumerate(self.keys)}
        unknown = np.full(self.values.shape[1], np.nan)
        rows = [self.values[row[key]] if key in row else unknown for key in keys]
        values = np.array(rows).reshape(len(keys), self.values.shape[1])
        return SeriesBatch(self.metric, tuple(keys), values, self.step_s, self.end_s)

    def newest(self) -> tuple[Floats, Floats]:
        """The newest known sample of every series and its age.

        Returns:
            Values, and ages in seconds before ``end_s``, each of shape (series,); NaN and infinity where a series has
            no known sample.
        """
        series, samples = self.values.shape
        if samples == 0:
            return np.full(series, np.nan), np.full(series, np.inf)
        known = np.isfinite(self.values)
        back = np.argmax(known[:, ::-1], axis=1)
        values = self.values[np.arange(series), samples - 1 - back]
        return values, np.where(known.any(axis=1), back * self.step_s, np.inf)
