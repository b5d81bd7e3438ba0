"""How round trips change when traffic is moved: longer on links that it comes to, shorter on those that it leaves.

What is forecast of a link holds for the traffic that is on it now. While a plan is made, demands move one after the
other; who has not had his turn is taken to stay where he is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from foremesh.model.queue import waiting
from foremesh.model.series import Floats
from foremesh.routing.arrays import Arrays
from foremesh.routing.values import Ints


class Crowding:
    """Traffic moved on the links of one snapshot, and what that does to their round trips.

    Links of which it is not known how they queue, or how much they carry, stay as they are forecast.
    """

    def __init__(self, arrays: Arrays) -> None:
        self._reverse = arrays.topology.reverse
        rise_ms = np.where(np.isnan(arrays.queueing_ms), 0.0, arrays.queueing_ms)
        capacity_bps = np.where(arrays.capacity_bps == 0, math.nan, arrays.capacity_bps)
        carried = np.isfinite(capacity_bps) & np.isfinite(arrays.free.median)
        known = (rise_ms > 0) & carried & (self._reverse >= 0) & np.isfinite(arrays.rtt.median)
        known[known] = carried[self._reverse[known]]
        self._rows = np.flatnonzero(known)
        self.matters = bool(self._rows.size)
        """Whether anything moved makes a difference."""
        if not self.matters:
            return
        self._rise_ms, self._most_less_ms = rise_ms[known], -arrays.rtt.median[known]
        self._back = self._reverse[known]
        self._capacity_bps = capacity_bps
        self._used_bps = capacity_bps - arrays.free.median
        """By link, what it carries: as forecast, and as planned so far."""
        self._now = self._queue(0.0, 0.0)
        self._row = np.full(len(self._reverse), -1, dtype=np.int64)
        self._row[self._rows] = np.arange(len(self._rows))

    def move(self, links: Iterable[int], forward_bps: float, back_bps: float) -> None:
        """Put traffic on links, back on their reverses; negative to take it away."""
        if not self.matters:
            return
        for link in links:
            self._used_bps[link] += forward_bps
            if self._reverse[link] >= 0:
                self._used_bps[self._reverse[link]] += back_bps

    def added_ms(self, forward_bps: float, back_bps: float) -> Floats:
        """By link, what is added to the forecast round trip for one who sends so much over it and gets so much back;
        negative where more went away than he brings. No round trip gets less than 0."""
        added = np.zeros(len(self._reverse))
        if self.matters:
            more = self._rise_ms * (self._queue(forward_bps, back_bps) - self._now)
            added[self._rows] = np.maximum(more, self._most_less_ms)
        return added

    def added_at(self, links: Ints) -> Floats:
        """What is added to the forecast round trips of some links by what is planned so far."""
        added = np.zeros(len(links))
        if self.matters:
            known = self._row[links] >= 0
            rows = self._row[links[known]]
            both = np.concatenate([self._rows[rows], self._back[rows]])
            queue = waiting(self._used_bps[both] / self._capacity_bps[both])
            more = self._rise_ms[rows] * (queue[: len(rows)] + queue[len(rows) :] - self._now[rows])
            added[known] = np.maximum(more, self._most_less_ms[rows])
        return added

    def _queue(self, forward_bps: float, back_bps: float) -> Floats:
        capacity, used = self._capacity_bps, self._used_bps
        there = waiting((used[self._rows] + forward_bps) / capacity[self._rows])
        return there + waiting((used[self._back] + back_bps) / capacity[self._back])
