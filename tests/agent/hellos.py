"""Two engines and the routes between them, in simulated time: what the failover process does with sockets and clock."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import msgspec

from agent.pairs import address, table
from foremesh.agent.failover.engine import Engine
from foremesh.agent.failover.process import REST_S

CIRCUIT = "c"
BOOTED_S = (1000.0, 77.0)
"""What the clocks of the two hosts say at the beginning: they have nothing to do with each other."""


@dataclass
class Way:
    """One direction of a label: delay, and whether a packet sent at a time is lost."""

    delay_s: float = 0.01
    jitter_s: float = 0.0
    lost: Callable[[float], bool] = lambda _: False


@dataclass
class Simulation:
    """Ends 0 and 1 of circuit ``c``; label 5 is the one to send on, 6 the standby.

    Attributes:
        ways: Label and sender to how hellos travel.
        paused: End to spans in which its process does not run; hellos wait in its socket, and it sees when they came.
        switches: When, which end, from and to.
    """

    ways: dict[tuple[int, int], Way] = field(default_factory=dict)
    paused: dict[int, list[tuple[float, float]]] = field(default_factory=dict)
    seed: int = 0
    tables: dict[int, dict] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.random = Random(self.seed)
        self.now_s = 0.0
        self.switches: list[tuple[float, int, int | None, int | None]] = []
        self._order = itertools.count()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._born = itertools.count(1)
        self._maps: dict[int, tuple[dict[str, str], dict[str, str]]] = {0: ({}, {}), 1: ({}, {})}
        self._lives = [0, 0]
        self._deaf = [False, False]
        self._unread: tuple[list[tuple[bytes, str, float]], ...] = ([], [])
        self._looks = [0, 0]
        self.engines: list[Engine] = [None, None]  # type: ignore[list-item]
        for side in (0, 1):
            self.tables.setdefault(side, told(side))
            self.start(side, 0.013 * side)

    def start(self, side: int, after_s: float = 0.0) -> None:
        """Start an end's process, anew if it ran: what is in the maps is all that it knows."""
        self._lives[side] += 1
        self._deaf[side] = False
        life = self._lives[side]
        self.engines[side] = Engine(next(self._born))
        self.configure(side)
        self._at(self.now_s + after_s, lambda: self._tick(side, life))

    def stop(self, side: int) -> None:
        self._lives[side] += 1
        self._looks[side] += 1
        self._deaf[side] = True
        self._unread[side].clear()

    def configure(self, side: int, **changes: object) -> None:
        """Tell an end another table."""
        if changes:
            self.tables[side] = told(side, **changes)  # type: ignore[arg-type]
        self.engines[side].configure(self.tables[side], self._maps[side])
        self._decide(side)

    def used(self) -> tuple[int | None, int | None]:
        return tuple(engine.circuits[CIRCUIT].used for engine in self.engines)  # type: ignore[return-value]

    def at(self, when_s: float, what: Callable[[], None]) -> None:
        self._at(when_s, what)

    def run(self, until_s: float) -> None:
        while self._events and self._events[0][0] <= until_s:
            self.now_s, _, what = heapq.heappop(self._events)
            what()
        self.now_s = until_s

    def _at(self, when_s: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when_s, next(self._order), what))

    def _clock_s(self, side: int) -> float:
        return self.now_s + BOOTED_S[side]

    def _running_again_s(self, side: int) -> float | None:
        """When a paused process runs again; None if it runs."""
        return next((end for start, end in self.paused.get(side, ()) if start <= self.now_s < end), None)

    def _tick(self, side: int, life: int) -> None:
        if life != self._lives[side]:
            return
        if (again_s := self._running_again_s(side)) is not None:
            # Behind what waits in the socket, which is read first.
            self._at(again_s + 1e-6, lambda: self._tick(side, life))
            return
        self._drain(side)
        for label, packet in self.engines[side].hellos(self._clock_s(side)):
            self._send(side, label.number, packet)
        self._decide(side)
        self._at(self.now_s + self.engines[side].timing.interval_s, lambda: self._tick(side, life))

    def _send(self, side: int, number: int, packet: bytes) -> None:
        way = self.ways.setdefault((number, side), Way())
        if not way.lost(self.now_s):
            delay_s = way.delay_s + self.random.uniform(0, way.jitter_s)
            self._at(self.now_s + delay_s, lambda: self._arrive(1 - side, packet, address(number, side)))

    def _arrive(self, side: int, packet: bytes, source: str) -> None:
        if self._deaf[side]:
            return
        if not self._unread[side]:
            again_s = self._running_again_s(side)
            self._at(
                self.now_s + self.random.uniform(0, REST_S) if again_s is None else again_s, lambda: self._read(side)
            )
        self._unread[side].append((packet, source, self._clock_s(side)))

    def _read(self, side: int) -> None:
        if (again_s := self._running_again_s(side)) is not None:
            self._at(again_s, lambda: self._read(side))
        elif self._drain(side):
            self._decide(side)

    def _drain(self, side: int) -> bool:
        """Read all that has come, as the process does before it judges anybody; whether it asks for a decision."""
        changed = [self.engines[side].received(*hello) for hello in self._unread[side]]
        self._unread[side].clear()
        return any(changed)

    def _decide(self, side: int) -> None:
        engine, now_s = self.engines[side], self._clock_s(side)
        for label, packet in engine.urgent(now_s):
            self._send(side, label.number, packet)
        choice = engine.decide(now_s)
        self._maps[side] = engine.elements(choice)
        for _, before, now, _ in engine.settle(choice):
            self.switches.append((self.now_s, side, before, now))
        self._looks[side] += 1
        this, look_s = self._looks[side], engine.look_again_s(now_s)
        if look_s is not None:
            # A clock that moves has passed what it waited for.
            self._at(max(look_s - BOOTED_S[side], self.now_s) + 1e-4, lambda: self._look(side, this))

    def _look(self, side: int, this: int) -> None:
        if this == self._looks[side] and self._running_again_s(side) is None:
            self._drain(side)
            self._decide(side)

    def failovers(self) -> list[tuple[float, int, int | None, int | None]]:
        """Switches, without the first choice of each end."""
        return [switch for switch in self.switches if switch[2] is not None]


def told(side: int, **fields: object) -> dict:
    """A table as it comes over the control socket."""
    made = table(side, **fields)  # type: ignore[arg-type]
    return msgspec.to_builtins(made) | {"digest": made.digest}


def cut(since_s: float, until_s: float = float("inf")) -> Callable[[float], bool]:
    return lambda when_s: since_s <= when_s < until_s
