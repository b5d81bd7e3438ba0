"""Elements of nftables maps from IPv4 address to IPv4 address, read and changed over netlink.

One transaction for any number of changes. The kernel is spoken to directly: a switch takes a fraction of a
millisecond, where ``nft`` takes several, and needs no library that a container image may lack. It makes neither
tables nor maps.

Source: linux/netfilter/nf_tables.h and nfnetlink.h; a batch is as libnftnl's examples/nft-map-add.c makes it.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator, Mapping

from foremesh.agent.failover.netlink import (
    ACK,
    CREATE,
    DONE,
    DUMP,
    ERROR,
    NESTED,
    REQUEST,
    attribute,
    attributes,
    message,
    messages,
)

NETLINK_NETFILTER = 12
SUBSYSTEM = 10
NEW_ELEMENT, GET_ELEMENT, DELETE_ELEMENT = (SUBSYSTEM << 8 | number for number in (12, 13, 14))
BATCH_BEGIN, BATCH_END = 0x10, 0x11
TABLE, SET, ELEMENTS = 1, 2, 3
KEY, DATA = 1, 2
ITEM = VALUE = 1
FAMILY_IPV4 = 2

GENERIC = struct.Struct("=BBH")

ANSWER_TIMEOUT_S = 5.0
"""Seconds for an answer of the kernel, which comes in milliseconds unless it holds the lock of another transaction."""
PER_MESSAGE = 500
"""Elements of one message: 40 bytes each, and an attribute holds 64 kB."""

Elements = Mapping[str, str]


class NftablesError(RuntimeError):
    """The kernel refused; carries ``errno``."""

    def __init__(self, doing: str, number: int) -> None:
        self.errno = number
        super().__init__(f"nftables: {doing}: {os.strerror(number)}; the maps stay as they are")


class Maps:
    """The maps of one table.

    Args:
        table: Its name, in the family ip.
    """

    def __init__(self, table: str) -> None:
        self._table = table
        self._sequence = 0
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
        self._socket.settimeout(ANSWER_TIMEOUT_S)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)

    def close(self) -> None:
        self._socket.close()

    def read(self, name: str) -> dict[str, str]:
        """What a map holds.

        Raises:
            NftablesError: If there is no such map.
        """
        found: dict[str, str] = {}
        content = self._of(name)
        self._send(self._message(GET_ELEMENT, REQUEST | DUMP, content))
        while True:
            for _, kind, payload in self._receive(self._sequence):
                if kind == DONE:
                    return found
                if kind == ERROR:
                    raise NftablesError(f"map {name} cannot be read", -struct.unpack_from("=i", payload)[0])
                for elements in _find(payload[GENERIC.size :], ELEMENTS):
                    for item in _find(elements, ITEM):
                        (key,), (data,) = (
                            [value for part in _find(item, which) for value in _find(part, VALUE)]
                            for which in (KEY, DATA)
                        )
                        found[socket.inet_ntoa(key)] = socket.inet_ntoa(data)

    def change(self, wanted: Mapping[str, tuple[Elements, Elements]]) -> None:
        """Change maps in one transaction.

        Args:
            wanted: Map to the elements that are there now, and those that shall be.

        Raises:
            NftablesError: If the kernel refuses; nothing is changed then.
        """
        parts: list[tuple[int, int, bytes]] = []
        for name, (now, then) in wanted.items():
            gone = [key for key in now if then.get(key) != now[key]]
            come = [(key, value) for key, value in then.items() if now.get(key) != value]
            for keys in _chunks(gone):
                items = b"".join(_nested(ITEM, _key(key)) for key in keys)
                parts.append((DELETE_ELEMENT, REQUEST, self._of(name) + _nested(ELEMENTS, items)))
            for pairs in _chunks(come):
                items = b"".join(_nested(ITEM, _key(key) + _data(value)) for key, value in pairs)
                parts.append((NEW_ELEMENT, REQUEST | CREATE, self._of(name) + _nested(ELEMENTS, items)))
        if not parts:
            return
        batch = [self._message(BATCH_BEGIN, REQUEST, b"", generic=GENERIC.pack(0, 0, socket.htons(SUBSYSTEM)))]
        batch += [self._message(kind, flags, content) for kind, flags, content in parts[:-1]]
        # Messages are answered when the whole batch is: the last one's answer says that all is done.
        kind, flags, content = parts[-1]
        batch.append(self._message(kind, flags | ACK, content))
        awaited = self._sequence
        batch.append(self._message(BATCH_END, REQUEST, b"", generic=GENERIC.pack(0, 0, socket.htons(SUBSYSTEM))))
        self._send(b"".join(batch))
        first = awaited - len(parts)
        while True:
            for sequence, kind, payload in self._receive(first):
                number = -struct.unpack_from("=i", payload)[0] if kind == ERROR else 0
                if number:
                    raise NftablesError(f"elements of {', '.join(wanted)} in {self._table} cannot be changed", number)
                if sequence == awaited:
                    return

    def _send(self, octets: bytes) -> None:
        try:
            self._socket.send(octets)
        except OSError as error:
            raise NftablesError("message not sent", error.errno or 0) from error

    def _receive(self, since: int) -> Iterator[tuple[int, int, bytes]]:
        """Sequence, kind and content of the messages of one datagram, without those that answer older ones."""
        try:
            octets = self._socket.recv(1 << 18)
        except OSError as error:
            raise NftablesError("no answer", error.errno or errno.ETIMEDOUT) from error
        yield from (one for one in messages(octets) if one[0] >= since)

    def _of(self, name: str) -> bytes:
        return attribute(TABLE, self._table.encode() + b"\0") + attribute(SET, name.encode() + b"\0")

    def _message(self, kind: int, flags: int, content: bytes, *, generic: bytes | None = None) -> bytes:
        self._sequence += 1
        generic = generic or GENERIC.pack(FAMILY_IPV4, 0, 0)
        return message(kind, flags, self._sequence, generic + content)


def _nested(kind: int, value: bytes) -> bytes:
    return attribute(kind | NESTED, value)


def _key(address: str) -> bytes:
    return _nested(KEY, attribute(VALUE, socket.inet_aton(address)))


def _data(address: str) -> bytes:
    return _nested(DATA, attribute(VALUE, socket.inet_aton(address)))


def _find(octets: bytes, kind: int) -> Iterator[bytes]:
    return (value for found, value in attributes(octets) if found == kind)


def _chunks(items: list) -> Iterator[list]:
    for start in range(0, len(items), PER_MESSAGE):
        yield items[start : start + PER_MESSAGE]
