"""The network of the comparison and what happens to it. Pure: the same seed gives the same faults to every system.

Six gateways, each linked with each other, and an end behind the first and the last. Four ways from end to end are
worth having, and no two of the paths shorter than the direct link are closer together than 5 ms, so that the delay of
a packet says which way it came:

    src - a - t1 - t2 - b - dst    36 ms   the best
          a - t1 - b               45 ms   the best where t2 fails or a link to it
          a - t3 - b               51 ms   the best where t1 fails or its link to a; shares nothing with the best
          a - t4 - b               72 ms
          a - b                    93 ms
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from itertools import pairwise

from lab.scenes import Gateway, Topology, Workload
from lab.world import Pair

Path = tuple[str, ...]
"""Gateways from end to end."""

SOURCE, DESTINATION = "a", "b"

LINKS_MS: Mapping[tuple[str, str], float] = {
    ("a", "t1"): 12.0,
    ("t1", "t2"): 12.0,
    ("t2", "b"): 12.0,
    ("t1", "b"): 33.0,
    ("a", "t3"): 25.5,
    ("t3", "b"): 25.5,
    ("t1", "t3"): 29.25,
    ("a", "t4"): 36.0,
    ("t4", "b"): 36.0,
    ("a", "b"): 93.0,
    ("a", "t2"): 112.5,
    ("t1", "t4"): 120.0,
    ("t2", "t3"): 127.5,
    ("t2", "t4"): 135.0,
    ("t3", "t4"): 142.5,
}
"""One-way delays, the same both ways. The last five make the mesh full, as an Internet is, and are on no path that any
single fault makes the best."""

GATEWAYS = ("a", "b", "t1", "t2", "t3", "t4")

LOSS = 0.3
"""Share of packets lost in a fault of that kind."""
DELAY_MS = 100.0
"""Milliseconds added each way in a fault of that kind."""
SHORT_S, LONG_S, LONG_EVERY = 5.0, 15.0, 5
"""Seconds that faults last at most, and how many of those that stop packets for every one of the long ones: a link that
is back after some seconds is what happens most, and nobody who answers in seconds is left out; in the long ones
babeld's default, which needs 8 to 12 s, is seen to answer too."""
WITHIN = 1.1
"""A stream has converged when its delay is at most so many times that of the best path: the issue is 10 %."""


class Kind(StrEnum):
    """What happens; the first two stop packets, the others make a path worse."""

    CUT = "link cut"
    KILLED = "gateway killed"
    LOSS = "30 % loss"
    DELAY = "+100 ms"

    @property
    def hard(self) -> bool:
        """Whether nothing at all passes."""
        return self in (Kind.CUT, Kind.KILLED)


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of the schedule: ``place`` and ``phase_s`` are fractions and seconds that make it concrete.

    It strikes the path that the stream takes when it comes: the link or transit at ``place`` (0 to 1, from source to
    destination). Every system that returns to the best path after a fault is so struck at the same place.

    Attributes:
        number: From 0 on.
        phase_s: Seconds between the network being settled and the fault, so that it meets every timer at any moment.
        limit_s: Seconds after which it ends although the stream is not as good as it could be.
    """

    number: int
    kind: Kind
    place: float
    phase_s: float
    limit_s: float

    def target(self, path: Path) -> tuple[str, ...]:
        """The transit, or the two gateways of the link, that it strikes on ``path``; the direct way has no transit, so
        a gateway cannot be killed there and its one link is cut instead."""
        if self.kind is Kind.KILLED and (transits := path[1:-1]):
            return (transits[int(self.place * len(transits))],)
        links = list(pairwise(path))
        return links[int(self.place * len(links))]


def schedule(count: int, seed: int) -> list[Fault]:
    """``count`` faults: every four of them one of each kind, in an order by chance."""
    rng = random.Random(seed)
    kinds: list[Kind] = []
    while len(kinds) < count:
        kinds += rng.sample(list(Kind), len(Kind))
    made: list[Fault] = []
    for number, kind in enumerate(kinds[:count]):
        long = kind.hard and sum(fault.kind.hard for fault in made) % LONG_EVERY == 0
        made.append(Fault(number, kind, rng.random(), rng.uniform(0, 1), LONG_S if long else SHORT_S))
    return made


def topology() -> Topology:
    """The lab to build: ends ``src`` and ``dst`` on the networks of a and b."""
    gateways = tuple(
        Gateway(name, "Transit" if name.startswith("t") else "Core", f"s{name}", f"region-{name}", 0.02)
        for name in GATEWAYS
    )
    pairs = {way: Pair(ms) for (a, b), ms in LINKS_MS.items() for way in ((a, b), (b, a))}
    return Topology(gateways, (Workload("src", "sa"), Workload("dst", "sb")), pairs)


@cache
def paths() -> tuple[Path, ...]:
    """Every path without a loop from source to destination, shortest first."""
    return tuple(sorted(_paths((SOURCE,)), key=lambda path: delay_ms(path)))


def _paths(begun: Path) -> Iterator[Path]:
    if begun[-1] == DESTINATION:
        yield begun
        return
    for name in GATEWAYS:
        if name not in begun:
            yield from _paths((*begun, name))


BEST: Path = ("a", "t1", "t2", "b")


def delay_ms(path: Path, kind: Kind | None = None, target: tuple[str, ...] = ()) -> float | None:
    """One-way delay of a path in milliseconds while a fault is there; None where nothing passes."""
    total = 0.0
    for link in pairwise(path):
        total += LINKS_MS.get(link) or LINKS_MS[link[::-1]]
        if kind and (set(link) == set(target) or (len(target) == 1 and target[0] in link)):
            if kind.hard:
                return None
            total += DELAY_MS if kind is Kind.DELAY else 0.0
    return total


def best_ms(kind: Kind | None = None, target: tuple[str, ...] = ()) -> float:
    """Delay of the best path while a fault is there, milliseconds; a path that loses packets is none."""
    struck = set(target)
    usable = [
        ms
        for path in paths()
        if (ms := delay_ms(path, kind, target)) is not None
        and not (kind is Kind.LOSS and any(struck <= set(link) for link in pairwise(path)))
    ]
    return min(usable)


def path_of(measured_ms: float, kind: Kind | None = None, target: tuple[str, ...] = ()) -> Path | None:
    """The path that a stream of this one-way delay took; None if there is none that short.

    A path's links add up to what the emulator does, and gateways on the way add up to :data:`OVERHEAD_MS`.
    """
    found = None
    for path in paths():
        ms = delay_ms(path, kind, target)
        if ms is not None and ms - 0.5 <= measured_ms <= ms + OVERHEAD_MS and (found is None or ms > found[0]):
            found = (ms, path)
    return found[1] if found else None


OVERHEAD_MS = 4.0
"""Milliseconds that gateways add at most, together, in the median of a few dozen packets: measured 0.6 to 1.5."""
