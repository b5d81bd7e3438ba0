"""A socket of the prober's: one interface, what probes look like there, and answers to those of the other side."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Iterable
from typing import Protocol

from foremesh.agent.clocks import WallClock, raw_ns
from foremesh.agent.state import PROBE_PORT
from foremesh.agent.train import MOST_TRAINS, TRAIN_END_S, Arrivals

PACKET = struct.Struct("!4sBIQQQQ")
"""Magic, kind, session, sequence, and three numbers: nanoseconds when it was sent; when it came to the other side, by
the other side's clock; how long it was held there. A train's packets have their place in it and its length instead,
the answer to a train how many arrived and at how many bit/s, 0 for unknown."""
MAGIC = b"FMP2"
REQUEST, REPLY, TRAIN, ARRIVED = 1, 2, 3, 4
HEADERS_BYTES = 28
"""IPv4 and UDP headers: what a packet has besides the probe itself."""
SMALL_BYTES = PACKET.size + HEADERS_BYTES

SO_TIMESTAMPNS = 35
"""The kernel's receive time with each packet (asm-generic/socket.h): the agent's own delays do not count as latency."""
TIMESPEC = struct.Struct("@qq")
IP_MTU_DISCOVER, IP_PMTUDISC_PROBE = 10, 3
"""Never fragment, and do not trust what was learned about the path (linux/in.h)."""

READ_AT_ONCE = 64
"""Packets taken from a socket before others get their turn."""


class Answers(Protocol):
    """Takes what comes back; see ``probe.Prober``."""

    def answered(self, session: int, sequence: int, there_ns: int, back_ns: int) -> None: ...

    def measured(self, session: int, sequence: int, bps: float) -> None: ...


class ProbeSocket:
    """A UDP socket on one interface, which answers requests and hands replies to the prober."""

    def __init__(self, prober: Answers, device: str, index: int, address: str) -> None:
        self.index, self.address = index, address
        self._prober = prober
        self._clock = WallClock()
        self._trains: dict[tuple[str, int, int], tuple[Arrivals, asyncio.TimerHandle]] = {}
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
        for _, timer in self._trains.values():
            timer.cancel()
        self._trains.clear()
        self._socket.close()

    def send(self, packet: bytes, address: str) -> bool:
        """Whether the host could send it at all."""
        try:
            self._socket.sendto(packet, (address, PROBE_PORT))
        except OSError:
            return False
        return True

    def _readable(self) -> None:
        self._clock.compare()
        for _ in range(READ_AT_ONCE):
            try:
                packet, ancillary, _, sender = self._socket.recvmsg(2048, 64)
            except OSError:
                return
            if len(packet) < PACKET.size:
                continue
            magic, kind, session, sequence, first, second, third = PACKET.unpack_from(packet)
            if magic != MAGIC:
                continue
            came_ns = self._clock.raw(_received_ns(ancillary))
            if kind == REQUEST:
                answer = PACKET.pack(MAGIC, REPLY, session, sequence, first, came_ns, raw_ns() - came_ns)
                self.send(answer + packet[PACKET.size :], sender[0])
            elif kind == REPLY:
                # The other side's clock is not this one's: each way is off by what they differ, their sum is not.
                self._prober.answered(session, sequence, second - first, came_ns - second - third)
            elif kind == TRAIN:
                self._arrived((sender[0], session, sequence), came_ns, len(packet), last=first + 1 >= second)
            elif kind == ARRIVED:
                self._prober.measured(session, sequence, float(second))

    def _arrived(self, train: tuple[str, int, int], came_ns: int, size: int, *, last: bool) -> None:
        known = self._trains.pop(train, None)
        if known is None and len(self._trains) >= MOST_TRAINS:
            return
        arrivals = known[0] if known else Arrivals()
        if known:
            known[1].cancel()
        arrivals.add(came_ns, size + HEADERS_BYTES)
        wait_s = 0.0 if last else TRAIN_END_S
        self._trains[train] = (arrivals, asyncio.get_running_loop().call_later(wait_s, self._report, train))

    def _report(self, train: tuple[str, int, int]) -> None:
        arrivals, _ = self._trains.pop(train)
        address, session, sequence = train
        self.send(
            PACKET.pack(MAGIC, ARRIVED, session, sequence, arrivals.packets, round(arrivals.bps or 0), 0), address
        )


def _received_ns(ancillary: Iterable[tuple[int, int, bytes]]) -> int | None:
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS and len(data) >= TIMESPEC.size:
            seconds, nanoseconds = TIMESPEC.unpack_from(data)
            return int(seconds) * 1_000_000_000 + int(nanoseconds)
    return None
