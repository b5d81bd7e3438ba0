"""What the probes of one target say: round trips, loss, one-way variation, and how large a packet may be. No I/O and no
clock: the prober hands everything in.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Sequence

from foremesh.model.registration import LinkReport, ProbeReport

WINDOW_PROBES = 60
"""Probes that loss is counted over: a minute at the default interval."""
RTT_PROBES = 10
"""Answered probes that the reported round-trip time is the median of."""
SILENT_PROBES = 3
"""A target none of whose last three probes was answered does not answer."""
JITTER_PROBES = 16
"""Differences that jitter is smoothed over, as in RFC 3550, section 6.4.1."""
MTU_ATTEMPTS = 3
"""Full-size probes in a row that must be lost, while small ones pass, before a size is called too large."""
MTU_DOUBT = 1e-4
"""Probability with which mere loss may look like a size that does not pass; asks for more attempts on lossy paths."""
MOST_MTU_ATTEMPTS = 20
"""Where even this many are lost by chance, four in ten packets are: the path's size is the least of its problems."""


class Variation:
    """One-way variation in both directions: differences of transit times between consecutive probes, smoothed.

    A transit time is off by what the two clocks differ, which is unknown; the difference of two transit times is not. A
    clock that is set in between would show, but a true transit time lies between zero and the round trip, so its
    difference lies within two round trips; what does not is the clock's doing and is left out.

    Source: RFC 3550, section 6.4.1 (J += (|D| - J) / 16, here a plain mean until there are sixteen).
    """

    def __init__(self) -> None:
        self.forward_s: float | None = None
        self.reverse_s: float | None = None
        self._before_ns: tuple[int, int] | None = None
        self._count = 0

    def add(self, there_ns: int, back_ns: int) -> None:
        """Note a probe by its transit times, each off by the difference of the clocks, which cancels in their sum."""
        before, self._before_ns = self._before_ns, (there_ns, back_ns)
        if before is None:
            return
        least, most = -sum(before), there_ns + back_ns
        forward, reverse = there_ns - before[0], back_ns - before[1]
        if not (least <= forward <= most and least <= reverse <= most):
            return
        self._count = min(self._count + 1, JITTER_PROBES)
        self.forward_s = self._smoothed(self.forward_s, forward)
        self.reverse_s = self._smoothed(self.reverse_s, reverse)

    def interrupt(self) -> None:
        """The next probe is not compared with the last: what lies between is no variation but another path."""
        self._before_ns = None

    def _smoothed(self, mean_s: float | None, difference_ns: int) -> float:
        mean_s = mean_s or 0.0
        return mean_s + (abs(difference_ns) / 1e9 - mean_s) / self._count


class PathMtu:
    """Finds the largest of some packet sizes that passes whole, and notices when that changes.

    A size is given up only after several lost in a row while small probes pass; a larger one is tried once a round.

    Args:
        sizes: Bytes, largest first; none: nothing is looked for.
        small: Bytes of the small probes, which pass when nothing larger does.
    """

    def __init__(self, sizes: Sequence[int], small: int) -> None:
        self.sizes = tuple(sizes)
        self._small = small
        self._at = 0
        self._lost = 0
        self._settled = False
        self._rising = False
        self.mtu: int | None = None
        """The largest size that passed last; stays while smaller ones are tried; None until one passed."""

    @property
    def round(self) -> tuple[int, ...]:
        """Sizes to probe now: the one that passes, or is thought to, and the next larger one, in case it does again."""
        first = self._at - 1 if self._settled and self._at else self._at
        return self.sizes[first : self._at + 1]

    @property
    def in_doubt(self) -> bool:
        """The next round should not wait: nothing passed yet, the last was lost, or it found a larger size to pass."""
        return not self._settled or self._lost > 0 or self._rising

    def answered(self, size: int) -> None:
        at = self.sizes.index(size)
        if at > self._at:
            return  # a smaller one that was under way
        self._rising = self._settled and 0 < at < self._at
        self._at, self._lost, self._settled = at, 0, True
        self.mtu = size

    def lost(self, size: int, loss: float) -> None:
        """A probe of this size was lost while small ones pass, of which ``loss`` (0 to 1) are lost too."""
        at = self.sizes.index(size)
        if at < self._at:
            self._rising = False
        if at != self._at:
            return
        self._lost += 1
        if self._lost < _attempts(loss):
            return
        self._at, self._lost = at + 1, 0
        self._settled = self._at == len(self.sizes)
        if self._settled:
            self.mtu = self._small


