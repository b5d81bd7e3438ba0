"""Packet trains: what a link carries, from how far a short burst is drawn out on the way. Off unless asked for.

Packets sent back to back leave the narrowest place of the path at its rate; the far end sees how many bytes arrive in
how long and says so. That is the capacity, or less of it the more others use the link; a shaper that lets a burst pass
shows the rate of its bursts. The gateways' own WireGuard is part of the path.

Source: Dovrolis, Ramanathan, Moore, "Packet-dispersion techniques and a capacity-estimation methodology", 2004.
"""

from __future__ import annotations

from collections import deque

TRAIN_PACKETS = 64
"""Packets of a train: 90 kB, which takes 7 ms at 100 Mbit/s. Receive buffers of the default size hold them all."""
TRAINS = 5
"""Trains of an estimate, which is the second fastest of them: where a busy host on the way pauses, a train is drawn out
more, and far more seldom pressed together."""
LEAST_GAP_S = 1.0
"""Seconds between two trains of one gateway, whatever the links and the interval are: at most 0.7 Mbit/s in all."""
LEAST_PACKETS = 16
"""Packets that must arrive: a train of which less is left says nothing of the rate."""
TRAIN_END_S = 0.5
"""Seconds after the newest packet of a train when the rest counts as lost."""
MOST_TRAINS = 16
"""Trains that are received at the same time; what else is sent is not answered."""


class Arrivals:
    """The packets of a train as they arrive: a straight line through bytes over time, by least squares.

    A line and not just first to last: packets that are read from the underlay in batches arrive in batches.
    """

    def __init__(self) -> None:
        self.packets = 0
        self._bytes = 0
        self._first_ns = 0
        self._t = self._b = self._tt = self._tb = 0.0

    def add(self, at_ns: int, size: int) -> None:
        """A packet of ``size`` bytes arrived."""
        if not self.packets:
            self._first_ns = at_ns
        at_s = (at_ns - self._first_ns) / 1e9
        # Half of it before and half after: the line runs through the middle of what arrives at once.
        middle = self._bytes + size / 2
        self._bytes += size
        self.packets += 1
        self._t += at_s
        self._b += middle
        self._tt += at_s * at_s
        self._tb += at_s * middle

    @property
    def bps(self) -> float | None:
        """Bit/s; None if too few arrived, or all at once."""
        if self.packets < LEAST_PACKETS:
            return None
        spread = self.packets * self._tt - self._t * self._t
        slope = self.packets * self._tb - self._t * self._b
        return 8 * slope / spread if spread > 0 and slope > 0 else None


class Estimate:
    """The newest trains of a link."""

    def __init__(self) -> None:
        self._bps: deque[float] = deque(maxlen=TRAINS)

    def add(self, bps: float) -> None:
        self._bps.append(bps)

    @property
    def bps(self) -> float | None:
        """Bit/s; None until there are enough trains."""
        return sorted(self._bps)[-2] if len(self._bps) == TRAINS else None
