"""What the agent tells the failover process, and what that says of itself. Values; the agent's side only."""

from __future__ import annotations

import hashlib

import msgspec

from foremesh.model.config import GatewayConfig


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


class FailoverTable(msgspec.Struct, frozen=True):
    """All that the process is told."""

    interval_ms: int
    missed: int
    routes: dict[str, RouteLabels]
    circuits: dict[str, CircuitLabels]

    @property
    def digest(self) -> str:
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()[:16]


def failover_table(config: GatewayConfig) -> FailoverTable | None:
    """The table of a config; None if no circuit ends here, and there is nothing to watch."""
    if not config.circuits:
        return None
    labels: dict[str, set[tuple[int, str, str]]] = {}
    far: dict[str, str] = {}
    for end in config.circuits:
        for label in end.labels:
            name = f"{end.remote_gateway} {label.route}" if label.route else f"label {label.number}"
            labels.setdefault(name, set()).add((label.number, label.own, label.far))
            far[name] = end.remote_gateway
    return FailoverTable(
        interval_ms=config.hello.interval_ms,
        missed=config.hello.missed,
        routes={name: RouteLabels(far[name], tuple(sorted(labels[name]))) for name in sorted(labels)},
        circuits={
            end.circuit: CircuitLabels(end.local_address, end.remote_address, end.send_label, end.standby_label)
            for end in sorted(config.circuits, key=lambda end: end.circuit)
        },
    )
