"""What the lab's Internet is like: delay, jitter, loss and rate per directed pair of gateways, as functions of time.

Everything here is a pure function of its arguments, the clock included, and needs only the standard library: the
emulator runs it on packets, and a week of history is computed from it. It may not touch sockets or namespaces.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from ipaddress import IPv4Address, IPv4Network
from typing import Any

DAY_S = 86_400
"""Seconds in a day of UTC; leap seconds do not move a rush hour."""


class WorldError(ValueError):
    """A description of the Internet that cannot be: says which field of which pair, and what was found."""


@dataclass(frozen=True, slots=True)
class Incident:
    """A bad spell on one directed pair, from ``start_s`` until before ``end_s`` (seconds since 1970, UTC).

    ``delay_ms`` and ``loss`` (a fraction) come on top of the pair's own; 1 as ``loss`` is a cut.
    """

    start_s: float
    end_s: float
    delay_ms: float = 0.0
    loss: float = 0.0

    def __post_init__(self) -> None:
        _number("incident", "start_s", self.start_s)
        _number("incident", "end_s", self.end_s)
        _number("incident", "delay_ms", self.delay_ms)
        _number("incident", "loss", self.loss, high=1.0)
        if self.end_s <= self.start_s:
            raise WorldError(f"incident: end_s={self.end_s} is not after start_s={self.start_s}; it would never happen")


@dataclass(frozen=True, slots=True)
class Pair:
    """One way from one gateway to another.

    Attributes:
        delay_ms: One-way delay at the quietest hour, milliseconds.
        diurnal_ms: What the busiest hour adds to it, milliseconds; the swing between is a cosine of a day's period.
        peak_hour: The busiest hour, UTC, 0 to 24.
        jitter_ms: Each packet's delay varies evenly by up to this much either way, milliseconds.
        loss: Fraction of packets lost, 0 to 1; 1 is a cut.
        rate_bps: Bits a second of IP packets, or None for as fast as the machine can.
        buffer_ms: How long the queue before that rate may be, milliseconds; what comes later is dropped at the tail.
        reorder: Whether jitter may let a packet overtake the one before it.
        incidents: Bad spells.
    """

    delay_ms: float
    diurnal_ms: float = 0.0
    peak_hour: float = 0.0
    jitter_ms: float = 0.0
    loss: float = 0.0
    rate_bps: float | None = None
    buffer_ms: float = 20.0
    reorder: bool = False
    incidents: tuple[Incident, ...] = ()

    def __post_init__(self) -> None:
        for name in ("delay_ms", "diurnal_ms", "jitter_ms", "buffer_ms"):
            _number("pair", name, getattr(self, name))
        _number("pair", "peak_hour", self.peak_hour, high=24.0)
        _number("pair", "loss", self.loss, high=1.0)
        if self.rate_bps is not None:
            _number("pair", "rate_bps", self.rate_bps, low=1.0)
        if not isinstance(self.reorder, bool):
            raise WorldError(f"pair: reorder must be true or false, not {self.reorder!r}")

    def delay_ms_at(self, at_s: float) -> float:
        """One-way delay in milliseconds at ``at_s`` (seconds since 1970, UTC), without jitter or queueing."""
        phase = 2 * math.pi * (at_s % DAY_S / DAY_S - self.peak_hour / 24)
        busy = self.diurnal_ms * (1 + math.cos(phase)) / 2
        return self.delay_ms + busy + sum(i.delay_ms for i in self.incidents if i.start_s <= at_s < i.end_s)

    def loss_at(self, at_s: float) -> float:
        """Fraction of packets lost at ``at_s`` (seconds since 1970, UTC), without what a full queue drops."""
        return min(1.0, self.loss + sum(i.loss for i in self.incidents if i.start_s <= at_s < i.end_s))

    @property
    def steady(self) -> bool:
        """Whether the pair is the same at any time."""
        return not self.diurnal_ms and not self.incidents


@dataclass(frozen=True, slots=True)
class World:
    """Every directed pair of gateway addresses the Internet carries; what is not in it is dropped.

    Attributes:
        pairs: (source address, destination address) to how that way is.
        behind: Prefixes the Internet also carries, each to the gateway address in front of it: how a packet that
            should have been in a tunnel would travel in clear.
        seed: Seed of jitter and loss: same seed, same packets, same fate.
    """

    pairs: Mapping[tuple[str, str], Pair]
    behind: Mapping[str, str] = field(default_factory=dict)
    seed: int = 1

    def __post_init__(self) -> None:
        for src, dst in self.pairs:
            for address in (src, dst):
                _address(f"pair {src} -> {dst}", address)
            if src == dst:
                raise WorldError(f"pair {src} -> {dst}: a gateway does not reach itself over the Internet")
        for prefix, address in self.behind.items():
            _address(f"behind {prefix}", address)
            try:
                IPv4Network(prefix)
            except ValueError as error:
                raise WorldError(f"behind {prefix}: not an IPv4 prefix: {error}") from None

    def to_json(self) -> str:
        """The world as JSON that :meth:`from_json` reads back."""
        pairs = [{"src": src, "dst": dst, **asdict(pair)} for (src, dst), pair in self.pairs.items()]
        return json.dumps({"seed": self.seed, "behind": dict(self.behind), "pairs": pairs})

    @classmethod
    def from_json(cls, text: str | bytes) -> World:
        """Read a world.

        Raises:
            WorldError: If the text is not JSON, a field is missing, unknown or out of range, or a pair is there twice.
        """
        try:
            data = json.loads(text)
        except ValueError as error:
            raise WorldError(f"world: not JSON: {error}") from None
        if not isinstance(data, dict) or not isinstance(data.get("pairs"), list):
            raise WorldError('world: expected an object with a list "pairs"')
        _known("world", data, {"seed", "behind", "pairs"})
        pairs: dict[tuple[str, str], Pair] = {}
        for number, item in enumerate(data["pairs"]):
            if not isinstance(item, dict) or not {"src", "dst", "delay_ms"} <= item.keys():
                raise WorldError(f"pair number {number}: needs src, dst and delay_ms")
            key = (str(item["src"]), str(item["dst"]))
            if key in pairs:
                raise WorldError(f"pair {key[0]} -> {key[1]}: described twice")
            pairs[key] = _pair({k: v for k, v in item.items() if k not in ("src", "dst")}, f"{key[0]} -> {key[1]}")
        seed, behind = data.get("seed", 1), data.get("behind", {})
        if not isinstance(seed, int) or not isinstance(behind, dict):
            raise WorldError("world: seed must be a whole number and behind an object")
        return cls(pairs, behind, seed)


def _pair(data: dict[str, Any], name: str) -> Pair:
    _known(f"pair {name}", data, {f.name for f in fields(Pair)})
    try:
        incidents = tuple(Incident(**i) for i in data.get("incidents", ()))
        return Pair(**{**data, "incidents": incidents})
    except TypeError as error:
        raise WorldError(f"pair {name}: incidents: {error}") from None
    except WorldError as error:
        raise WorldError(f"{name}: {error}") from None


def _known(what: str, data: dict[str, Any], names: set[str]) -> None:
    if unknown := sorted(data.keys() - names):
        raise WorldError(f"{what}: unknown field {', '.join(unknown)}; known are {', '.join(sorted(names))}")


def _number(what: str, name: str, value: object, *, low: float = 0.0, high: float = math.inf) -> None:
    ok = (
        isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and low <= value <= high
    )
    if not ok:
        bounds = f"from {low:g} to {high:g}" if high < math.inf else f"of at least {low:g}"
        raise WorldError(f"{what}: {name} must be a number {bounds}, not {value!r}")


def _address(what: str, value: str) -> None:
    try:
        IPv4Address(value)
    except ValueError as error:
        raise WorldError(f"{what}: {error}") from None
