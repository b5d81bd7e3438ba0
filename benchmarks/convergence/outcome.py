"""What a fault did to a stream, from the log of its packets. Pure but for reading the two log files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Seconds = NDArray[np.float64]

CONVERGED_S = 1.0
"""Seconds for which a stream has to be good to have converged: a second hides no flapping of timers of 50 ms."""
LOST_SHARE = 0.05
"""Share of that second's packets that may be lost: 30 % loss takes more, the last packets of an old path fewer."""
PROMPT_SHARE = 0.75
"""Share of them that has to arrive within 10 % of the best path: more than a flapping system's, less than all, for a
busy machine makes some late."""
LOOK_S = 0.1
"""Seconds of packets of which the fastest says which path they took: what the machine does only adds to a delay."""
LOOK_PACKETS = 10
"""Packets that have to have arrived of these; fewer say nothing."""


@dataclass(frozen=True, slots=True)
class Log:
    """A stream: times of sending by number, and of arrival (NaN where a packet is lost), seconds since 1970."""

    sent: Seconds
    arrived: Seconds

    def between(self, from_s: float, to_s: float) -> Log:
        """The packets sent from ``from_s`` until before ``to_s``."""
        first, last = np.searchsorted(self.sent, (from_s, to_s))
        return Log(self.sent[first:last], self.arrived[first:last])

    @property
    def delay_ms(self) -> Seconds:
        """Of each packet, NaN where it is lost."""
        return (self.arrived - self.sent) * 1e3

    @property
    def lost(self) -> int:
        """Packets that did not arrive."""
        return int(np.isnan(self.arrived).sum())


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one fault did.

    Attributes:
        lost: Packets, from the fault until the network was as before.
        gap_ms: Longest time without an arrival from the fault until its end.
        open: Whether only the end of the fault ended that gap; the system would have taken longer.
        return_gap_ms: The same from its end until the network was as before.
        converged_ms: From the fault to the first arrival of a second within 10 % of the best path; None if not before
            its end.
        moves: Changes of path until the network was as before.
        after_ms: Delay of the fastest packet of those right after the gap: what the way it went to adds to a gap.
    """

    lost: int
    gap_ms: float
    open: bool
    return_gap_ms: float
    converged_ms: float | None
    moves: int
    after_ms: float


def read(sent: Path, received: Path, newest: int) -> Log:
    """The ``newest`` packets of a stream so far; the logs may be growing."""
    first = max(0, _rows(sent, 1) - newest)
    times = _from(sent, first, 1)[:, 0]
    # What arrived late or twice makes the second log a little longer than the packets it is about.
    arrivals = _from(received, max(0, _rows(received, 3) - newest - newest // 4), 3)
    arrived = np.full(len(times), np.nan)
    numbers = arrivals[:, 0].astype(int) - first
    known = (numbers >= 0) & (numbers < len(times))
    arrived[numbers[known][::-1]] = arrivals[known, 2][::-1]  # the first time counts
    return Log(times, arrived)


def _rows(path: Path, columns: int) -> int:
    return path.stat().st_size // (columns * 8)


def _from(path: Path, row: int, columns: int) -> Seconds:
    """The whole rows from ``row`` on."""
    with path.open("rb") as file:
        file.seek(row * columns * 8)
        data = file.read()
    whole = len(data) // (columns * 8) * columns
    return np.frombuffer(data, np.float64, whole).reshape(-1, columns)


def good(log: Log, limit_ms: float, share: float = PROMPT_SHARE) -> bool:
    """Whether a stream is as it should be: hardly a packet lost, and such a share within ``limit_ms``."""
    delays = log.delay_ms
    return (
        len(delays) > 0
        and log.lost <= LOST_SHARE * len(delays)
        and np.count_nonzero(delays <= limit_ms) >= share * len(delays)
    )


def longest_gap_ms(log: Log, from_s: float, to_s: float) -> tuple[float, float]:
    """The longest time without an arrival that begins in [``from_s``, ``to_s``), and when it ended (seconds).

    The gap in which ``from_s`` falls counts from the arrival before it: that is when the last packet was seen.
    """
    arrivals = np.sort(log.arrived[~np.isnan(log.arrived)])
    first = max(np.searchsorted(arrivals, from_s, side="right") - 1, 0)
    last = np.searchsorted(arrivals, to_s)
    seen = arrivals[first : last + 1]
    if last == len(arrivals):  # nothing came after: the gap lasts as long as the log
        seen = np.append(seen, max(log.sent[-1], seen[-1]) if len(seen) else to_s)
    if len(seen) < 2:
        return (to_s - from_s) * 1e3, to_s
    gaps = np.diff(seen)
    widest = int(gaps.argmax())
    return float(gaps[widest]) * 1e3, float(seen[widest + 1])


def converged_ms(log: Log, fault_s: float, end_s: float, limit_ms: float) -> float | None:
    """From the fault to the first arrival of a second that is good; None if there is none before ``end_s``."""
    part = log.between(fault_s, end_s)
    if not len(part.sent):
        return None
    until = np.searchsorted(part.sent, part.sent + CONVERGED_S)
    here = np.arange(len(part.sent))
    length = until - here
    prompt = part.delay_ms <= limit_ms
    whole = part.sent + CONVERGED_S <= part.sent[-1] + 0.01
    enough = _following(prompt, until) >= PROMPT_SHARE * length
    found = np.flatnonzero(prompt & whole & enough & (_following(np.isnan(part.arrived), until) <= LOST_SHARE * length))
    return round(float(part.arrived[found[0]] - fault_s) * 1e3, 1) if len(found) else None


def _following(true: NDArray[np.bool_], until: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many are true from each place on until before the one given for it."""
    sums = np.concatenate([[0], np.cumsum(true)])
    return np.asarray(sums[until] - sums[:-1])


def moves(log: Log, from_s: float, to_s: float, path_at: Callable[[float, float, object], object]) -> int:
    """Changes of path between ``from_s`` and ``to_s``; one that is not seen twice in a row is none.

    Args:
        path_at: Time of sending, delay in milliseconds and the path before to the path, or None where it says nothing.
    """
    count, path, seen = 0, None, None
    for at_s in np.arange(from_s, to_s, LOOK_S):
        delays = log.between(at_s, at_s + LOOK_S).delay_ms
        delays = delays[~np.isnan(delays)]
        found = path_at(at_s, float(delays.min()), path) if len(delays) >= LOOK_PACKETS else None
        if found is None:
            continue
        if found == seen and found != path:
            count += path is not None
            path = found
        seen = found
    return count
