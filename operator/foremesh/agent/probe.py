"""Probes through the tunnels: round trip, one-way variation, loss, packet sizes and, if asked for, capacity.

Small UDP packets with a sequence number and timestamps, between sockets bound to one interface each, which also answer
the other side. A probe that is not answered in time is loss, never a latency. A target that has never answered is given
time to come up, and what is sent to one that does not answer may wait for a handshake, so it says nothing of latency.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import random
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from foremesh.agent.clocks import raw_ns
from foremesh.agent.history import History
from foremesh.agent.probe_socket import HEADERS_BYTES, MAGIC, PACKET, REQUEST, SMALL_BYTES, TRAIN, ProbeSocket
from foremesh.agent.train import LEAST_GAP_S, TRAIN_PACKETS, TRAINS, Estimate

log = logging.getLogger(__name__)

GRACE_PROBES = 10
"""Probes that a new target may leave unanswered before that is loss: its other end may still be setting it up."""
GRACE_S = 12.0
"""Seconds that it has at least, however often it is probed: room for two more attempts of WireGuard to begin a session,
which it makes five seconds apart."""
STEP_S = 0.02
"""Seconds between two moments at which probes are sent, or given up: a timer for each costs more than what it does. Few
enough are sent together, with 200 targets, not to wait for each other."""


@dataclass(frozen=True, slots=True)
class Target:
    """Something to probe.

    Attributes:
        kind: link, circuit or uplink.
        name: Underlay of a link, id of a circuit, gateway of an uplink.
        src, dst: Gateway (or workload) ids.
        device: Interface that the probes leave by.
        address: Who answers.
    """

    kind: str
    name: str
    src: str
    dst: str
    device: str
    address: str

    @property
    def series(self) -> tuple[str, str, str, str]:
        """What it is counted as: a link that moves to another interface goes on in the same series."""
        return (self.kind, self.src, self.dst, self.name)


class ProbeSink(Protocol):
    """Counts probes, for the exporter."""

    def sent(self, target: Target) -> None: ...

    def lost(self, target: Target) -> None: ...

    def answered(self, target: Target, rtt_s: float) -> None: ...

    def forget(self, target: Target) -> None: ...


class _Watched:
    """A target and what is known of it."""

    def __init__(self, target: Target, since_s: float) -> None:
        self.target, self.since_s = target, since_s
        self.history = History(SMALL_BYTES)
        self.full_due_s = 0.0
        self.gone = False
        self.estimate = Estimate()


@dataclass(slots=True)
class _Pending:
    """A probe under way. ``size``: bytes of a full-size one, 0 of a small one. ``counted``: its loss would be loss.
    ``timed``: its round trip would be the path's."""

    watched: _Watched
    sent_s: float
    size: int
    counted: bool
    timed: bool


