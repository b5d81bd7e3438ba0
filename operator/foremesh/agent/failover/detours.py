"""By which of several gateways traffic goes: a workload's uplinks, and a gateway's circuits between two sites. Pure.

A detour is a set of routes that the agent made over one device and that may go by others, each of which reaches the
same. The config names the first; the ends decide.
"""

from __future__ import annotations

from collections import namedtuple

QUIET_TICKS = 12
"""Ticks in a row that a circuit has to be silent for before another gateway's takes its place: 0.6 s at the default
interval. Three make a path dead where another is heard from the same far end; here that may only be replacing its
failover process, which takes a tenth of a second."""

STRANGER_TICKS = 200
"""The same for one that has never passed any: 10 s, in which a circuit that is set up gets going."""


class Way(namedtuple("Way", "name device gateway")):
    """One way of a detour: an uplink or circuit, its device, and the next hop on it (empty: none is needed)."""

    __slots__ = ()


class Detour:
    """Routes that have several ways.

    Attributes:
        ways: The first is the one that the config names.
        routes: Table and prefix of each.
        source: Address that they prefer.
        firm: The config wants this one: what was left for a dead way does not go back by itself.
        used: Name of the way in use.
    """

    def __init__(
        self, ways: tuple[Way, ...], routes: frozenset[tuple[int, str]], source: str, firm: bool, used: str
    ) -> None:
        self.ways, self.routes, self.source, self.firm, self.used = ways, routes, source, firm, used

    @property
    def told(self) -> str:
        return self.ways[0].name

    @property
    def way(self) -> Way:
        return next(way for way in self.ways if way.name == self.used)


def choose(detour: Detour, alive: frozenset[str], dead: frozenset[str]) -> str:
    """The way to use: the one in use, unless it is dead and another is alive.

    Args:
        alive, dead: Names of ways; what is in neither is unknown.
    """
    told, used = detour.told, detour.used
    if told in alive and (used == told or not detour.firm):
        return told
    if used not in dead or used in alive:
        return used
    return next((way.name for way in detour.ways if way.name in alive), used)


class Quiet:
    """For how many ticks things have shown no sign of life."""

    def __init__(self) -> None:
        self._ticks: dict[str, int] = {}
        self._lived: frozenset[str] = frozenset()

    def tick(self, alive: dict[str, bool]) -> None:
        """Another tick; whether each lives."""
        self._lived = frozenset(name for name, lives in alive.items() if lives or name in self._lived)
        self._ticks = {name: 0 if lives else self._ticks.get(name, 0) + 1 for name, lives in alive.items()}

    def alive(self) -> frozenset[str]:
        return frozenset(name for name, ticks in self._ticks.items() if not ticks)

    def dead(self) -> frozenset[str]:
        return frozenset(
            name
            for name, ticks in self._ticks.items()
            if ticks >= (QUIET_TICKS if name in self._lived else STRANGER_TICKS)
        )
