"""One metric at two resolutions: the past that models are fitted to, and the newest minutes."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np

from foremesh.model.series import Metric, SeriesBatch
from foremesh.telemetry.source import SeriesSource, TelemetryUnavailable

log = logging.getLogger(__name__)

REFRESH_S = 1800.0
"""Seconds that a past serves before it is read again: an hour more or less in a week changes no rhythm."""

STALE_S = 4 * 3600.0
"""Seconds that a past serves while it cannot be read where it belongs, before a shorter one from elsewhere is better:
forecasters are judged anew as often."""

RETRY_S = 60.0
"""Seconds until a past that could not be read is asked for again; the newest samples still come."""


@dataclass(frozen=True, eq=False)
class LinkSeries:
    """What a forecast of one metric rests on."""

    recent: SeriesBatch
    """The newest minutes at a fine step: where every series stands."""
    past: SeriesBatch
    """Days at a coarse step, up to half an hour old: rhythms, and how far forecasts were off. May hold other keys."""

    @property
    def newest_s(self) -> float | None:
        """Unix time of the newest sample of any series; None if there is none."""
        known = np.isfinite(self.recent.values).any(axis=0)
        return float(self.recent.times_s[known][-1]) if known.any() else None


class LinkHistory:
    """Reads both from a source and keeps the past; one query a metric for the newest minutes, and one more a refresh.

    Args:
        source: Where series come from.
        recent_step_s: Seconds between the newest samples.
        recent_window_s: Seconds that they reach back.
        past_step_s: Seconds between samples of the past.
        past_window_s: Seconds that it reaches back.
        past_source: Where the past comes from; ``source`` if None, and where it cannot be read or has nothing.
    """

    def __init__(
        self,
        source: SeriesSource,
        *,
        recent_step_s: float,
        recent_window_s: float,
        past_step_s: float,
        past_window_s: float,
        past_source: SeriesSource | None = None,
    ) -> None:
        self._source = source
        self._past_source = past_source or source
        self._recent = {"step_s": recent_step_s, "window_s": recent_window_s}
        self._past = {"step_s": past_step_s, "window_s": past_window_s}
        self._kept: dict[Metric, SeriesBatch] = {}
        self._due_s: dict[Metric, float] = {}

    async def read(self, metric: Metric, *, now_s: float) -> LinkSeries:
        """Read the newest minutes, and the past too if it is due.

        Args:
            metric: What to read.
            now_s: Unix time; a past is due by this clock.

        Raises:
            TelemetryUnavailable: If the newest minutes cannot be read. A past that cannot is logged and the one read
                before serves on, or none.
        """
        recent = await self._source.read(metric, end_s=now_s, **self._recent)
        if now_s >= self._due_s.get(metric, 0.0):
            await self._refresh(metric, now_s)
        return LinkSeries(recent, self._kept.get(metric) or self._nothing(metric, now_s))

    async def _refresh(self, metric: Metric, now_s: float) -> None:
        found: SeriesBatch | None = None
        away: TelemetryUnavailable | None = None
        try:
            found = await self._past_source.read(metric, end_s=now_s, **self._past)
        except TelemetryUnavailable as error:
            away = error
        kept = self._kept.get(metric)
        # It was set up today, or its rules were; or it has been away for long.
        lacking = not found.keys if found is not None else kept is None or now_s - kept.end_s > STALE_S
        if lacking and self._past_source is not self._source:
            try:
                found = await self._source.read(metric, end_s=now_s, **self._past)
            except TelemetryUnavailable as error:
                found, away = None, away or error
        if found is not None:
            self._kept[metric] = found
        self._due_s[metric] = now_s + (REFRESH_S if away is None else RETRY_S)
        if away is not None:
            log.warning("past not read metric=%s url=%s retry_s=%d cause=%r", metric, away.url, RETRY_S, away.cause)

    def _nothing(self, metric: Metric, now_s: float) -> SeriesBatch:
        return SeriesBatch(metric, (), np.empty((0, 0)), self._past["step_s"], now_s)
