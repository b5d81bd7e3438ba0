"""Hold of the lab's Internet while it runs: change any directed pair by its gateways' names, now or on a schedule.

Carries no packets itself: a carrier does, the emulator's process or the kernel's netem, and both take whole worlds.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any, Protocol

from lab.world import Pair, World, WorldError

CONTROL_TIMEOUT_S = 10.0
"""Seconds to wait for the emulator's answer: it answers in under a millisecond unless the machine is far too busy."""


class Carrier(Protocol):
    """What carries the packets of a world."""

    def change(self, world: World) -> None:
        """Put ``world`` in force; in force on return."""

    def counters(self) -> dict[str, Any]:
        """``{"pairs": [{"src", "dst", "packets", "octets", "lost", "overflowed", "clear"}], "strays"}``."""

    def close(self) -> None:
        """Let go of what is held in this process."""


class Emulated:
    """The carrier that is :mod:`lab.emulator` in a process of its own, behind its control socket."""

    def __init__(self, control_path: str) -> None:
        self._path = control_path

    def change(self, world: World) -> None:
        """Put ``world`` in force.

        Raises:
            WorldError: If the emulator refuses it.
            ConnectionError: If the emulator is gone.
        """
        self._ask(world.to_json())

    def counters(self) -> dict[str, Any]:
        """The emulator's counters."""
        return self._ask("")

    def close(self) -> None:
        """Nothing is held between questions."""

    def _ask(self, message: str) -> dict[str, Any]:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
                connection.settimeout(CONTROL_TIMEOUT_S)
                connection.connect(self._path)
                connection.send(message.encode())
                answer: dict[str, Any] = json.loads(connection.recv(1 << 20))
        except (OSError, ValueError) as error:
            raise ConnectionError(
                f"no answer from the emulator at {self._path}: {error}; nothing is changed"
            ) from error
        if "error" in answer:
            raise WorldError(answer["error"])
        return answer


@dataclass(frozen=True, slots=True)
class Counters:
    """What became of a pair's packets since the lab began.

    ``lost`` by the pair's loss, ``overflowed`` by its full queue; ``clear`` were not between gateways' addresses.
    """

    packets: int
    octets: int
    lost: int
    overflowed: int
    clear: int


class Internet:
    """The Internet between named gateways. Each change is in force when the call returns; safe from several threads."""

    def __init__(self, addresses: Mapping[str, str], world: World, carrier: Carrier) -> None:
        self._addresses = dict(addresses)
        self._names = {address: name for name, address in addresses.items()}
        self._built = self._world = world
        self._carrier = carrier
        self._lock = threading.Lock()
        self._timers: list[threading.Timer] = []

    def pair(self, src: str, dst: str) -> Pair:
        """How the way from gateway ``src`` to gateway ``dst`` is now.

        Raises:
            WorldError: If there is no such way.
        """
        return self._world.pairs[self._key(src, dst)]

    def set_pair(self, src: str, dst: str, *, both_ways: bool = False, **figures: Any) -> None:
        """Give the way from ``src`` to ``dst`` new figures, by the names of :class:`lab.world.Pair`; the others stay.

        Raises:
            WorldError: If there is no such way, or a figure is unknown or out of range; nothing is changed then.
        """
        self._change(self._ways(src, dst, both_ways), lambda _, pair: _replace(pair, figures))

    def degrade(
        self, src: str, dst: str, *, delay_ms: float = 0.0, loss: float = 0.0, both_ways: bool = False, **figures: Any
    ) -> None:
        """Make the way worse than it is: ``delay_ms`` and ``loss`` come on top; other figures are set."""

        def worse(_: tuple[str, str], pair: Pair) -> Pair:
            added = {"delay_ms": pair.delay_ms + delay_ms, "loss": min(1.0, pair.loss + loss)}
            return _replace(pair, added | figures)

        self._change(self._ways(src, dst, both_ways), worse)

    def cut(self, src: str, dst: str | None = None, *, both_ways: bool = False) -> None:
        """Let nothing through from ``src`` to ``dst``; without ``dst``, nothing to or from ``src`` at all."""
        self._change(self._ways(src, dst, both_ways), lambda _, pair: replace(pair, loss=1.0))

    def restore(self, src: str | None = None, dst: str | None = None, *, both_ways: bool = False) -> None:
        """Make the way as the lab was built; without ``dst``, every way to or from ``src``; without both, every way."""
        self._change(self._ways(src, dst, both_ways), lambda way, _: self._built.pairs[way])

    def at(self, seconds: float, change: Callable[[Internet], object]) -> Future[object]:
        """Run ``change(internet)`` in ``seconds`` from now, in a thread; the future holds its result or its error.

        What is still to come when the lab ends is cancelled.
        """
        future: Future[object] = Future()

        def run() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(change(self))
                except BaseException as error:
                    future.set_exception(error)

        timer = threading.Timer(seconds, run)
        timer.daemon = True
        self._timers.append(timer)
        timer.start()
        return future

    def counters(self) -> dict[tuple[str, str], Counters]:
        """What became of the packets, by gateway names."""
        fields = ("packets", "octets", "lost", "overflowed", "clear")
        pairs = self._carrier.counters()["pairs"]
        return {(self._names[p["src"]], self._names[p["dst"]]): Counters(*(p[f] for f in fields)) for p in pairs}

    def strays(self) -> int:
        """Packets dropped because no pair carries them."""
        return int(self._carrier.counters()["strays"])

    def close(self) -> None:
        """Cancel what is scheduled."""
        for timer in self._timers:
            timer.cancel()
        self._carrier.close()

    def _key(self, src: str, dst: str) -> tuple[str, str]:
        key = (self._addresses.get(src, src), self._addresses.get(dst, dst))
        if key not in self._world.pairs:
            raise WorldError(f"no way {src} -> {dst}; gateways are {', '.join(self._addresses)}")
        return key

    def _ways(self, src: str | None, dst: str | None, both_ways: bool) -> list[tuple[str, str]]:
        if src is None:
            return list(self._world.pairs)
        if dst is None:
            ways = [key for key in self._world.pairs if self._addresses.get(src) in key]
            if not ways:
                raise WorldError(f"no gateway {src}; gateways are {', '.join(self._addresses)}")
            return ways
        return [self._key(src, dst), *([self._key(dst, src)] if both_ways else [])]

    def _change(self, ways: list[tuple[str, str]], change: Callable[[tuple[str, str], Pair], Pair]) -> None:
        with self._lock:
            pairs = self._world.pairs
            world = replace(self._world, pairs={**pairs, **{way: change(way, pairs[way]) for way in ways}})
            self._carrier.change(world)
            self._world = world


def _replace(pair: Pair, figures: Mapping[str, Any]) -> Pair:
    try:
        return replace(pair, **figures)
    except TypeError:
        raise WorldError(f"a pair has no such figure: {', '.join(figures)}") from None
