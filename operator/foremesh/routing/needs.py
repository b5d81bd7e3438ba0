"""Each requirement as explanations see it: whether it is asked, how to let go of it, what it looks like in a manifest,
which figure of a link it needs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from typing import Any

import numpy as np
from msgspec import structs

from foremesh.model.intent import Avoid, Requirements
from foremesh.model.link import Node
from foremesh.model.units import Bandwidth, Milliseconds, Price, Ratio, Unit
from foremesh.routing.arrays import BPS_SCALE, LOSS_SCALE, NO_LIMIT, NS_PER_MS, PRICE_SCALE, Arrays
from foremesh.routing.ask import Ask
from foremesh.routing.gateways import allows
from foremesh.routing.values import Bools

DIGITS = 4
"""Significant digits of a nearest figure: enough to act on; it is rounded to the side on which it stays feasible."""
NOISE_DIGITS = 13
"""Significant digits up to which a figure is trusted before it is rounded; the rest is noise of binary fractions."""

SUMS = ("maxLatency", "maxLoss", "maxHops", "maxEgressPrice")
"""Requirements on a sum over the path."""
BOTTLENECKS = ("minBandwidth", "reverse")
"""Requirements on every link of the path."""
SETS = ("regions", "providers", "gatewayLabels", "avoid", "policy")
"""Requirements on the gateways of the path; ``policy`` are the gateways that MeshPolicies want
passed."""
PASSING = ("maxLatency", "maxLoss", "minBandwidth", "reverse")
"""Requirements on what changes by itself."""
LISTS = ("regions", "providers", "gatewayLabels")
"""Those of SETS that are lists of what every gateway has to be in, of, or labelled with."""
NAMES = ("maxLatency", "minBandwidth", "reverse", "maxLoss", "maxHops", "maxEgressPrice", *SETS)

FIELDS = {
    "maxLatency": "max_latency",
    "minBandwidth": "min_bandwidth",
    "reverse": "reverse",
    "maxLoss": "max_loss",
    "maxHops": "max_hops",
    "maxEgressPrice": "max_egress_price",
    "regions": "regions",
    "providers": "providers",
    "gatewayLabels": "gateway_labels",
    "avoid": "avoid",
}
"""Name in a manifest to field of ``Requirements``."""


def short(gateway: str) -> str:
    """A gateway for people: its name without namespace."""
    return gateway.rpartition("/")[2]


def asked(ask: Ask) -> tuple[str, ...]:
    """Names of the requirements that an Ask has."""
    return tuple(name for name in NAMES if _is_set(ask, name))


def _is_set(ask: Ask, name: str) -> bool:
    if name == "policy":
        return bool(ask.through)
    value = getattr(ask.requirements, FIELDS[name])
    return value not in (None, (), Avoid())


def with_value(ask: Ask, name: str, value: Any) -> Ask:
    """The Ask with another value of one requirement."""
    if name == "policy":
        return replace(ask, through=value)
    return replace(ask, requirements=structs.replace(ask.requirements, **{FIELDS[name]: value}))


def without(ask: Ask, dropped: Iterable[str]) -> Ask:
    """The Ask without some of its requirements."""
    for name in dropped:
        ask = with_value(ask, name, _NOTHING.get(name))
    return ask


_NOTHING: dict[str, Any] = {"regions": (), "providers": (), "gatewayLabels": (), "avoid": Avoid(), "policy": ()}

UNBOUNDED: dict[str, Any] = {
    "maxLatency": Milliseconds(math.inf),
    "minBandwidth": Bandwidth(0),
    "reverse": Bandwidth(0),
    "maxLoss": Ratio(1.0),
    "maxHops": NO_LIMIT,
    "maxEgressPrice": Price(math.inf),
}
"""Values of a sum or bottleneck that exclude nothing but what is unknown."""


def asked_text(ask: Ask, name: str) -> str:
    """What is asked, as it would stand in the manifest."""
    if name == "policy":
        return " and ".join(f"one of {_listing(group)}" for group in ask.through)
    value = getattr(ask.requirements, FIELDS[name])
    if name == "avoid":
        return avoid_text(value)
    if name in LISTS:
        return _listing(value)
    return str(value) if name == "maxHops" else unit_text(UNITS[name](value))


def asking(ask: Ask, name: str, text: str) -> Ask:
    """The Ask with what ``asked_text`` says of one of SETS: policies impose these, and only their text is kept."""
    if name == "policy":
        groups = (group.removeprefix("one of ") for group in text.split(" and "))
        return with_value(ask, name, tuple(tuple(group.split(", ")) for group in groups))
    if name == "avoid":
        parts = {
            kind: tuple(entries.split(", ")) for kind, _, entries in (one.partition(" ") for one in text.split("; "))
        }
        labels = parts.pop("labels", ())
        return with_value(ask, name, Avoid(**parts, gateway_labels=labels))
    return with_value(ask, name, tuple(text.split(", ")))


UNITS: dict[str, type[Unit]] = {
    "maxLatency": Milliseconds,
    "minBandwidth": Bandwidth,
    "reverse": Bandwidth,
    "maxLoss": Ratio,
    "maxEgressPrice": Price,
}


def unit_text(value: Unit) -> str:
    """A quantity as people write it; small prices without an exponent, which manifests do not know."""
    return f"{Decimal(f'{float(value):.6g}'):f}" if isinstance(value, Price) else str(value)


def _listing(entries: Iterable[str]) -> str:
    return ", ".join(sorted(entries))


def avoid_text(avoid: Avoid) -> str:
    parts = (
        ("regions", avoid.regions),
        ("providers", avoid.providers),
        ("gateways", avoid.gateways),
        ("labels", avoid.gateway_labels),
    )
    return "; ".join(f"{kind} {_listing(entries)}" for kind, entries in parts if entries)


def value_of(name: str, units: int) -> float:
    """A sum or bottleneck in the requirement's base unit."""
    if name == "maxLoss":
        return 0.0 - math.expm1(-units / LOSS_SCALE)  # so that nothing is 0 and not -0
    scale = {"maxLatency": NS_PER_MS, "maxEgressPrice": PRICE_SCALE, "maxHops": 1}.get(name, BPS_SCALE)
    return units / scale


