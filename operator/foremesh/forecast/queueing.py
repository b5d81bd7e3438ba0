"""How much longer round trips get as links fill up, learnt from what counters and probes saw together.

A queue grows as u / (1 - u) where u is the share of the link in use (M/M/1: Kleinrock, "Queueing Systems", 1975). By
how many milliseconds differs by link: it depends on how bursty its traffic is and how fast it drains. Forecasts hold
for links as they are used now; this says what becomes of them if traffic is moved.
"""

from __future__ import annotations

from collections.abc import Mapping
from weakref import WeakKeyDictionary

import numpy as np

from foremesh.forecast.levels import quantile
from foremesh.model.link import LinkId
from foremesh.model.queue import FULLEST, waiting
from foremesh.model.series import Floats, SeriesBatch

APART_S = 3600.0
"""Seconds between samples that are compared: long enough for load to change, and a new route counts once, when it
comes, and not as long as it stays."""

FEWEST = 100
"""Pairs of samples from which something is learnt."""

SURE = 3.0
"""Standard errors that a rise has to be above zero to be believed. Pairs overlap, so one counts for a twelfth."""

LOUDEST = 0.99
"""Share of differences that are believed; the rest are incidents."""

AT_ONCE = 500
"""Links that are worked on together: of a week, some 50 MB."""

_LEARNT: WeakKeyDictionary[SeriesBatch, tuple[Mapping[LinkId, float], Mapping[LinkId, float]]] = WeakKeyDictionary()
"""By past of round trips, the capacities asked about and what came out; batches never change."""


def queueing_ms(
    rtt: SeriesBatch | None, throughput: SeriesBatch | None, capacity_bps: Mapping[LinkId, float]
) -> Mapping[LinkId, float]:
    """Learn by how much each link's round trip rises.

    Args:
        rtt: Days of round trips.
        throughput: Days of what links carried, at the same step.
        capacity_bps: What links carry at most; others are left out.

    Returns:
        Milliseconds for each unit of u / (1 - u), added up over both directions, of the links that it shows for.
    """
    if rtt is None or throughput is None or abs(rtt.step_s - throughput.step_s) > 1e-6 * rtt.step_s:
        return {}
    held = _LEARNT.get(rtt)
    if held is None or held[0] != capacity_bps:
        held = _LEARNT[rtt] = (dict(capacity_bps), _learn(rtt, throughput, capacity_bps))
    return held[1]


def _learn(rtt: SeriesBatch, throughput: SeriesBatch, capacity_bps: Mapping[LinkId, float]) -> dict[LinkId, float]:
    carried = [
        (row, key, capacity_bps[key])
        for row, key in enumerate(throughput.keys)
        if isinstance(key, LinkId) and capacity_bps.get(key, 0.0) > 0
    ]
    place = {key: index for index, (_, key, _) in enumerate(carried)}
    links = [
        (row, key)
        for row, key in enumerate(rtt.keys)
        if isinstance(key, LinkId) and key in place and key.reverse in place
    ]
    if not links:
        return {}
    used = (
        throughput.values[[row for row, _, _ in carried]] / np.array([capacity for _, _, capacity in carried])[:, None]
    )
    # Where a link is as good as full, the rise is another one.
    queue = np.where(used <= FULLEST, waiting(used), np.nan)
    # The newest samples that both have, side by side.
    late = round((throughput.end_s - rtt.end_s) / rtt.step_s)
    delays_until, queues_until = rtt.values.shape[1] + min(0, late), queue.shape[1] - max(0, late)
    width = max(0, min(delays_until, queues_until))
    found: dict[LinkId, float] = {}
    for first in range(0, len(links), AT_ONCE):
        some = links[first : first + AT_ONCE]
        delay_ms = rtt.values[[row for row, _ in some], delays_until - width : delays_until]
        both = queue[[place[key] for _, key in some]] + queue[[place[key.reverse] for _, key in some]]
        slopes = _slopes(delay_ms, both[:, queues_until - width : queues_until], rtt.step_s)
        found |= {key: slope for (_, key), slope in zip(some, slopes.tolist(), strict=True) if slope > 0}
    return found


def _slopes(delay_ms: Floats, queue: Floats, step_s: float) -> Floats:
    """Least squares through the origin of what changed over ``APART_S``, 0 where that is not sure to be positive."""
    apart = max(1, round(APART_S / step_s))
    change_ms, more = delay_ms[:, apart:] - delay_ms[:, :-apart], queue[:, apart:] - queue[:, :-apart]
    change_ms = np.where(np.isfinite(more), change_ms, np.nan)
    change_ms = np.where(np.abs(change_ms) <= quantile(np.abs(change_ms), LOUDEST)[:, None], change_ms, np.nan)
    known = np.isfinite(change_ms)
    change_ms, more = np.where(known, change_ms, 0.0), np.where(known, more, 0.0)
    square, count = np.sum(more * more, axis=1), known.sum(axis=1)
    square = np.where(square > 0, square, np.inf)
    slope = np.sum(change_ms * more, axis=1) / square
    missed = np.sum(np.where(known, change_ms - slope[:, None] * more, 0.0) ** 2, axis=1)
    error = np.sqrt(apart * missed / np.maximum(count, 1) / square)
    sure: Floats = np.where((count >= FEWEST) & (slope > SURE * error), slope, 0.0)
    return sure
