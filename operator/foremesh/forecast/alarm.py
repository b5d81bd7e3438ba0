"""What has just happened to a series and was never usual: too new for a forecaster to believe, too bad to ignore.

Forecasters wait for a jump to hold before they follow it, as most jumps of noisy series do not. One that is far outside
of what the series did in days says nothing about how long it will last; so for a while the pessimistic quantile, and
that alone, reckons with it. Who has to keep a limit gets out of the way at once and does not come back at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from foremesh.forecast.levels import median, quantile, recent_mean
from foremesh.model.series import Floats, Metric, SeriesBatch

MEMORY = 2.0
"""Horizons that an alarm is remembered: what came and went within one may do so within the next. Incidents of networks
come back within minutes, or not for days (Markopoulou et al., "Characterization of Failures in an Operational IP
Backbone Network", 2008: failures of a bad link follow each other within minutes)."""

USUAL = 0.99
"""Share of a past's samples that count as usual."""

FAR = 2.0
"""Times as far from the level as usual samples are that a sample has to be."""

LEVEL_S = 1800.0
"""Seconds from a sample to the middle of the hour before it, whose median is its level."""

OVER_S = 60.0
"""Seconds that have to be usual again for what was not to be over: a minute of probes tells a loss of 5 % from none."""

FEWEST = 288
"""Samples of a past at the least: a day of five minutes, so that every hour is in what is usual."""

ALARMED = (Metric.RTT, Metric.LOSS)
"""Metrics that requirements limit from above."""

_LIMITS: WeakKeyDictionary[SeriesBatch, Floats] = WeakKeyDictionary()
"""By past; batches never change."""


@dataclass(frozen=True, eq=False)
class Alarm:
    """What is usual of many series, and what was not."""

    level: Floats
    """Where each series stood in the last hour, shape (series,)."""
    limit: Floats
    """How far from there a sample has to be to be alarming; NaN where nobody knows."""
    worst: Floats
    """The worst of what was alarming lately, in the metric's unit; -inf where nothing was."""
    newest: Floats
    """Mean of the last minute, or of the newest sample if they are further apart."""

    def over(self, expected: Floats) -> NDArray[np.bool_]:
        """Series of which something alarming is still expected, shape (series,), though the last minute was usual
        again. What was never usual has to hold for some samples before it is believed; its end is what was to come, and
        is believed at once."""
        return (expected - self.level > self.limit) & (np.abs(self.newest - self.level) <= self.limit)


def alarm(batch: SeriesBatch, past: SeriesBatch | None, horizon_s: float) -> Alarm | None:
    """Look for what happened lately and was not usual.

    Args:
        batch: The newest samples.
        past: Days of them.
        horizon_s: Seconds ahead that the forecast reaches.

    Returns:
        None if nothing is known of what is usual.
    """
    if past is None or batch.metric not in ALARMED or past.values.shape[1] < FEWEST:
        return None
    if batch.step_s * batch.values.shape[1] < past.step_s:
        return None  # seconds are as restless as they are, and what is usual is known of minutes
    limits = _LIMITS.get(past)
    if limits is None:
        limits = _LIMITS.setdefault(past, FAR * _usual(past))
    limit = limits
    if past.keys != batch.keys:
        row = {key: index for index, key in enumerate(past.keys)}
        limit = np.array([limits[row[key]] if key in row else np.nan for key in batch.keys])
    samples = max(1, round(MEMORY * horizon_s / batch.step_s))
    if batch.metric is Metric.LOSS:
        # Now and then a probe is lost by chance; as many samples together as one of the past tell that from a fault.
        width = max(1, round(past.step_s / batch.step_s))
        recent, level = recent_mean(batch.values, width), np.zeros(len(batch.keys))
    else:
        recent, level = batch.values, median(batch.values)
    recent = recent[:, -samples:]
    far = recent - level[:, None] > limit[:, None]
    minute = batch.values[:, -max(1, round(OVER_S / batch.step_s)) :]
    newest = recent_mean(minute, minute.shape[1])[:, -1]
    worst = np.max(recent, axis=1, where=far, initial=-np.inf)
    if batch.metric is Metric.LOSS:
        # A mean says whether there is a fault, and its worst sample how bad it is: a minute at 5 % is 1 % of five.
        samples_ = np.nan_to_num(batch.values[:, -samples:])
        worst = np.where(far.any(axis=1), np.maximum(worst, samples_.max(axis=1, initial=0.0)), worst)
    return Alarm(level, limit, worst, newest)


def _usual(past: SeriesBatch) -> Floats:
    """How far from their level samples usually are at most, shape (series,); NaN where too few are known."""
    away = past.values
    if past.metric is not Metric.LOSS:
        lag = max(1, round(LEVEL_S / past.step_s))
        away = np.abs(away[:, lag:] - away[:, :-lag])
    known = np.isfinite(away).sum(axis=1)
    return np.where(known >= FEWEST, quantile(away, USUAL), np.nan)
