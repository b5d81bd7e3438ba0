"""Brings link series in: from Prometheus, from recordings, from memory.

This room reads and puts on one grid. It neither fills gaps (a missing sample stays NaN) nor judges what it read.
"""

from typing import TYPE_CHECKING, Any

from foremesh.telemetry.history import LinkHistory, LinkSeries
from foremesh.telemetry.recorded import MemorySource, RecordedSource, RecordingError, Samples, on_grid
from foremesh.telemetry.source import SeriesSource, TelemetryUnavailable, WindowError

if TYPE_CHECKING:
    from foremesh.telemetry.prometheus import PrometheusSource

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


def __getattr__(name: str) -> Any:
    """``PrometheusSource`` when it is asked for: plans from files need no HTTP client, which takes long to import."""
    if name == "PrometheusSource":
        from foremesh.telemetry.prometheus import PrometheusSource

        return PrometheusSource
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
