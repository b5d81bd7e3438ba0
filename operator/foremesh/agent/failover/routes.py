"""The failover process's own IPv4 routes, over netlink: beside the agent's, under another origin, and before them.

They are the record of what is in use: a process that starts finds there what the one before it decided, and the agent,
which compares routes of its own origin alone, leaves them be.

Source: linux/rtnetlink.h, and rtnetlink(7).
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct

from foremesh.agent.failover.netlink import (
    ACK,
    CREATE,
    DONE,
    DUMP,
    ERROR,
    REPLACE,
    REQUEST,
    attribute,
    attributes,
    message,
    messages,
)

PROTOCOL = 153
"""Origin of these routes; the agent's is 152."""
METRIC = 50
"""Before the agent's own routes, whose metric is 100 and more where there is a detour."""

NEW_ROUTE, DELETE_ROUTE, GET_ROUTE = 24, 25, 26
DESTINATION, DEVICE, NEXT_HOP, PRIORITY, SOURCE, TABLE = 1, 4, 5, 6, 7, 15
UNIVERSE, LINK, UNICAST, ON_LINK = 0, 253, 1, 4
MAIN_TABLE = 254

ROUTE = struct.Struct("=BBBBBBBBI")
NUMBER = struct.Struct("=I")

ANSWER_TIMEOUT_S = 5.0
"""Seconds for an answer of the kernel, which comes in microseconds."""


class RouteError(OSError):
    """The kernel refused; what was done before stays."""


class Routes:
    """Routes by table and prefix; each is device number, next hop (empty: none) and source address."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
        self._socket.settimeout(ANSWER_TIMEOUT_S)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._sequence = 0

    def read(self) -> dict[tuple[int, str], tuple[int, str, str]]:
        """What is there.

        Raises:
            RouteError: If the kernel does not say.
        """
        found = {}
        self._send(GET_ROUTE, REQUEST | DUMP, ROUTE.pack(socket.AF_INET, 0, 0, 0, 0, PROTOCOL, 0, 0, 0))
        while True:
            for kind, payload in self._receive():
                if kind == DONE:
                    return found
                if kind == ERROR:
                    raise _error("routes cannot be read", payload)
                if kind == NEW_ROUTE:
                    _, bits, _, _, table, protocol, _, _, _ = ROUTE.unpack_from(payload)
                    have = dict(attributes(payload[ROUTE.size :]))
                    # Old kernels do not filter.
                    if protocol == PROTOCOL and DEVICE in have and have.get(PRIORITY) == NUMBER.pack(METRIC):
                        table = NUMBER.unpack(have[TABLE])[0] if TABLE in have else table
                        prefix = f"{_text(have.get(DESTINATION, bytes(4)))}/{bits}"
                        way = (
                            NUMBER.unpack(have[DEVICE])[0],
                            _text(have.get(NEXT_HOP, b"")),
                            _text(have.get(SOURCE, b"")),
                        )
                        found[table, prefix] = way

    def change(
        self,
        now: dict[tuple[int, str], tuple[int, str, str]],
        then: dict[tuple[int, str], tuple[int, str, str]],
    ) -> None:
        """Make of what is there what shall be; a route that stays is replaced in place.

        Raises:
            RouteError: If the kernel refuses one.
        """
        for key, way in then.items():
            if now.get(key) != way:
                self._do(NEW_ROUTE, REQUEST | ACK | CREATE | REPLACE, key, way)
        for key, way in now.items():
            if key not in then:
                try:
                    self._do(DELETE_ROUTE, REQUEST | ACK, key, way)
                except RouteError as error:
                    if error.errno != errno.ESRCH:  # its device took it along
                        raise

    def _do(self, kind: int, flags: int, key: tuple[int, str], way: tuple[int, str, str]) -> None:
        (table, prefix), (device, next_hop, source) = key, way
        address, _, bits = prefix.partition("/")
        scope, more = (UNIVERSE, ON_LINK) if next_hop else (LINK, 0)
        short = table if table < 256 else 0
        content = ROUTE.pack(socket.AF_INET, int(bits), 0, 0, short, PROTOCOL, scope, UNICAST, more)
        content += attribute(DESTINATION, socket.inet_aton(address)) + attribute(TABLE, NUMBER.pack(table))
        content += attribute(DEVICE, NUMBER.pack(device)) + attribute(PRIORITY, NUMBER.pack(METRIC))
        if next_hop:
            content += attribute(NEXT_HOP, socket.inet_aton(next_hop))
        if source:
            content += attribute(SOURCE, socket.inet_aton(source))
        self._send(kind, flags, content)
        for answer, payload in self._receive():
            if answer == ERROR and NUMBER.unpack_from(payload)[0]:
                raise _error(f"route {prefix} in table {table} cannot be changed", payload)

    def _send(self, kind: int, flags: int, content: bytes) -> None:
        self._sequence += 1
        try:
            self._socket.send(message(kind, flags, self._sequence, content))
        except OSError as error:
            raise RouteError(error.errno, f"routes: message not sent: {error}") from error

    def _receive(self) -> list[tuple[int, bytes]]:
        """Kind and content of the next messages that answer the newest one sent."""
        while True:
            try:
                octets = self._socket.recv(1 << 18)
            except OSError as error:
                raise RouteError(error.errno or errno.ETIMEDOUT, f"routes: no answer: {error}") from error
            found = [(kind, payload) for sequence, kind, payload in messages(octets) if sequence == self._sequence]
            if found:
                return found


def device_number(name: str) -> int:
    """The kernel's number of an interface; 0 if it is not there."""
    with contextlib.suppress(OSError):
        return socket.if_nametoindex(name)
    return 0


def _text(address: bytes) -> str:
    return socket.inet_ntoa(address) if address else ""


def _error(doing: str, payload: bytes) -> RouteError:
    number = -struct.unpack_from("=i", payload)[0]
    return RouteError(number, f"routes: {doing}: {os.strerror(number)}")
