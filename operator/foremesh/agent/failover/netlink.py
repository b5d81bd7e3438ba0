"""Netlink's framing, which nftables and routes have in common. Bytes in, bytes out.

Source: linux/netlink.h, and netlink(7).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

ERROR, DONE = 2, 3
REQUEST, ACK, DUMP, CREATE, REPLACE = 0x1, 0x4, 0x300, 0x400, 0x100
NESTED = 0x8000

HEADER = struct.Struct("=IHHII")
ATTRIBUTE = struct.Struct("=HH")


def message(kind: int, flags: int, sequence: int, content: bytes) -> bytes:
    return HEADER.pack(HEADER.size + len(content), kind, flags, sequence, 0) + content


def messages(octets: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Sequence, kind and content of the messages of one datagram."""
    start = 0
    while start < len(octets):
        length, kind, _, sequence, _ = HEADER.unpack_from(octets, start)
        yield sequence, kind, octets[start + HEADER.size : start + length]
        start += _padded(length)


def attribute(kind: int, value: bytes) -> bytes:
    length = ATTRIBUTE.size + len(value)
    return ATTRIBUTE.pack(length, kind) + value + b"\0" * (_padded(length) - length)


def attributes(octets: bytes) -> Iterator[tuple[int, bytes]]:
    """Kind, without the mark of nested ones, and value of each attribute."""
    start = 0
    while start + ATTRIBUTE.size <= len(octets):
        length, kind = ATTRIBUTE.unpack_from(octets, start)
        yield kind & ~NESTED, octets[start + ATTRIBUTE.size : start + length]
        start += _padded(length)


def _padded(length: int) -> int:
    return (length + 3) & ~3