def rounded(name: str, value: float) -> float:
    """A nearest figure short enough to read, on the feasible side of the exact one."""
    plain = Context(prec=NOISE_DIGITS).create_decimal_from_float(value)
    side = ROUND_FLOOR if name in BOTTLENECKS else ROUND_CEILING
    return float(Context(prec=DIGITS, rounding=side).create_decimal(plain))


def words_of(name: str, value: float) -> str:
    """A nearest figure of a sum or bottleneck as people write it."""
    return str(round(value)) if name == "maxHops" else unit_text(UNITS[name](rounded(name, value)))


def over_text(arrays: Arrays, link: int) -> str:
    """The underlay of a link as a remark behind its ends; nothing where no other joins them."""
    return "".join(f" ({one})" for one in arrays.topology.underlays([link]))


def offends(name: str, ask: Ask) -> Callable[[Node], bool]:
    """Whether a gateway breaks one of SETS, ``policy`` left out."""
    only = Requirements(**{FIELDS[name]: getattr(ask.requirements, FIELDS[name])})
    return lambda node: not allows(only, node)


@dataclass(frozen=True, slots=True)
class Unknown:
    """A figure that a requirement needs and the snapshot does not have."""

    what: str
    where: str
    why: str

    def __str__(self) -> str:
        return f"{self.what} of {self.where} unknown: {self.why}"


def unknown_mask(arrays: Arrays, name: str) -> Bools:
    """By link, whether a requirement misses a figure of it."""
    if name in BOTTLENECKS:
        missing = np.append(np.isnan(arrays.free.pessimistic), True)
        return missing[:-1] if name == "minBandwidth" else missing[arrays.topology.reverse]
    known = arrays.sums((name,))[1] if name in SUMS else None
    if known is not None:
        return ~known
    return np.zeros(len(arrays.links), dtype=np.bool_)


def unknown(arrays: Arrays, name: str, link: int) -> Unknown | None:
    """What a requirement misses about a link, if anything."""
    if not unknown_mask(arrays, name)[link]:
        return None
    id, back = arrays.topology.link_ids[link], int(arrays.topology.reverse[link])
    over = over_text(arrays, link)
    where = f"{short(id.src)}->{short(id.dst)}{over}"
    if name == "maxLatency":
        return Unknown("round-trip time", where, "no samples")
    if name == "maxLoss":
        return Unknown("loss", where, "no samples")
    if name == "maxEgressPrice":
        return Unknown("egress price", where, f"{short(id.src)} declares none")
    if name == "minBandwidth":
        return Unknown("free bandwidth", where, _why_no_bandwidth(arrays, link))
    why = "there is no such link" if back < 0 else _why_no_bandwidth(arrays, back)
    return Unknown("free bandwidth", f"{short(id.dst)}->{short(id.src)}{over}", why)


def _why_no_bandwidth(arrays: Arrays, link: int) -> str:
    return "no capacity declared" if arrays.links[link].capacity_bps is None else "no samples"
