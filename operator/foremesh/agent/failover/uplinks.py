"""Whether a workload's gateways live: it asks each of them over its uplink, and they answer. Pure.

One side asks, since a gateway has many workloads and need not know whether they live. What it adds to its answer is
whether any circuit of its own lives: a gateway that is cut off from the mesh is as good as dead.
"""

from __future__ import annotations

import struct
from collections import namedtuple

MAGIC = b"FMU"
VERSION = 1
PACKET = struct.Struct("!3sBBBHIQ")
"""Magic, version, kind, word, unused, incarnation, number: 20 bytes."""

QUESTION, ANSWER = 0, 1
FINE, CUT_OFF = 0, 1
"""What a gateway says of itself."""

STRANGER_S = 12.0
"""Seconds after which a gateway that never answered counts as dead: room for two attempts of WireGuard to begin a
session, which it makes five seconds apart."""


class Message(namedtuple("Message", "kind word incarnation number")):
    """A question, or the answer to it, which repeats its incarnation and number.

    Attributes:
        kind: QUESTION or ANSWER.
        word: FINE or CUT_OFF.
        incarnation: The asker's process.
        number: Counts the asker's questions.
    """

    __slots__ = ()


def pack(message: Message) -> bytes:
    kind, word, incarnation, number = message
    return PACKET.pack(MAGIC, VERSION, kind, word, 0, incarnation, number)


def unpack(packet: bytes) -> Message | None:
    """The message in a packet; None if it is none, or of a version that is not spoken here."""
    if len(packet) != PACKET.size:
        return None
    magic, version, kind, word, _, incarnation, number = PACKET.unpack(packet)
    if magic != MAGIC or version != VERSION or kind > ANSWER or word > CUT_OFF:
        return None
    return Message(kind, word, incarnation, number)


def answer(packet: bytes, *, cut_off: bool) -> bytes | None:
    """What a gateway says to a packet; None if it is no question."""
    asked = unpack(packet)
    if asked is None or asked.kind != QUESTION:
        return None
    return pack(asked._replace(kind=ANSWER, word=CUT_OFF if cut_off else FINE))


class Uplink:
    """One uplink, as the asker sees it.

    A pause of the asker proves nothing: what counts is questions without an answer, not time.

    Args:
        device: Its interface.
        own, far: The workload's address, and that of the gateway.
        incarnation: Of the asker.
        missed: Questions in a row without an answer that make a gateway dead.

    Attributes:
        cut_off: What the gateway said last.
    """

    def __init__(self, device: str, own: str, far: str, incarnation: int, missed: int) -> None:
        self.device, self.own, self.far = device, own, far
        self.missed = missed
        self.cut_off = False
        self._incarnation = incarnation
        self._number = 0
        self._answered = 0
        self._first_s: float | None = None

    def question(self, now_s: float) -> bytes:
        """The next one to send."""
        if self._first_s is None:
            self._first_s = now_s
        self._number += 1
        return pack(Message(QUESTION, FINE, self._incarnation, self._number))

    def heard(self, packet: bytes) -> None:
        """A packet came by this uplink."""
        said = unpack(packet)
        if said is None or said.kind != ANSWER or said.incarnation != self._incarnation:
            return
        if self._answered < said.number <= self._number:
            self._answered = said.number
            self.cut_off = said.word == CUT_OFF

    @property
    def answers(self) -> bool:
        # The newest question may still be on its way.
        return self._answered > 0 and self._number - 1 - self._answered < self.missed

    @property
    def alive(self) -> bool:
        """The gateway answers, and is not cut off."""
        return self.answers and not self.cut_off

    def dead(self, now_s: float) -> bool:
        """It answered and does not any more, or never did in all that time, or says that it is cut off."""
        if self.answers:
            return self.cut_off
        return self._answered > 0 or (self._first_s is not None and now_s - self._first_s >= STRANGER_S)
