"""Probes through the tunnels: round-trip time and loss of links, circuits and uplinks, and whether full packets pass.

Small UDP packets with a sequence number and timestamps, between sockets bound to one interface each, which also answer
the other side. A probe that is not answered in time is loss, never a latency.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import socket
import statistics
import struct
import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from foremesh.agent.state import PROBE_PORT
from foremesh.model.registration import ProbeReport

log = logging.getLogger(__name__)

PACKET = struct.Struct("!4sBIQQQ")
"""Magic, kind, session, sequence, nanoseconds when sent, nanoseconds that the answering side held it."""
MAGIC = b"FMP1"
REQUEST, REPLY = 1, 2
HEADERS_BYTES = 28
"""IPv4 and UDP headers: what a packet has besides the probe itself."""

SO_TIMESTAMPNS = 35
"""The kernel's receive time with each packet (asm-generic/socket.h): the agent's own delays do not count as latency."""
TIMESPEC = struct.Struct("@qq")
IP_MTU_DISCOVER, IP_PMTUDISC_PROBE = 10, 3
"""Never fragment, and do not trust what was learned about the path (linux/in.h)."""

WINDOW_PROBES = 60
"""Probes that loss is counted over: a minute at the default interval."""
RTT_PROBES = 10
"""Answered probes that the reported round-trip time is the median of."""
SILENT_PROBES = 3
"""A target none of whose last three probes was answered does not answer."""
MTU_ATTEMPTS = 3
"""Full-size probes in a row that must be lost, while small ones pass, before the MTU is called too large."""
READ_AT_ONCE = 64
"""Packets taken from a socket before others get their turn."""


@dataclass(frozen=True, slots=True)
class Target:
    """Something to probe.

    Attributes:
        kind: link, circuit or uplink.
        name: Underlay of a link, id of a circuit, gateway of an uplink.
        src, dst: Gateway (or workload) ids.
        device: Interface that the probes leave by.
        address: Who answers.
        mtu: Bytes of a packet that must pass whole; None: not checked.
    """

    kind: str
    name: str
    src: str
    dst: str
    device: str
    address: str
    mtu: int | None = None


class ProbeSink(Protocol):
    """Counts probes, for the exporter."""

    def sent(self, target: Target) -> None: ...

    def lost(self, target: Target) -> None: ...

    def answered(self, target: Target, rtt_s: float) -> None: ...

    def forget(self, target: Target) -> None: ...


class History:
    """What the last probes of a target say."""

    def __init__(self) -> None:
        self._rtts_s: deque[float | None] = deque(maxlen=WINDOW_PROBES)
        self._full_lost = 0
        self.mtu_fits: bool | None = None

    def add(self, rtt_s: float | None) -> None:
        """Note an answer, or None for a loss."""
        self._rtts_s.append(rtt_s)

    def add_full(self, *, answered: bool) -> None:
        """Note a full-size probe; a lost one says nothing while small ones are lost too."""
        if answered:
            self._full_lost, self.mtu_fits = 0, True
        elif self.answering:
            self._full_lost += 1
            if self._full_lost >= MTU_ATTEMPTS:
                self.mtu_fits = False

    @property
    def full_in_doubt(self) -> bool:
        """The next full-size probe should not wait: the last was lost, or none was sent."""
        return self.mtu_fits is None or 0 < self._full_lost < MTU_ATTEMPTS

    @property
    def answering(self) -> bool:
        return any(rtt_s is not None for rtt_s in list(self._rtts_s)[-SILENT_PROBES:])

    def report(self) -> ProbeReport:
        answers_s = [rtt_s for rtt_s in self._rtts_s if rtt_s is not None]
        total = len(self._rtts_s)
        return ProbeReport(
            answering=self.answering,
            rtt_ms=statistics.median(answers_s[-RTT_PROBES:]) * 1000 if self.answering else None,
            loss=(total - len(answers_s)) / total if total else None,
            mtu_fits=self.mtu_fits,
        )


class _Socket:
    """A UDP socket on one interface, which answers requests and hands replies to the prober."""

    def __init__(self, prober: Prober, device: str, index: int, address: str) -> None:
        self.index, self.address = index, address
        self._prober = prober
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
            self._socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
            self._socket.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE)
            self._socket.bind((address, PROBE_PORT))
        except OSError:
            self._socket.close()
            raise
        asyncio.get_running_loop().add_reader(self._socket, self._readable)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()

    def send(self, packet: bytes, address: str) -> bool:
        """Whether the host could send it at all."""
        try:
            self._socket.sendto(packet, (address, PROBE_PORT))
        except OSError:
            return False
        return True

    def _readable(self) -> None:
        for _ in range(READ_AT_ONCE):
            try:
                packet, ancillary, _, sender = self._socket.recvmsg(2048, 64)
            except OSError:
                return
            if len(packet) < PACKET.size:
                continue
            magic, kind, session, sequence, sent_ns, held_ns = PACKET.unpack_from(packet)
            received_ns = _received_ns(ancillary)
            if magic != MAGIC:
                continue
            if kind == REQUEST:
                held_ns = max(0, time.time_ns() - received_ns)
                answer = PACKET.pack(MAGIC, REPLY, session, sequence, sent_ns, held_ns)
                self.send(answer + packet[PACKET.size :], sender[0])
            elif kind == REPLY:
                self._prober.answered(session, sequence, received_ns - sent_ns - held_ns)


def _received_ns(ancillary: Iterable[tuple[int, int, bytes]]) -> int:
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS and len(data) >= TIMESPEC.size:
            seconds, nanoseconds = TIMESPEC.unpack_from(data)
            return int(seconds) * 1_000_000_000 + int(nanoseconds)
    return time.time_ns()


@dataclass(slots=True)
class _Pending:
    target: Target
    full: bool
    sent_s: float
    timer: asyncio.TimerHandle


class Prober:
    """Probes targets at a bounded rate, and answers the probes of others.

    Args:
        interval_s: Seconds between two probes of a target.
        timeout_s: Seconds after which a probe is lost.
        mtu_interval_s: Seconds between two full-size probes of a target.
        sink: Counts what happens.
    """

    def __init__(self, interval_s: float, timeout_s: float, mtu_interval_s: float, sink: ProbeSink) -> None:
        self._interval_s = interval_s
        self._timeout_s = timeout_s
        self._mtu_interval_s = mtu_interval_s
        self._sink = sink
        self._session = secrets.randbits(32)
        self._sequence = 0
        self._sockets: dict[str, _Socket] = {}
        self._histories: dict[Target, History] = {}
        self._timers: dict[Target, asyncio.TimerHandle] = {}
        self._full_due_s: dict[Target, float] = {}
        self._pending: dict[int, _Pending] = {}

    def retarget(self, targets: Iterable[Target], sockets: Mapping[str, tuple[int, str]]) -> None:
        """Probe these targets from now on, and listen on these interfaces (name to kernel index and own address).

        A target that stays keeps its history. An interface that was made anew gets a new socket.
        """
        for device, current in list(self._sockets.items()):
            if sockets.get(device) != (current.index, current.address):
                self._sockets.pop(device).close()
        for device, (index, address) in sockets.items():
            if device not in self._sockets:
                try:
                    self._sockets[device] = _Socket(self, device, index, address)
                except OSError as error:
                    log.warning("no probes on interface=%s address=%s error=%s", device, address, error)
        wanted = set(targets)
        for target in set(self._histories) - wanted:
            self._timers.pop(target).cancel()
            del self._histories[target]
            self._full_due_s.pop(target, None)
            self._sink.forget(target)
        loop = asyncio.get_running_loop()
        for target in sorted(wanted - set(self._histories), key=repr):
            self._histories[target] = History()
            # Spread over the interval, so that not all targets are probed in the same instant.
            self._timers[target] = loop.call_later(random.uniform(0, self._interval_s), self._tick, target)

    def close(self) -> None:
        """Stop probing and answering."""
        self.retarget((), {})
        for pending in self._pending.values():
            pending.timer.cancel()
        self._pending.clear()

    def reports(self) -> dict[Target, ProbeReport]:
        """What is known of every target."""
        return {target: history.report() for target, history in self._histories.items()}

    def _tick(self, target: Target) -> None:
        loop = asyncio.get_running_loop()
        self._timers[target] = loop.call_later(self._interval_s, self._tick, target)
        self._send(target, full=False)
        history = self._histories[target]
        if target.mtu and history.answering and self._full_due_s.get(target, 0.0) <= loop.time():
            soon = self._interval_s if history.full_in_doubt else self._mtu_interval_s
            self._full_due_s[target] = loop.time() + soon
            self._send(target, full=True)

    def _send(self, target: Target, *, full: bool) -> None:
        loop = asyncio.get_running_loop()
        self._sequence += 1
        sequence = self._sequence
        if not full:
            self._sink.sent(target)
        timer = loop.call_later(self._timeout_s, self._expired, sequence)
        self._pending[sequence] = _Pending(target, full, loop.time(), timer)
        packet = PACKET.pack(MAGIC, REQUEST, self._session, sequence, time.time_ns(), 0)
        if full and target.mtu:
            packet = packet.ljust(target.mtu - HEADERS_BYTES, b"\0")
        current = self._sockets.get(target.device)
        if current is None or not current.send(packet, target.address):
            timer.cancel()
            self._expired(sequence)

    def _expired(self, sequence: int) -> None:
        pending = self._pending.pop(sequence)
        history = self._histories.get(pending.target)
        if history is None:
            return
        if pending.full:
            history.add_full(answered=False)
        else:
            history.add(None)
            self._sink.lost(pending.target)

    def answered(self, session: int, sequence: int, rtt_ns: int) -> None:
        """A reply came in; late, doubled and foreign ones are ignored."""
        pending = self._pending.pop(sequence, None) if session == self._session else None
        if pending is None:
            return
        pending.timer.cancel()
        history = self._histories.get(pending.target)
        if history is None:
            return
        if pending.full:
            history.add_full(answered=True)
            return
        elapsed_s = asyncio.get_running_loop().time() - pending.sent_s
        rtt_s = rtt_ns / 1e9
        if not 0 < rtt_s <= elapsed_s:
            rtt_s = elapsed_s  # the wall clock was set meanwhile
        history.add(rtt_s)
        self._sink.answered(pending.target, rtt_s)
