"""Traffic that is counted packet by packet. Run as ``python traffic.py send|receive|stream|drain ...`` in a namespace.

Standard library only. ``send`` and ``receive`` are UDP with numbered packets, ``stream`` and ``drain`` a TCP transfer
at a bounded rate; both senders go on until SIGTERM and then say what they did, one JSON object on standard output.
"""

from __future__ import annotations

import json
import select
import signal
import socket
import struct
import sys
import time

NUMBER = struct.Struct("!Q")
UDP_OCTETS = 200
"""Of a UDP packet's content: about that of a voice packet with its headers."""
QUIET_S = 3.0
"""Seconds of silence after which what is on its way is lost; above any delay of the lab."""
RECEIVE_BUFFER = 4 << 20
SO_TIMESTAMPNS, SO_RCVBUFFORCE, SO_MAX_PACING_RATE = 35, 33, 47
"""Not among Python's names: asm-generic/socket.h. The kernel's time of arrival counts, not when Python looked."""
TIMESPEC = struct.Struct("@qq")

_ending = False


def _end(*_: object) -> None:
    global _ending
    _ending = True


def send(address: str, port: str, per_s: str) -> None:
    """Send numbered packets, evenly; each at its time of a clock that does not wait for late ones."""
    interval_s, number = 1 / float(per_s), 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.connect((address, int(port)))
        begun_s = time.monotonic()
        late_s = 0.0
        while not _ending:
            due_s = begun_s + number * interval_s
            now_s = time.monotonic()
            if now_s < due_s:
                time.sleep(due_s - now_s)
                continue
            late_s = max(late_s, now_s - due_s)
            out.send(NUMBER.pack(number).ljust(UDP_OCTETS, b"\0"))
            number += 1
    print(json.dumps({"sent": number, "late_ms": late_s * 1e3}), flush=True)


def receive(address: str, port: str) -> None:
    """Note what comes until SIGTERM and then silence."""
    came: list[tuple[int, int]] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as into:
        into.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
        into.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        into.bind((address, int(port)))
        print("ready", flush=True)
        while True:
            if not select.select([into], [], [], QUIET_S)[0]:
                if _ending:
                    break
                continue
            packet, ancillary, _, _ = into.recvmsg(2048, 64)
            seconds, nanoseconds = TIMESPEC.unpack_from(ancillary[0][2])
            came.append((*NUMBER.unpack_from(packet), seconds * 1_000_000_000 + nanoseconds))
    print(json.dumps({"came": came}), flush=True)


def stream(address: str, port: str, bps: str) -> None:
    """Send as TCP takes it, at no more than a rate."""
    part = b"\0" * (1 << 14)
    octets = 0
    with socket.create_connection((address, int(port)), timeout=30) as out:
        out.setsockopt(socket.SOL_SOCKET, SO_MAX_PACING_RATE, int(float(bps) / 8))
        while not _ending:
            octets += out.send(part)
    print(json.dumps({"octets": octets}), flush=True)


def drain(address: str, port: str) -> None:
    """Take one connection and read it to its end."""
    octets, longest_s = 0, 0.0
    with socket.create_server((address, int(port))) as server:
        print("ready", flush=True)
        connection, _ = server.accept()
    last_s = time.monotonic()
    while part := connection.recv(1 << 16):
        now_s = time.monotonic()
        longest_s, last_s = max(longest_s, now_s - last_s), now_s
        octets += len(part)
    print(json.dumps({"octets": octets, "longest_gap_ms": longest_s * 1e3}), flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _end)
    {"send": send, "receive": receive, "stream": stream, "drain": drain}[sys.argv[1]](*sys.argv[2:])