def _attempts(loss: float) -> int:
    if loss <= 0:
        return MTU_ATTEMPTS
    if loss >= 1:
        return MOST_MTU_ATTEMPTS
    return min(MOST_MTU_ATTEMPTS, max(MTU_ATTEMPTS, math.ceil(math.log(MTU_DOUBT) / math.log(loss))))


class History:
    """What the last probes of a target say.

    Args:
        small: Bytes of a small probe, headers and all.
    """

    def __init__(self, small: int) -> None:
        self._small = small
        self._answers: deque[bool] = deque(maxlen=WINDOW_PROBES)
        self._rtts_s: deque[float] = deque(maxlen=RTT_PROBES)
        self._silent = 0
        self.seen = False
        """It has answered at least once."""
        self.variation = Variation()
        self.path = PathMtu((), small)
        self.capacity_bps: float | None = None

    def answer(self, rtt_s: float | None, transit_ns: tuple[int, int] | None = None, *, counted: bool = True) -> None:
        """Note an answer.

        Args:
            rtt_s: The round trip; None: it says nothing of the path, as the probe may have waited for a handshake.
            transit_ns: Transit times there and back, see ``Variation``; None: not known.
            counted: Whether the probe counts for loss.
        """
        self.seen = True
        self._silent = 0
        if counted:
            self._answers.append(True)
        if rtt_s is not None:
            self._rtts_s.append(rtt_s)
        if rtt_s is not None and transit_ns is not None:
            self.variation.add(*transit_ns)

    def lose(self) -> None:
        """Note a loss."""
        self._answers.append(False)
        self._silent += 1
        if self._silent == SILENT_PROBES:
            # What answers again may be another path; WireGuard may have to shake hands first.
            self._rtts_s.clear()
            self.variation.interrupt()

    def answer_full(self, size: int) -> None:
        """Note that a packet of ``size`` bytes passed whole."""
        if size in self.path.sizes:
            self.path.answered(size)

    def lose_full(self, size: int) -> None:
        """Note that one was lost; that says nothing while small ones are lost too."""
        if size in self.path.sizes and self.answering:
            self.path.lost(size, self.loss or 0.0)

    def check_sizes(self, sizes: Sequence[int]) -> None:
        """Look for the largest of these sizes from now on; the same as before go on as they are."""
        if tuple(sizes) != self.path.sizes:
            self.path = PathMtu(sizes, self._small)

    @property
    def answering(self) -> bool:
        return self.seen and self._silent < SILENT_PROBES

    @property
    def loss(self) -> float | None:
        """Share of the counted probes that were lost; None: none was counted."""
        return self._answers.count(False) / len(self._answers) if self._answers else None

    @property
    def rtt_ms(self) -> float | None:
        return statistics.median(self._rtts_s) * 1000 if self._rtts_s and self.answering else None

    def probe_report(self) -> ProbeReport:
        """For a circuit or an uplink, whose sizes are just the one that has to pass."""
        mtu = self.path.mtu
        fits = None if mtu is None or not self.path.sizes else mtu >= self.path.sizes[0]
        return ProbeReport(answering=self.answering, rtt_ms=self.rtt_ms, loss=self.loss, mtu_fits=fits)

    def link_report(self) -> LinkReport:
        forward_s = self.variation.forward_s
        return LinkReport(
            rtt_ms=self.rtt_ms,
            loss=self.loss,
            jitter_ms=None if forward_s is None else forward_s * 1000,
            mtu=self.path.mtu,
            capacity_bps=self.capacity_bps,
        )
