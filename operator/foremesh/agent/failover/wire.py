"""A hello: what passes between the failover processes of two ends, on every route, every interval.

Pure. Its label is not in it: the source address says which one it came by. All hellos of one moment carry the same
tick, so that the receiver knows which ones it should have had by another route. Two timestamps give the round trip
without a second packet, and the variation of each direction by itself.
"""

from __future__ import annotations

import struct
from collections import namedtuple  # typing and dataclasses cost two megabytes in a process of ten

MAGIC = b"FMH"
VERSION = 1
PACKET = struct.Struct("!3sBBBHIIQQI")
"""Magic, version, word, share, interval, incarnation, tick, sent, echo, held: 36 bytes."""

UNKNOWN, HEARD, LOST = 0, 1, 2
"""What the sender says of the other direction of this route: nothing yet; "I hear you"; "I do not, and I know that
you are sending, for I hear you on another route"."""

SHARE_STEPS = 255


class Hello(namedtuple("Hello", "word share interval_ms incarnation tick sent_ns echo_ns held_us")):
    """One hello.

    Attributes:
        word: UNKNOWN, HEARD or LOST.
        share: Of the other direction's newest hellos, those that arrived, 0.0 to 1.0.
        interval_ms: Between two hellos of the sender.
        incarnation: The sender's process; another one counts ticks anew.
        tick: Moment of sending, counted; the same on all routes.
        sent_ns: The sender's clock, which has no meaning elsewhere.
        echo_ns: ``sent_ns`` of the newest hello of the other direction; 0 if there was none.
        held_us: Microseconds between that one's arrival and this one's departure.
    """

    __slots__ = ()


def pack(hello: Hello) -> bytes:
    word, share, interval_ms, incarnation, tick, sent_ns, echo_ns, held_us = hello
    steps = int(share * SHARE_STEPS + 0.5)
    held_us = min(held_us, 0xFFFFFFFF)
    return PACKET.pack(
        MAGIC, VERSION, word, steps, interval_ms, incarnation, tick & 0xFFFFFFFF, sent_ns, echo_ns, held_us
    )


def unpack(packet: bytes) -> Hello | None:
    """The hello in a packet; None if it is none, or of a version that is not spoken here."""
    if len(packet) != PACKET.size:
        return None
    magic, version, word, steps, interval_ms, incarnation, tick, sent_ns, echo_ns, held_us = PACKET.unpack(packet)
    if magic != MAGIC or version != VERSION or word > LOST:
        return None
    return Hello(word, steps / SHARE_STEPS, interval_ms, incarnation, tick, sent_ns, echo_ns, held_us)
