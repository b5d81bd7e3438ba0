"""What has been promised of links' bandwidth, and what is left: kept up to date link by link, for every price and
requirement that depends on it."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from foremesh.model.link import LinkId
from foremesh.model.series import Floats
from foremesh.routing.arrays import BPS_SCALE, MOST_BPS, UNKNOWN, Arrays
from foremesh.routing.values import Ints


class Ledger:
    """Promises on the links of one snapshot."""

    def __init__(self, arrays: Arrays, reserved_bps: Mapping[LinkId, float] | None = None) -> None:
        self._taken: dict[int, float] = {}
        self._free = arrays.free
        self.free_units = _units(arrays.free.pessimistic)
        """Pessimistic free bandwidth by link, in BPS_SCALE; one more at the end for the link that is not there."""
        self.left_bps = arrays.free.median.copy()
        """Median free bandwidth by link, below 0 where more is promised than there is; NaN is unknown."""
        self.left: list[float] = self.left_bps.tolist()
        """``left_bps`` for those who want one at a time, which arrays are slow at."""
        self.changes: list[int] = []
        """Links whose promises changed, in the order of events."""
        for id, bps in (reserved_bps or {}).items():
            link = arrays.topology.link_number.get(id)
            if link is not None:
                self.add(link, bps)

    def less_cautious(self, caution: float) -> Ints:
        """``free_units`` of figures so much of the way from the median to the pessimistic one."""
        spread = self._free.median - self._free.pessimistic
        return _units(np.maximum(0.0, self.left_bps - caution * spread))

    def add(self, link: int, bps: float) -> None:
        """Promise so much more of a link, or give it back if it is negative."""
        taken = self._taken[link] = self._taken.get(link, 0.0) + bps
        low, median = self._free.pessimistics[link], self._free.medians[link]
        if low == low:  # known
            self.free_units[link] = math.ceil(min(MOST_BPS, max(0.0, low - taken)) * BPS_SCALE)
            self.left_bps[link] = self.left[link] = median - taken
            self.changes.append(link)


def _units(free_bps: Floats) -> Ints:
    left = np.where(np.isnan(free_bps), UNKNOWN, np.ceil(free_bps * BPS_SCALE)).astype(np.int64)
    return np.append(left, UNKNOWN)