class Prober:
    """Probes targets at a bounded rate, and answers the probes of others.

    Args:
        interval_s: Seconds between two probes of a target.
        timeout_s: Seconds after which a probe is lost.
        mtu_interval_s: Seconds between two full-size probes of a target.
        sink: Counts what happens.
        capacity_interval_s: Seconds between two estimates of what a link carries; None: never.
        grace_s: Seconds that a target has to come up, at least.
    """

    def __init__(
        self,
        interval_s: float,
        timeout_s: float,
        mtu_interval_s: float,
        sink: ProbeSink,
        *,
        capacity_interval_s: float | None = None,
        grace_s: float = GRACE_S,
    ) -> None:
        self._interval_s = interval_s
        self._timeout_s = timeout_s
        self._mtu_interval_s = mtu_interval_s
        self._capacity_interval_s = capacity_interval_s
        self._grace_s = max(grace_s, GRACE_PROBES * interval_s)
        self._sink = sink
        self._session = secrets.randbits(32)
        self._sequence = 0
        self._sockets: dict[str, ProbeSocket] = {}
        self._watched: dict[Target, _Watched] = {}
        self._pending: dict[int, _Pending] = {}  # in the order of sending, which is that of giving up
        self._due: list[tuple[float, int, _Watched]] = []  # a heap: when to probe next, and a number to tell two apart
        self._timer: asyncio.TimerHandle | None = None
        self._queue: list[Target] = []
        self._train: tuple[int, Target] | None = None
        self._train_timer: asyncio.TimerHandle | None = None

    def retarget(self, targets: Mapping[Target, Sequence[int]], sockets: Mapping[str, tuple[int, str]]) -> None:
        """Probe these targets from now on, and listen on these interfaces (name to kernel index and own address).

        A target that stays keeps its history, and so does one of the same series that is reached by another interface
        from now on, as a circuit whose keys change. An interface that was made anew gets a new socket.

        Args:
            targets: What to probe, and the packet sizes in bytes, largest first, of which to find the largest that
                passes whole; none: not looked for.
        """
        for device, current in list(self._sockets.items()):
            if sockets.get(device) != (current.index, current.address):
                self._sockets.pop(device).close()
        for device, (index, address) in sockets.items():
            if device not in self._sockets:
                try:
                    self._sockets[device] = ProbeSocket(self, device, index, address)
                except OSError as error:
                    log.warning("no probes on interface=%s address=%s error=%s", device, address, error)
        loop = asyncio.get_running_loop()
        series = {target.series for target in targets}
        moving = {}
        for target in self._watched.keys() - targets.keys():
            before = moving[target.series] = self._watched.pop(target)
            before.gone = True
            if target.series not in series:
                self._sink.forget(target)
        for target in sorted(targets.keys() - self._watched.keys(), key=repr):
            watched = self._watched[target] = _Watched(target, loop.time())
            if known := moving.get(target.series):
                watched.history, watched.estimate = known.history, known.estimate
            # Spread over the interval, so that not all targets are probed in the same instant.
            heapq.heappush(self._due, (loop.time() + random.uniform(0, self._interval_s), id(watched), watched))
        for target, sizes in targets.items():
            self._watched[target].history.check_sizes(sizes)
        if self._capacity_interval_s is not None and self._train_timer is None:
            self._train_timer = loop.call_later(LEAST_GAP_S, self._next_train, self._capacity_interval_s)
        if self._timer:
            self._timer.cancel()
        self._step()

    def close(self) -> None:
        """Stop probing and answering."""
        self._capacity_interval_s = None
        if self._train_timer:
            self._train_timer.cancel()
        self._due.clear()
        self._pending.clear()
        self.retarget({}, {})

    def histories(self) -> Mapping[Target, History]:
        """What is known of every target."""
        return {target: watched.history for target, watched in self._watched.items()}

    def _step(self) -> None:
        """Give up what was not answered in time, send what is due, and come again when there is more to do."""
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        while self._pending and self._expires_s() <= now_s:
            self._expired(next(iter(self._pending)))
        while self._due and self._due[0][0] <= now_s:
            due_s, number, watched = heapq.heappop(self._due)
            if not watched.gone:
                self._probe(watched, now_s)
                # After a pause, not all of them at once.
                due_s += self._interval_s * (1 + max(0.0, now_s - due_s) // self._interval_s)
                heapq.heappush(self._due, (due_s, number, watched))
        nexts_s = [self._due[0][0]] if self._due else []
        nexts_s += [self._expires_s()] if self._pending else []
        self._timer = loop.call_at(max(min(nexts_s), now_s + STEP_S), self._step) if nexts_s else None

    def _expires_s(self) -> float:
        return next(iter(self._pending.values())).sent_s + self._timeout_s

    def _probe(self, watched: _Watched, now_s: float) -> None:
        self._send(watched)
        history = watched.history
        if history.path.sizes and history.answering and watched.full_due_s <= now_s:
            watched.full_due_s = now_s + (self._interval_s if history.path.in_doubt else self._mtu_interval_s)
            for size in history.path.round:
                self._send(watched, size)

    def _send(self, watched: _Watched, size: int = 0) -> None:
        loop = asyncio.get_running_loop()
        self._sequence += 1
        sequence, history, now_s = self._sequence, watched.history, loop.time()
        grace_over = now_s - watched.since_s >= self._grace_s
        counted = not size and (history.seen or grace_over)
        self._pending[sequence] = _Pending(watched, now_s, size, counted, history.answering)
        if counted:
            self._sink.sent(watched.target)
        packet = PACKET.pack(MAGIC, REQUEST, self._session, sequence, raw_ns(), 0, 0)
        if size:
            packet = packet.ljust(size - HEADERS_BYTES, b"\0")
        current = self._sockets.get(watched.target.device)
        if current is None or not current.send(packet, watched.target.address):
            self._expired(sequence)

    def _expired(self, sequence: int) -> None:
        pending = self._pending.pop(sequence)
        watched = pending.watched
        if watched.gone:
            return
        if pending.size:
            watched.history.lose_full(pending.size)
        elif pending.counted:
            watched.history.lose()
            self._sink.lost(watched.target)

    def answered(self, session: int, sequence: int, there_ns: int, back_ns: int) -> None:
        """A reply came in; late, doubled and foreign ones are ignored.

        Args:
            there_ns, back_ns: Transit times, each off by the difference of the two clocks.
        """
        pending = self._pending.pop(sequence, None) if session == self._session else None
        if pending is None:
            return
        watched = pending.watched
        if watched.gone:
            return
        if pending.size:
            watched.history.answer_full(pending.size)
            return
        elapsed_s = asyncio.get_running_loop().time() - pending.sent_s
        rtt_s = (there_ns + back_ns) / 1e9
        transit_ns: tuple[int, int] | None = (there_ns, back_ns)
        if not 0 < rtt_s <= elapsed_s:  # the wall clock was set between a packet's coming and its being read
            rtt_s, transit_ns = elapsed_s, None
        if not pending.timed:
            watched.history.answer(None, counted=pending.counted)
            return
        watched.history.answer(rtt_s, transit_ns)
        self._sink.answered(watched.target, rtt_s)

    def _next_train(self, interval_s: float) -> None:
        """Send the next train; every target has ``TRAINS`` of them within the interval, one after the other."""
        known = [target for target in self._watched if target.kind == "link"]
        gap_s = max(LEAST_GAP_S, interval_s / (TRAINS * max(1, len(known))))
        self._train_timer = asyncio.get_running_loop().call_later(gap_s, self._next_train, interval_s)
        if not self._queue:
            self._queue = [target for target in known for _ in range(TRAINS)]
        if not self._queue:
            return
        watched = self._watched.get(self._queue.pop())
        current = self._sockets.get(watched.target.device) if watched else None
        # A train of packets that do not pass whole, or to nobody, would say nothing.
        if watched is None or current is None or not watched.history.answering or watched.history.path.mtu is None:
            return
        self._sequence += 1
        self._train = (self._sequence, watched.target)
        for place in range(TRAIN_PACKETS):
            packet = PACKET.pack(MAGIC, TRAIN, self._session, self._sequence, place, TRAIN_PACKETS, 0)
            packet = packet.ljust(watched.history.path.mtu - HEADERS_BYTES, b"\0")
            if not current.send(packet, watched.target.address):
                return

    def measured(self, session: int, sequence: int, bps: float) -> None:
        """The far end says at what rate a train came in; 0 is not known."""
        if session != self._session or self._train is None or self._train[0] != sequence:
            return
        watched = self._watched.get(self._train[1])
        self._train = None
        if watched and bps > 0:
            log.debug("train arrived dst=%s link=%s bps=%.0f", watched.target.dst, watched.target.name, bps)
            watched.estimate.add(bps)
            watched.history.capacity_bps = watched.estimate.bps
