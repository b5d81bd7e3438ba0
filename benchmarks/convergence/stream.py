"""A stream of small UDP packets with their times, from one end to the other: what a convergence is measured with.

    python stream.py send ADDRESS PORT RATE LOG      one packet every 1/RATE s; LOG gets a float64 of seconds for each
    python stream.py receive ADDRESS PORT LOG        LOG gets (number, sent, received), three float64, for each

Both ends read the same clock (one machine), the receiver the kernel's own time of arrival, so that a packet's delay and
the gap between two are right although programs are woken late. Standard library only; it judges nothing.
"""

from __future__ import annotations

import socket
import struct
import sys
import time
from contextlib import suppress
from pathlib import Path

PACKET = struct.Struct("!QQ")
"""Number and time of sending in nanoseconds since 1970."""
SENT, RECEIVED = struct.Struct("<d"), struct.Struct("<ddd")
PAYLOAD_OCTETS = 100
SO_TIMESTAMPNS = 35
"""Linux's number; Python does not name it."""
FLUSH_S = 0.05
"""Seconds after which the log can be read at the latest: whoever watches the stream looks as often."""


def send(address: str, port: int, rate_hz: float, log: Path) -> None:
    """Send until killed. A packet that cannot be sent counts as sent: the network lost it."""
    filler = bytes(PAYLOAD_OCTETS - PACKET.size)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out, log.open("ab", buffering=1 << 16) as file:
        started, number, flushed = time.monotonic(), 0, 0.0
        while True:
            now = time.monotonic()
            if (wait_s := started + number / rate_hz - now) > 0:
                if now - flushed > FLUSH_S:
                    file.flush()
                    flushed = now
                time.sleep(wait_s)
            at_ns = time.time_ns()
            with suppress(OSError):
                out.sendto(PACKET.pack(number, at_ns) + filler, (address, port))
            file.write(SENT.pack(at_ns / 1e9))
            number += 1


def receive(address: str, port: int, log: Path) -> None:
    """Receive until killed."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as incoming, log.open("ab", buffering=1 << 16) as file:
        incoming.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        incoming.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        incoming.bind((address, port))
        incoming.settimeout(FLUSH_S)
        flushed = 0.0
        print("listening", flush=True)
        while True:
            try:
                data, ancillary, _, _ = incoming.recvmsg(2048, 64)
            except TimeoutError:
                file.flush()
                continue
            seconds, nanoseconds = struct.unpack("qq", ancillary[0][2])
            number, sent_ns = PACKET.unpack_from(data)
            file.write(RECEIVED.pack(number, sent_ns / 1e9, seconds + nanoseconds / 1e9))
            if (now := time.monotonic()) - flushed > FLUSH_S:
                file.flush()
                flushed = now


if __name__ == "__main__":
    if sys.argv[1] == "send":
        send(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), Path(sys.argv[5]))
    else:
        receive(sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))
