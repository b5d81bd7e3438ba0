"""The port through which link series come in, and the two ways in which that fails."""

from __future__ import annotations

from typing import Protocol

from foremesh.model.series import Metric, SeriesBatch


class SeriesSource(Protocol):
    """Something that can be asked for all series of a metric at once."""

    async def read(self, metric: Metric, *, end_s: float, window_s: float, step_s: float) -> SeriesBatch:
        """Read every series of a metric over the same window.

        Args:
            metric: What to read, in the unit it names.
            end_s: Unix time of the newest sample to read.
            window_s: Seconds back from there; a multiple of the step.
            step_s: Seconds between samples.

        Returns:
            ``window_s / step_s`` samples for every series that has one in the window, keys sorted, NaN where there is
            none; the last lies at ``end_s``.

        Raises:
            TelemetryUnavailable: If the source cannot be read now.
            WindowError: If no such window can be read, now or later.
        """


class TelemetryUnavailable(Exception):
    """A source that did not answer; carries ``url`` and ``cause``. The caller keeps what it has."""

    def __init__(self, url: str, cause: str) -> None:
        self.url = url
        self.cause = cause
        super().__init__(f"no link series from {url}: {cause}; nothing newer than the last answer is known")


class WindowError(ValueError):
    """A window that cannot be read; carries ``window_s`` and ``step_s``."""

    def __init__(self, window_s: float, step_s: float, cause: str) -> None:
        self.window_s = window_s
        self.step_s = step_s
        super().__init__(f"a window of {window_s:g} s in steps of {step_s:g} s: {cause}; nothing was read")


def samples_in(window_s: float, step_s: float) -> int:
    """How many samples a window holds.

    Raises:
        WindowError: If it is not a positive whole number.
    """
    samples = round(window_s / step_s) if step_s > 0 else 0
    if samples < 1 or abs(samples * step_s - window_s) > 1e-6 * window_s:
        raise WindowError(window_s, step_s, "it must be a positive multiple of the step")
    return samples
