"""What probes and counters have said so far, as forecasters get it from Prometheus: minutes, and a week of means."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import numpy as np

from foremesh.model.link import LinkId
from foremesh.model.series import Floats, Metric, SeriesBatch
from foremesh.simulation.world import MINUTE_S

PAST_MINUTES = 5
"""Minutes that one sample of the past is the mean of, as ``settings.PrometheusSettings.history_step``."""

PAST_SAMPLES = 2016
"""A week of them."""

RENEWED_MINUTES = 30
"""Minutes that a past serves, as ``telemetry.history.REFRESH_S``."""

RECENT_MINUTES = 60
"""Newest samples that forecasters see: an hour."""


class Measured:
    """Series of every link, a sample a minute, filled in as time goes by.

    Args:
        links: Which links, in the order of the rows that come in.
        start_s: Unix time of the first minute.
        minutes: How many there will be.
    """

    def __init__(self, links: tuple[LinkId, ...], start_s: float, minutes: int) -> None:
        self.links = links
        self._start_s = start_s
        self._series: dict[Metric, Floats] = {
            metric: np.full((len(links), minutes), np.nan) for metric in (Metric.RTT, Metric.LOSS, Metric.THROUGHPUT)
        }
        self._known = 0
        self._means: dict[Metric, Floats] = {
            metric: np.full((len(links), minutes // PAST_MINUTES), np.nan) for metric in self._series
        }
        self._meant = 0
        self._past: dict[Metric, SeriesBatch] = {}
        self._renewed = -RENEWED_MINUTES

    def add(self, measured: Mapping[Metric, Floats]) -> None:
        """Append minutes, shape (links, minutes) each."""
        (width,) = {values.shape[1] for values in measured.values()}
        for metric, values in measured.items():
            self._series[metric][:, self._known : self._known + width] = values
        self._known += width

    @property
    def now_s(self) -> float:
        """Unix time of the newest sample."""
        return self._start_s + MINUTE_S * (self._known - 1)

    def newest(self, metric: Metric, minutes: int) -> Floats:
        """The newest samples, shape (links, minutes)."""
        return self._series[metric][:, max(0, self._known - minutes) : self._known]

    def recent(self, metric: Metric) -> SeriesBatch:
        """The newest hour at a step of a minute."""
        return SeriesBatch(metric, self.links, self.newest(metric, RECENT_MINUTES), MINUTE_S, self.now_s)

    def past(self, metric: Metric) -> SeriesBatch:
        """A week at a step of five minutes; the same batch for half an hour, as the operator keeps it."""
        if self._known - self._renewed >= RENEWED_MINUTES:
            self._average()
            self._past = {each: self._week(each) for each in self._series}
            self._renewed = self._known
        return self._past[metric]

    def _average(self) -> None:
        """Work out the means of what came since the last time."""
        done, due = self._meant, self._known // PAST_MINUTES
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # five lost minutes are a gap
            for metric, values in self._series.items():
                parts = values[:, done * PAST_MINUTES : due * PAST_MINUTES]
                self._means[metric][:, done:due] = np.nanmean(parts.reshape(len(values), -1, PAST_MINUTES), axis=2)
        self._meant = due

    def _week(self, metric: Metric) -> SeriesBatch:
        values = self._means[metric][:, max(0, self._meant - PAST_SAMPLES) : self._meant]
        end_s = self._start_s + MINUTE_S * (self._meant * PAST_MINUTES - 1)
        return SeriesBatch(metric, self.links, values, PAST_MINUTES * MINUTE_S, end_s)
