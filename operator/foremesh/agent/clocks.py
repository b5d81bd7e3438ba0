"""Times of packets on a clock that nobody sets: the kernel stamps packets by the wall clock, which people and time
services do. Raw monotonic time is not set and not slewed; two hosts' differ in rate by some ten microseconds a second.
"""

from __future__ import annotations

import time
from collections.abc import Callable

CLOSE_NS = 20_000
"""Nanoseconds within which both clocks must be read for a comparison: two reads take under one microsecond, more means
that the process was interrupted between them."""
TRIES = 4
"""Comparisons until the closest one is taken; interruptions are rare."""
MOST_AGE_NS = 2_000_000_000
"""Nanoseconds that a packet may have waited to be read; one that seems older, or not yet there, is as old as the wall
clock's being set makes it."""


def raw_ns() -> int:
    """Nanoseconds of the clock that nobody sets."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW)


class WallClock:
    """Turns the wall clock's times of the last moments into raw ones.

    Args:
        wall_ns, raw_ns: The clocks.
    """

    def __init__(self, wall_ns: Callable[[], int] = time.time_ns, raw_ns: Callable[[], int] = raw_ns) -> None:
        self._wall_ns, self._raw_ns = wall_ns, raw_ns
        self._ahead_ns = 0
        self._now_ns = 0

    def compare(self) -> None:
        """Find how far apart the clocks are now; to be called before every batch of packets."""
        closest = None
        for _ in range(TRIES):
            before = self._raw_ns()
            wall = self._wall_ns()
            after = self._raw_ns()
            if closest is None or after - before < closest:
                closest = after - before
                self._ahead_ns = wall - (before + after) // 2
            if closest <= CLOSE_NS:
                break
        self._now_ns = after

    def raw(self, wall_ns: int | None) -> int:
        """The raw time of a wall clock's time; now, where that cannot be."""
        if wall_ns is not None:
            found = wall_ns - self._ahead_ns
            # Packets that came after the comparison may be read too.
            if -MOST_AGE_NS <= found - self._now_ns <= MOST_AGE_NS and found <= self._raw_ns():
                return found
        return self._raw_ns()
