"""What has been promised of links' bandwidth, and what is left: kept up to date link by link, for every price and
requirement that depends on it."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from foremesh.compiled import called, compiled
from foremesh.model.link import LinkId
from foremesh.model.series import Floats
from foremesh.routing.arrays import BPS_SCALE, MOST_BPS, UNKNOWN, Arrays
from foremesh.routing.values import Ints


class Ledger:
    """Promises on the links of one snapshot."""

    def __init__(self, arrays: Arrays, reserved_bps: Mapping[LinkId, float] | None = None) -> None:
        self.reverse = arrays.topology.reverse
        self.low_bps, self.median_bps = arrays.free.pessimistic, arrays.free.median
        """What is free if nothing is promised; NaN is unknown."""
        self.taken_bps = np.zeros(self.reverse.size, dtype=np.float64)
        """What is promised of each link."""
        self.free_units = _units(arrays.free.pessimistic)
        """Pessimistic free bandwidth by link, in BPS_SCALE; one more at the end for the link that is not there."""
        self.left_bps = arrays.free.median.copy()
        """Median free bandwidth by link, below 0 where more is promised than there is; NaN is unknown."""
        self.events = np.empty(1024, dtype=np.int64)
        """Links whose promises changed, one by one: the first ``count``."""
        self.count = 0
        for id, bps in (reserved_bps or {}).items():
            link = arrays.topology.link_number.get(id)
            if link is not None:
                self.add(link, bps)

    @property
    def unpromised_units(self) -> Ints:
        """``free_units`` if nothing were promised."""
        return _units(self.low_bps)

    def less_cautious(self, caution: float) -> Ints:
        """``free_units`` of figures so much of the way from the median to the pessimistic one."""
        spread = self.median_bps - self.low_bps
        return _units(np.maximum(0.0, self.left_bps - caution * spread))

    @property
    def changes(self) -> Ints:
        """Links whose promises changed, in the order of events."""
        return self.events[: self.count]

    def add(self, link: int, bps: float) -> None:
        """Promise so much more of a link, or give it back if it is negative."""
        self.add_path(np.array([link], dtype=np.int64), bps, 0.0)

    def add_path(self, links: Ints, there_bps: float, back_bps: float) -> None:
        """Promise so much more of every link of a path, and of those the other way; negative to give it back."""
        self.grow(2 * links.size)
        self.count = promise_path(
            links,
            self.reverse,
            there_bps,
            back_bps,
            self.low_bps,
            self.median_bps,
            self.taken_bps,
            self.free_units,
            self.left_bps,
            self.events,
            self.count,
        )

    def grow(self, more: int) -> None:
        """Make room for so many events."""
        if self.count + more > self.events.size:
            room = np.empty(2 * (self.count + more), dtype=np.int64)
            room[: self.count] = self.changes
            self.events = room


@called
def note(
    link: int,
    bps: float,
    low_bps: Floats,
    median_bps: Floats,
    taken_bps: Floats,
    free_units: Ints,
    left_bps: Floats,
    events: Ints,
    count: int,
) -> int:
    """Promise so much more of one link; how many events there are then."""
    taken_bps[link] += bps
    if np.isnan(low_bps[link]):
        return count
    free_units[link] = math.ceil(min(float(MOST_BPS), max(0.0, low_bps[link] - taken_bps[link])) * BPS_SCALE)
    left_bps[link] = median_bps[link] - taken_bps[link]
    events[count] = link
    return count + 1


@compiled("i8(i8[::1],i8[::1],f8,f8,f8[::1],f8[::1],f8[::1],i8[::1],f8[::1],i8[::1],i8)")
def promise_path(
    links: Ints,
    reverse: Ints,
    there_bps: float,
    back_bps: float,
    low_bps: Floats,
    median_bps: Floats,
    taken_bps: Floats,
    free_units: Ints,
    left_bps: Floats,
    events: Ints,
    count: int,
) -> int:
    """Promise so much more of each of these links, and of those the other way; how many events there are then."""
    for link in links:
        if there_bps != 0:
            count = note(link, there_bps, low_bps, median_bps, taken_bps, free_units, left_bps, events, count)
        if back_bps != 0 and reverse[link] >= 0:
            count = note(reverse[link], back_bps, low_bps, median_bps, taken_bps, free_units, left_bps, events, count)
    return count


def _units(free_bps: Floats) -> Ints:
    left = np.where(np.isnan(free_bps), UNKNOWN, np.ceil(free_bps * BPS_SCALE)).astype(np.int64)
    return np.append(left, UNKNOWN)
