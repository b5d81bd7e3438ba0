"""Brings link series in: from Prometheus, from recordings, from memory.

This room reads and puts on one grid. It neither fills gaps (a missing sample stays NaN) nor judges what it read.
"""

from foremesh.telemetry.history import LinkHistory, LinkSeries
from foremesh.telemetry.prometheus import PrometheusSource
from foremesh.telemetry.recorded import MemorySource, RecordedSource, RecordingError, Samples, on_grid
from foremesh.telemetry.source import SeriesSource, TelemetryUnavailable, WindowError

__all__ = [
    "LinkHistory",
    "LinkSeries",
    "MemorySource",
    "PrometheusSource",
    "RecordedSource",
    "RecordingError",
    "Samples",
    "SeriesSource",
    "TelemetryUnavailable",
    "WindowError",
    "on_grid",
]
