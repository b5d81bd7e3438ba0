"""The socket for hellos: read with the kernel's time of arrival, sent from the address of their label."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Iterator

from foremesh.agent.failover.engine import Label

PORT = 51_831
"""UDP port of hellos inside the tunnels; the same everywhere."""
PACKETS_AT_ONCE = 512
"""Hellos read before others get their turn."""
RECEIVE_BYTES = 4 << 20
"""Of the hellos' socket: what a hundred routes send in a second while this process does not run."""
IP_PKTINFO, PKTINFO = 8, struct.Struct("=I4s4s")
SO_RCVBUFFORCE, SO_TIMESTAMPNS, TIMESPEC = 33, 35, struct.Struct("@qq")
"""Not among Python's names: linux/in.h, asm-generic/socket.h."""


class Hellos:
    """The socket for hellos. Which interface they may come by is nftables' to say.

    Attributes:
        read_s: Monotonic time before which all that came has been read.
    """

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        with contextlib.suppress(OSError):
            self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BYTES)
        self.socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self.socket.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, 0xC0)  # CS6, network control
        self.socket.bind(("0.0.0.0", PORT))
        self._ways: dict[Label, tuple[list, tuple[str, int]]] = {}
        self._oldest_s = self.read_s = time.monotonic()

    def read(self) -> Iterator[tuple[bytes, str, float]]:
        """What has come, oldest first, but not more than ``PACKETS_AT_ONCE``: packet, where from, and monotonic time of
        its arrival."""
        receive, timespec, oldest_s, now_s = self.socket.recvmsg, TIMESPEC.unpack, self._oldest_s, time.monotonic()
        ahead_s = now_s - time.time()  # of the clock that the kernel notes
        try:
            for _ in range(PACKETS_AT_ONCE):
                packet, ((_, _, noted),), _, (source, _) = receive(64, 64)
                seconds, nanoseconds = timespec(noted)
                came_s = seconds + nanoseconds / 1e9 + ahead_s
                if not oldest_s <= came_s <= now_s:  # it came just now, or somebody has set the clock
                    came_s = time.monotonic()
                self.read_s = came_s
                yield packet, source, came_s
        except OSError:
            self._oldest_s, self.read_s = now_s, time.monotonic()

    def send(self, label: Label, packet: bytes) -> None:
        way = self._ways.get(label)
        if way is None:
            info = PKTINFO.pack(0, socket.inet_aton(label.own), b"\0\0\0\0")
            way = self._ways[label] = ([(socket.IPPROTO_IP, IP_PKTINFO, info)], (label.far, PORT))
        # No route now, or no room: a hello that is not sent is missed at the other end, as it should be.
        try:  # noqa: SIM105 - suppress() takes a tenth of the time that sending does
            self.socket.sendmsg((packet,), way[0], 0, way[1])
        except OSError:
            pass

    def forget(self) -> None:
        self._ways.clear()
