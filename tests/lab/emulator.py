"""An Internet for kernels without netem: takes packets from a TUN device, gives each back when it would arrive.

Usage: python -m lab.emulator DEVICE WORLD.json CONTROL.sock

The device must exist (``ip tuntap add DEVICE mode tun``); the caller routes what comes from the sites into it, and the
main table routes what is written back to the sites. CONTROL.sock is a unix SEQPACKET socket: a message holding a world
(JSON) replaces the one in force, an empty message nothing; both are answered with ``{"error": ...}`` or with the
counters, and the answer means that the change is in force for the next packet. Standard library only; it knows nothing
of gateways' names or of namespaces. On two idle cores it adds 0.05 ms to a delay and carries 400 to 500 Mbit/s.
"""

from __future__ import annotations

import fcntl
import gc
import json
import os
import select
import socket
import struct
import sys
import time
from collections.abc import Callable
from heapq import heappop, heappush
from ipaddress import IPv4Address, IPv4Network
from random import Random

from lab.world import Pair, World, WorldError

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000

REFRESH_S = 0.02
"""Seconds for which a pair's delay and loss are taken as constant: saves a cosine a packet; no day is that fast."""

BATCH = 32
"""Packets read before those due are sent: enough to save system calls, few enough (0.2 ms) not to make others late."""

EARLY_S = 80e-6
"""Seconds before the next packet is due to wake up and poll for it: a timer wakes a process 30 to 90 us late."""

MAX_MESSAGE = 1 << 20
"""Bytes of a control message; 20 gateways with incidents need a tenth of it."""


class Line:
    """One directed pair at work: decides when each packet arrives. Pure but for its own state; clocks are arguments."""

    def __init__(self, pair: Pair, random: Random) -> None:
        self._random = random.random
        self._free_at = self._last_due = 0.0
        self.packets = self.octets = self.lost = self.overflowed = self.clear = 0
        self.change(pair)

    def change(self, pair: Pair) -> None:
        """Be ``pair`` from the next packet on; those under way keep the arrival they were given."""
        self.pair = pair
        self._fresh_until = -1.0
        self._octet_s = 8 / pair.rate_bps if pair.rate_bps else 0.0
        self._buffer_s = pair.buffer_ms / 1e3
        self._jitter_s = pair.jitter_ms / 1e3
        self._ordered = not pair.reorder

    def arrival(self, now_s: float, octets: int, clock: Callable[[], float] = time.time) -> float | None:
        """When a packet of ``octets`` bytes sent at ``now_s`` (monotonic seconds) arrives, or None where it does not.

        ``clock`` gives the seconds since 1970 and is only asked when the pair's figures are due to be computed anew.
        """
        if now_s >= self._fresh_until:
            at_s = clock()
            self._fresh_until = now_s + REFRESH_S
            self._delay_s, self._loss = self.pair.delay_ms_at(at_s) / 1e3, self.pair.loss_at(at_s)
        self.packets += 1
        self.octets += octets
        if self._loss and self._random() < self._loss:
            self.lost += 1
            return None
        due = now_s
        if self._octet_s:
            if self._free_at - now_s > self._buffer_s:
                self.overflowed += 1
                return None
            due = self._free_at = max(self._free_at, now_s) + octets * self._octet_s
        due += self._delay_s
        if self._jitter_s:
            due = max(due + self._jitter_s * (2 * self._random() - 1), now_s)
        if self._ordered:
            if due < self._last_due:
                due = self._last_due
            self._last_due = due
        return due


