"""How round trips change when traffic is moved: longer on links that it comes to, shorter on those that it leaves.

What is forecast of a link holds for the traffic that is on it now. While a plan is made, demands move one after the
other; who has not had his turn is taken to stay where he is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from foremesh.compiled import called, compiled
from foremesh.model.queue import FULLEST, MOST, waiting
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
        self._all = np.arange(len(self._reverse))
        there, back = (waiting(self._used_bps[some] / capacity_bps[some]) for some in (self._rows, self._back))
        self._now = there + back
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

    def added_ms(self, forward_bps: float, back_bps: float, links: Ints | None = None) -> Floats:
        """By link, what is added to the forecast round trip for one who sends so much over it and gets so much back;
        negative where more went away than he brings. No round trip gets less than 0.

        Args:
            links: Which; all if None.
        """
        added = np.zeros(len(self._reverse) if links is None else len(links))
        if self.matters:
            add(
                self._all if links is None else links,
                forward_bps,
                back_bps,
                self._row,
                self._back,
                self._rise_ms,
                self._most_less_ms,
                self._now,
                self._used_bps,
                self._capacity_bps,
                added,
            )
        return added


BEYOND = (1 - FULLEST) ** 2
"""What ``waiting`` divides by where a link is fuller than that."""


@called
def length(used: float) -> float:
    """``waiting`` of one direction of one link, to the last bit."""
    share = min(max(used, 0.0), FULLEST)
    return share / (1 - share) + (min(max(used, FULLEST), MOST) - FULLEST) / BEYOND


@compiled("void(i8[::1],f8,f8,i8[::1],i8[::1],f8[::1],f8[::1],f8[::1],f8[::1],f8[::1],f8[::1])")
def add(
    links: Ints,
    forward_bps: float,
    back_bps: float,
    row: Ints,
    back: Ints,
    rise_ms: Floats,
    most_less_ms: Floats,
    now: Floats,
    used_bps: Floats,
    capacity_bps: Floats,
    added_ms: Floats,
) -> None:
    """What is added to some links, in the arrays of ``Crowding``; nothing where it is not known how they queue."""
    for place in range(links.size):
        one, number = links[place], row[links[place]]
        if number >= 0:
            other = back[number]
            queue = length((used_bps[one] + forward_bps) / capacity_bps[one])
            queue += length((used_bps[other] + back_bps) / capacity_bps[other])
            added_ms[place] = max(rise_ms[number] * (queue - now[number]), most_less_ms[number])
