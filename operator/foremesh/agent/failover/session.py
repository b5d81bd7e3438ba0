"""Is a route alive, in both directions? One Session for each route, one FarEnd for each gateway at the other end.

Pure: no sockets, and every time is passed in, in seconds of the own clock unless the name says otherwise.

A hello that is overdue is no proof of a dead route: the other process may have been restarted, or not have had the
processor for a while, and so may this one. Proof is a hello of a later tick that came by another route of the same
far end, which shows that the overdue one was sent. Without such proof a route is silent, but nobody leaves it: where
all routes are silent there is nowhere to go.

Source: the two-way liveness is that of RFC 5880 (BFD), asynchronous mode; the variation that of RFC 3550, section
6.4.1.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from math import inf

from foremesh.agent.failover.choice import Way
from foremesh.agent.failover.wire import HEARD, LOST, UNKNOWN, Hello

UP_HELLOS = 3
"""Hellos in a row after which a silent route counts as alive again."""

PROVEN_TICKS = 2
"""Ticks known from other routes that a silent route must have missed to be lost: one alone may be on its way still, as
after a pause of the sender."""

LATE_SHARE = 0.5
"""Share of an interval that a hello may come later than usual before it counts as missed."""

FIRST_GRACE_S = 1.0
"""How late the first hello of a route may be, whose delay is not known yet; above any round trip, and any start of a
WireGuard session that works."""

WORD_LASTS_S = 1.0
"""How long "I hear you" holds after the far end has ceased to say it, as it does while it restarts."""

SHARE_HELLOS = 20
"""Hellos that the share of missed ones is taken of: a second at the default interval."""

TICKS_REMEMBERED = 64
"""Ticks of a far end that are remembered: three seconds at the default interval, far more than detection takes."""

_WINDOW = (1 << SHARE_HELLOS) - 1


class Timing:
    """How hellos are sent: ``interval_s`` between two, ``missed`` in a row without which a route is silent."""

    def __init__(self, interval_s: float = 0.05, missed: int = 3) -> None:
        self.interval_s = interval_s
        self.missed = missed


class FarEnd:
    """What is known of a far end's sending, from all routes together.

    Attributes:
        newest: The newest tick.
        ticks: The newest ones: number, when sent (far clock), when first seen.
        clock: Changes when the far clock began anew, as its host did.
    """

    __slots__ = ("_sent_ns", "clock", "incarnation", "newest", "ticks")

    def __init__(self) -> None:
        self.incarnation: int | None = None
        self.newest = 0
        self.ticks: deque[tuple[int, float, float]] = deque(maxlen=TICKS_REMEMBERED)
        self.clock = 0
        self._sent_ns = 0

    def note(self, hello: Hello, now_s: float) -> bool:
        """A hello came, by whatever route; False if a process sent it that has been replaced since."""
        if hello.incarnation != self.incarnation:
            back_s = (self._sent_ns - hello.sent_ns) / 1e9
            if 0 < back_s < FIRST_GRACE_S:
                return False
            self.clock += back_s > 0
            self.incarnation, self.newest = hello.incarnation, hello.tick - 1
            self.ticks.clear()
        if hello.tick > self.newest:
            self.newest, self._sent_ns = hello.tick, hello.sent_ns
            self.ticks.append((hello.tick, hello.sent_ns / 1e9, now_s))
        return True

    def after(self, tick: int) -> Iterator[tuple[int, float, float]]:
        """Ticks later than one, newest first: number, when sent (far clock), when first seen."""
        for known in reversed(self.ticks):
            if known[0] <= tick:
                return
            yield known


class Session:
    """One route, as this end sees it.

    Attributes:
        last_s: When the newest hello came; None if there was none.
        rtt_ms: Round trip, smoothed; None if not known.
        jitter_ms: Variation of the direction towards here.
        said: The word of the newest own hello.
        silence_s: Seconds without a hello after which a route is silent; the slower of both ends decides.
        silent_from_s: From when on it is, if nothing more is heard; ``-inf`` if nothing ever was.
    """

    __slots__ = (
        *("far", "jitter_ms", "last_s", "rtt_ms", "said", "silence_s", "silent_from_s", "timing"),
        *("_clock", "_far_interval_ms", "_far_share", "_heard_said_s", "_incarnation", "_known", "_late_s"),
        *("_newest_sent_ns", "_offset_s", "_row", "_since_s", "_tick", "_up", "_window", "_word"),
    )

    def __init__(self, far: FarEnd, timing: Timing) -> None:
        self.far = far
        self.last_s: float | None = None
        self.rtt_ms: float | None = None
        self.jitter_ms: float | None = None
        self.said = UNKNOWN
        self._incarnation, self._clock = far.incarnation, far.clock
        self._tick = far.newest
        self._known = False  # a hello of this incarnation of the far end was heard
        self._row = 0
        self._up = False
        self._window = _WINDOW
        self._offset_s: float | None = None  # own clock minus far clock, with the delay of this direction in it
        self._since_s: float | None = None  # when it was first judged
        self._newest_sent_ns = 0
        self._far_interval_ms = 0
        self._word = UNKNOWN
        self._heard_said_s: float | None = None
        self._far_share = 1.0
        self.retime(timing)

    def retime(self, timing: Timing) -> None:
        """Send, and expect, hellos at this interval from now on."""
        self.timing = timing
        longer_s = max(timing.interval_s, self._far_interval_ms / 1000)
        self.silence_s = timing.missed * longer_s
        self.silent_from_s = -inf if self.last_s is None else self.last_s + self.silence_s
        self._late_s = LATE_SHARE * longer_s

    def heard(self, hello: Hello, now_s: float) -> bool:
        """A hello came by this route.

        Returns:
            Whether the far end's word on the other direction has changed, so that somebody should look at once.
        """
        if not self.far.note(hello, now_s):
            return False
        word, share, interval_ms, incarnation, tick, sent_ns, _, _ = hello
        if incarnation != self._incarnation:
            self._adopt()
        if now_s >= self.silent_from_s:
            self._row, self._up = 0, False
        # What was sent before it was known, it may have been too late to hear.
        ahead = tick - self._tick if self._known else 1
        if ahead > 0:
            self._row = self._row + 1 if ahead == 1 else 1
            self._window = ((self._window << min(ahead, SHARE_HELLOS)) | 1) & _WINDOW
            self._tick, self._known = tick, True
        elif -ahead < SHARE_HELLOS:
            self._window |= 1 << -ahead
        if self._row >= UP_HELLOS:
            self._up = True
        self.last_s = now_s
        self._newest_sent_ns = sent_ns
        if interval_ms != self._far_interval_ms:
            self._far_interval_ms = interval_ms
            self.retime(self.timing)
        self.silent_from_s = now_s + self.silence_s
        self._measure(hello, now_s)
        changed = word != self._word
        self._word, self._far_share = word, share
        if word == HEARD:
            self._heard_said_s = now_s
        return changed

    def well(self, now_s: float, behind: int = 0) -> bool:
        """Alive in both directions, and none of the newest hellos missed in either: what nearly always holds, told
        without a closer look. With ``behind``, the hello of that many ticks may be on its way still, as on the slower
        of two routes to a far end: a single one that is missed is ``harmless``."""
        far = self.far
        return (
            now_s < self.silent_from_s
            and far.newest - self._tick <= behind
            and self._window == _WINDOW
            and self._word == HEARD
            and self._far_share == 1.0
            and self._up
            and self._incarnation == far.incarnation
        )

    def _adopt(self) -> None:
        """Start to count anew with another incarnation of the far end, which the other routes may have told of."""
        if self._incarnation != self.far.incarnation:
            self._incarnation, self._known = self.far.incarnation, False
            self._tick = self.far.ticks[0][0] - 1 if self.far.ticks else self.far.newest
            self._window = _WINDOW
            if self._clock != self.far.clock:
                self._clock, self._offset_s = self.far.clock, None

    def _measure(self, hello: Hello, now_s: float) -> None:
        offset_s = now_s - hello.sent_ns / 1e9
        if self._offset_s is None:
            self._offset_s, self.jitter_ms = offset_s, 0.0
        else:
            late_s = offset_s - self._offset_s
            # Later than usual: followed slowly, or one late hello would excuse those that never come.
            self._offset_s += late_s if late_s < 0 else late_s / 8
            self.jitter_ms = (self.jitter_ms or 0.0) + (abs(late_s) * 1000 - (self.jitter_ms or 0.0)) / 16
        if hello.echo_ns:
            rtt_ms = now_s * 1000 - hello.echo_ns / 1e6 - hello.held_us / 1000
            if 0 <= rtt_ms < 60_000:
                self.rtt_ms = rtt_ms if self.rtt_ms is None else self.rtt_ms + (rtt_ms - self.rtt_ms) / 8

    def silent(self, now_s: float) -> bool:
        """Nothing was heard for so long that the route is not alive; says nothing about whose fault it is."""
        return now_s >= self.silent_from_s

    def overdue(self, now_s: float, most: int = SHARE_HELLOS) -> int:
        """Hellos that are known to have been sent this way, and should have come by now; counted up to ``most``."""
        self._adopt()
        if self._since_s is None:
            self._since_s = now_s
        if self._tick >= self.far.newest:
            return 0
        count = 0
        for _, sent_s, seen_s in self.far.after(self._tick):
            if self._due_s(sent_s, seen_s) <= now_s:
                count += 1
                if count == most:
                    break
        return count

    def _due_s(self, sent_s: float, seen_s: float) -> float:
        if self._offset_s is None:
            # What came by a slow route just after this process began may have been here before, by this one.
            early = self._since_s is None or seen_s < self._since_s + FIRST_GRACE_S
            return inf if early else seen_s + FIRST_GRACE_S
        return max(seen_s, min(sent_s + self._offset_s, seen_s + FIRST_GRACE_S)) + self._late_s

    def way(self, now_s: float) -> Way:
        """All that a choice goes by: hellos pass in both directions, one of them is known not to work, and the share of
        the newest that were missed in the worse of both."""
        overdue = self.overdue(now_s)
        silent = now_s >= self.silent_from_s
        dead = overdue >= PROVEN_TICKS if silent else self._word == LOST
        # The far end's word comes in steps of its own, and 1 - 0.95 is more than 0.05: whole hellos were missed.
        missed = round((1.0 - min(self._share(overdue), self._far_share)) * SHARE_HELLOS) / SHARE_HELLOS
        return Way(not silent and self.alive(now_s), dead, missed)

    def unheard(self, now_s: float) -> bool:
        """Hellos are sent this way and do not arrive: proven by other routes."""
        return self.silent(now_s) and self.overdue(now_s, PROVEN_TICKS) == PROVEN_TICKS

    def alive(self, now_s: float) -> bool:
        """Hellos pass in both directions."""
        said_s = self._heard_said_s
        heard_there = self._word != LOST and said_s is not None and now_s - said_s < max(WORD_LASTS_S, self.silence_s)
        return self._up and heard_there and not self.silent(now_s)

    def share(self, now_s: float) -> float:
        """Share of the newest hellos towards here that arrived."""
        return self._share(self.overdue(now_s))

    def _share(self, overdue: int) -> float:
        return ((self._window << overdue) & _WINDOW).bit_count() / SHARE_HELLOS

    def hello(self, incarnation: int, tick: int, now_s: float) -> Hello:
        """The next hello to send."""
        held_us = max(0, int((now_s - self.last_s) * 1e6)) if self.last_s is not None else 0
        if self.well(now_s):
            self.said, share = HEARD, 1.0
        else:
            overdue, silent = self.overdue(now_s), self.silent(now_s)
            heard = HEARD if self._up and not silent else UNKNOWN
            self.said, share = LOST if silent and overdue >= PROVEN_TICKS else heard, self._share(overdue)
        interval_ms = int(self.timing.interval_s * 1000)
        return Hello(self.said, share, interval_ms, incarnation, tick, int(now_s * 1e9), self._newest_sent_ns, held_us)