class Emulator:
    """The lines of a world, found by the eight address bytes of a packet."""

    def __init__(self, world: World) -> None:
        self._lines: dict[tuple[str, str], Line] = {}
        self.strays = 0
        self.change(world)

    def change(self, world: World) -> None:
        """Put ``world`` in force; a pair it no longer has carries nothing from now on, and forgets its counters."""
        old, self._lines = self._lines, {}
        self.by_addresses: dict[bytes, Line] = {}
        self._clear: dict[bytes, Line | None] = {}
        self._behind = [(IPv4Network(prefix), address) for prefix, address in world.behind.items()]
        for (src, dst), pair in world.pairs.items():
            if line := old.get((src, dst)):
                line.change(pair)
            else:
                line = Line(pair, Random(f"{world.seed} {src} {dst}"))
            self._lines[src, dst] = self.by_addresses[socket.inet_aton(src) + socket.inet_aton(dst)] = line

    def clear(self, packet: bytes) -> Line | None:
        """The line of a packet not between two gateways: it travels in clear, or None where it is not carried."""
        key = packet[12:20]
        if len(self._clear) > 10_000:  # a scan of addresses must not fill the memory
            self._clear.clear()
        if key not in self._clear:
            self._clear[key] = self._lines.get((self._gateway(key[:4]), self._gateway(key[4:])))
        line = self._clear[key] if packet[0] >> 4 == 4 else None
        if line:
            line.clear += 1
        else:
            self.strays += 1
        return line

    def _gateway(self, octets: bytes) -> str:
        address = IPv4Address(octets)
        return next((gateway for prefix, gateway in self._behind if address in prefix), str(address))

    def counters(self) -> dict[str, object]:
        """Packets and what became of them, by pair."""
        names = ("packets", "octets", "lost", "overflowed", "clear")
        pairs = [{"src": s, "dst": d, **{n: getattr(line, n) for n in names}} for (s, d), line in self._lines.items()]
        return {"pairs": pairs, "strays": self.strays}

    def answer(self, message: bytes) -> dict[str, object]:
        """Do what a control message says; a world that cannot be changes nothing."""
        if message:
            try:
                self.change(World.from_json(message))
            except WorldError as error:
                return {"error": str(error)}
        return self.counters()


def run(tun: int, control: socket.socket, emulator: Emulator) -> None:
    """Carry packets for ever."""
    due: list[tuple[float, int, bytes]] = []
    serial = 0  # keeps packets due at the same instant in order
    now_s = time.monotonic
    sources: list[int | socket.socket] = [tun, control]
    while True:
        now = now_s()
        while due and due[0][0] <= now:
            try:
                os.write(tun, heappop(due)[2])
            except OSError:  # the receiver's veth went away with its namespace: the packet is lost, as it would be
                emulator.strays += 1
            now = now_s()
        ready = select.select(sources, (), (), max(0.0, due[0][0] - now - EARLY_S) if due else 1.0)[0]
        if control in ready:
            _serve(control, emulator)
        if tun not in ready:
            continue
        lines = emulator.by_addresses
        for _ in range(BATCH):
            try:
                packet = os.read(tun, 65_535)
            except BlockingIOError:
                break
            line = lines.get(packet[12:20]) or emulator.clear(packet)
            if line and (at := line.arrival(now_s(), len(packet))) is not None:
                serial += 1
                heappush(due, (at, serial, packet))


def _serve(control: socket.socket, emulator: Emulator) -> None:
    connection, _ = control.accept()
    with connection:
        connection.settimeout(0.05)  # a client that connects and says nothing must not stop the Internet
        try:
            connection.send(json.dumps(emulator.answer(connection.recv(MAX_MESSAGE))).encode())
        except OSError as error:
            print(f"control: client gone: {error}", file=sys.stderr, flush=True)


def main(device: str, world_path: str, control_path: str) -> None:
    """Attach to ``device``, listen on ``control_path``, and run."""
    with open(world_path, encoding="utf-8") as file:
        emulator = Emulator(World.from_json(file.read()))
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH", device.encode(), IFF_TUN | IFF_NO_PI))
    control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    control.bind(control_path)
    control.listen(16)
    # The kernel may delay a wake-up by 50 us to save power, and other processes of the tests want the processor too.
    with open("/proc/self/timerslack_ns", "w", encoding="ascii") as slack:
        slack.write("1")
    os.nice(-15)
    gc.disable()  # nothing here makes cycles
    run(tun, control, emulator)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except WorldError as error:
        sys.exit(f"emulator: {error}")
