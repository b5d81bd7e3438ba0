"""What the agent tells the failover process, and what that says of itself. Values; the agent's side only."""

from __future__ import annotations

import hashlib

import msgspec


class RouteState(msgspec.Struct, frozen=True):
    """A route: numbers of its labels, whether hellos pass both ways, what they measure. What is not known is None."""

    labels: tuple[int, ...] = ()
    alive: bool = False
    rtt_ms: float | None = None
    jitter_ms: float | None = None
    """Variation of the direction towards here."""
    loss: float | None = None
    """Share of the newest hellos towards here that did not come, 0 to 1."""


class State(msgspec.Struct, frozen=True):
    """What the process says of itself.

    Attributes:
        version: Digest of its source.
        digest: Of the table that it holds the maps to; empty if it has none, or the maps are not as it left them.
        used: Circuit to the number of the label that it sends on.
        failovers: Circuit to how often its label was changed without the config's word.
        alive: Numbers of labels on which hellos pass both ways, sorted.
        routes: By the name that the table gives them; none where it tells of a change without being asked.
    """

    version: str = ""
    pid: int = 0
    digest: str = ""
    used: dict[str, int] = {}
    failovers: dict[str, int] = {}
    alive: tuple[int, ...] = ()
    routes: dict[str, RouteState] = {}
    uplinks: dict[str, bool] = {}
    """Gateways of this workload, and whether they live."""
    detours: dict[str, str] = {}
    """Uplink's gateway or circuit that the config prefers to the one used in its place."""
    error: str = ""


class CircuitLabels(msgspec.Struct, frozen=True):
    """A circuit in a table: addresses of this end and the other, labels to send on and to switch to."""

    local: str
    remote: str
    send: int | None
    standby: int | None


class RouteLabels(msgspec.Struct, frozen=True):
    """A route in a table: the gateway at its end, and number, own and far address of each of its labels."""

    far: str
    labels: tuple[tuple[int, str, str], ...]


class DetourRoutes(msgspec.Struct, frozen=True):
    """Routes that have several ways: table and prefix of each, and the source address that they prefer.

    Attributes:
        ways: Name, device and next hop (empty: none is needed); the first is the one that the agent's routes go by.
        firm: Whoever left the first one does not go back before the config says something else.
    """

    ways: tuple[tuple[str, str, str], ...]
    prefixes: tuple[tuple[int, str], ...]
    source: str
    firm: bool


class FailoverTable(msgspec.Struct, frozen=True):
    """All that the process is told.

    Attributes:
        uplinks: Gateway to the device, own and far address by which it is asked.
        answers_as: Address from which questions of workloads are answered; empty: nobody asks.
    """

    interval_ms: int
    missed: int
    routes: dict[str, RouteLabels]
    circuits: dict[str, CircuitLabels]
    uplink_interval_ms: int = 200
    uplink_missed: int = 3
    uplinks: dict[str, tuple[str, str, str]] = {}
    detours: dict[str, DetourRoutes] = {}
    answers_as: str = ""

    @property
    def digest(self) -> str:
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()[:16]
