"""The lab's Internet by the kernel's netem, where there is one: the emulator's worlds, without its limit of throughput.

Untried on a kernel: no machine it was written on has netem, so its commands are checked as text, nothing more. What it
does not do as the emulator does: incidents and daily swings take effect to the second, loss is not repeatable from a
seed (tc before 6.6 has none), the queue is bounded in full-size packets, and what the queue drops is counted as lost.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Mapping

from lab.world import Pair, World

PACKET_OCTETS = 1500
"""Bytes of a full packet: netem bounds its queue in packets."""

REFRESH_S = 1.0
"""Seconds between looks at the clock for pairs that change with it."""

Tc = Callable[[list[str], str], str]
"""Runs ``tc`` with arguments and standard input in the Internet's namespace; returns what it printed."""


def classes(world: World, devices: Mapping[str, str]) -> list[str]:
    """The ``tc -batch`` lines that sort packets by source on the way out to each gateway; unknown ones are dropped.

    Args:
        world: Pairs by address.
        devices: Gateway address to the name of its veth in the Internet's namespace.
    """
    lines = []
    for device in devices.values():
        lines += [
            f"qdisc add dev {device} root handle 1: htb default fff",
            f"class add dev {device} parent 1: classid 1:fff htb rate 10gbit",
            f"qdisc add dev {device} parent 1:fff handle fff: netem loss 100%",
        ]
    for number, (src, dst) in _numbered(world):
        lines.append(f"class add dev {devices[dst]} parent 1: classid 1:{number:x} htb rate 10gbit")
        sources = [f"{src}/32", *(prefix for prefix, gateway in world.behind.items() if gateway == src)]
        lines += [
            f"filter add dev {devices[dst]} parent 1: protocol ip u32 match ip src {source} flowid 1:{number:x}"
            for source in sources
        ]
    return lines


def shaping(world: World, devices: Mapping[str, str], at_s: float) -> list[str]:
    """The ``tc -batch`` lines that give every pair its figures of ``at_s`` (seconds since 1970); may be repeated."""
    lines = []
    for number, (src, dst) in _numbered(world):
        pair = world.pairs[src, dst]
        limit = _limit(pair, at_s)
        line = f"qdisc replace dev {devices[dst]} parent 1:{number:x} handle {number:x}: netem limit {limit}"
        line += f" delay {pair.delay_ms_at(at_s):.3f}ms {pair.jitter_ms:.3f}ms loss {pair.loss_at(at_s) * 100:.4f}%"
        lines.append(line + (f" rate {pair.rate_bps:.0f}bit" if pair.rate_bps else ""))
        if (
            pair.jitter_ms and not pair.reorder
        ):  # netem's own queue sorts by arrival: a plain one under it keeps the order
            lines.append(f"qdisc replace dev {devices[dst]} parent {number:x}:1 pfifo limit {limit}")
    return lines


def _numbered(world: World) -> list[tuple[int, tuple[str, str]]]:
    return list(enumerate(sorted(world.pairs), start=0x10))


def _limit(pair: Pair, at_s: float) -> int:
    """Packets under way and in the queue at most; netem counts both."""
    if not pair.rate_bps:
        return 100_000
    held_s = (pair.delay_ms_at(at_s) + pair.jitter_ms + pair.buffer_ms) / 1e3
    return math.ceil(pair.rate_bps * held_s / 8 / PACKET_OCTETS) + 1


class Netem:
    """The carrier of :class:`lab.internet.Internet` that drives ``tc``."""

    def __init__(self, tc: Tc, devices: Mapping[str, str], world: World) -> None:
        self._tc, self._devices, self._world = tc, devices, world
        self._applied: list[str] = []
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._batch(classes(world, devices))
        self.change(world)
        threading.Thread(target=self._follow_clock, name="netem", daemon=True).start()

    def change(self, world: World) -> None:
        """Put ``world``, of the same pairs, in force."""
        with self._lock:
            self._world = world
            wanted = shaping(world, self._devices, time.time())
            self._batch([line for line in wanted if line not in self._applied])
            self._applied = wanted

    def counters(self) -> dict[str, object]:
        """As the emulator's; what travels in clear is not told apart."""
        seen = {}
        for device in self._devices.values():
            for qdisc in json.loads(self._tc(["-s", "-j", "qdisc", "show", "dev", device], "")):
                if qdisc["kind"] == "netem":
                    seen[int(qdisc["handle"].rstrip(":"), 16), device] = qdisc
        pairs = []
        for number, (src, dst) in _numbered(self._world):
            q = seen[number, self._devices[dst]]
            counts = {"packets": q["packets"] + q["drops"], "octets": q["bytes"], "lost": q["drops"]}
            pairs.append({"src": src, "dst": dst, **counts, "overflowed": 0, "clear": 0})
        return {"pairs": pairs, "strays": sum(q["drops"] for (number, _), q in seen.items() if number == 0xFFF)}

    def close(self) -> None:
        """Stop following the clock; the qdiscs go with their namespace."""
        self._closed.set()

    def _follow_clock(self) -> None:
        while not self._closed.wait(REFRESH_S):
            if not all(pair.steady for pair in self._world.pairs.values()):
                self.change(self._world)

    def _batch(self, lines: list[str]) -> None:
        if lines:
            self._tc(["-batch", "-"], "\n".join(lines) + "\n")
