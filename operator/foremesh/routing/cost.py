"""What a path costs: a weighted sum of terms, each measured in its own unit of "about as bad".

One unit of every term is meant to trouble a service about as much as one unit of another, so that weights say what
somebody cares about and not how big the numbers are. The units are fixed, not taken from the graph: a path's cost
must not change because a far-away link did. Costs are made of medians; the spread up to the pessimistic quantile is
priced into latency, because a steady 50 ms serves better than 20 ms that is sometimes 200.

An unknown figure costs as much as the worst known one of the graph: nobody wins by not being measured.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace

from foremesh.model.intent import Encryption, Profile
from foremesh.model.link import Figure, Node
from foremesh.model.policy import CostWeights, Prefer
from foremesh.routing.arrays import Arrays, log_loss

COST_SCALE = 10**9
"""Costs are summed in billionths of a unit, as integers; see ``arrays``."""
LATENCY_UNIT_MS = 100.0
"""Milliseconds of round trip: where interactive use begins to feel slow (a keystroke's echo, a call's turn-taking)."""
RISK_SHARE = 0.5
"""Share of the spread between median and pessimistic round trip added to the median: halfway between trusting the
forecast's middle and planning for its bad end."""
BANDWIDTH_UNIT_BPS = 100e6
"""Bit/s: a link with 100 Mbit/s free costs one unit, 1 Gbit/s a tenth; OSPF's reference bandwidth (RFC 2328, C.3)."""
LEAST_FREE_BPS = 1e6
"""Bit/s below which a link is as good as full; bounds the inverse."""
LOSS_UNIT = 0.01
"""Share lost: at 1 % and 100 ms a TCP flow falls to about 1 Mbit/s (Mathis et al., CCR 27(3), 1997)."""
MOST_LOSS = 0.9999
"""Loss at which the price stops growing; bounds the logarithm."""
HOPS_UNIT = 50.0
"""Links: one more link, with its processor time (half a millisecond in userspace) and its share of failures, is worth
2 ms of detour to avoid."""
PRICE_UNIT = 0.10
"""US dollars per gigabyte: about what large clouds charge for the first terabytes leaving them."""
LOAD_UNIT = 1.0
"""Share of a gateway in use: a gateway with nothing left."""
NOBODY_KNOWS_UNITS = 0.1
"""Units that an unknown figure costs when no link of the graph has it, or all have 0: above 0, yet too little to make
the term decide."""
UNPREFERRED_FACTOR = 1.25
"""Factor on what leads into a gateway that a matching MeshPolicy does not prefer: preferred paths win while they are
up to a quarter dearer."""

TERMS = ("latency", "bandwidth", "loss", "hops", "egressPrice", "load", "prefer", "encryption")
"""Names of the terms in ``Path.terms``. ``prefer`` is what UNPREFERRED_FACTOR adds to the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """Relative importance of the terms, without unit; 1 is the importance of latency in the Balanced profile.

    Raises:
        ValueError: If a weight is negative or not finite; the search would not be exact.
    """

    latency: float
    bandwidth: float
    loss: float
    hops: float
    encryption: float
    """Price of each transit that sees the traffic in clear; nothing where encryption is end to end."""
    egress_price: float
    load: float

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"cost weight {field.name} is {value}; it must be a finite number of at least 0")

    def override(self, weights: CostWeights) -> Weights:
        """These weights, with those that ``weights`` sets in their place."""
        names = [field.name for field in fields(self)]
        return replace(self, **{name: value for name in names if (value := getattr(weights, name)) is not None})


PROFILES: Mapping[Profile, Weights] = {
    Profile.BALANCED: Weights(
        latency=1.0, bandwidth=0.3, loss=1.0, hops=1.0, encryption=0.3, egress_price=0.5, load=0.2
    ),
    Profile.LATENCY: Weights(
        latency=3.0, bandwidth=0.1, loss=1.0, hops=1.0, encryption=0.2, egress_price=0.1, load=0.3
    ),
    Profile.THROUGHPUT: Weights(
        latency=0.3, bandwidth=3.0, loss=1.5, hops=1.0, encryption=0.3, egress_price=0.2, load=0.5
    ),
    Profile.COST: Weights(latency=0.3, bandwidth=0.1, loss=0.5, hops=0.5, encryption=0.3, egress_price=5.0, load=0.1),
}
"""Weights by profile; each favours its own concern by a factor that outweighs ordinary differences in the others."""


def names(gateway: str, listed: Iterable[str]) -> bool:
    """Whether a list of gateways, as people write it, means this one: by id (``namespace/name``) or by bare name."""
    short = gateway.rpartition("/")[2]
    return any(entry in (gateway, short) for entry in listed)


def preferred(node: Node, prefer: Prefer) -> bool:
    return node.region in prefer.regions or names(node.id, prefer.gateways)


@dataclass(frozen=True, slots=True)
class Prices:
    """Costs in COST_SCALE, ready to be summed. A link's cost holds its own terms and the load of the gateway it leads
    into; the load of the first gateway is the cost of starting there."""

    link_terms: Sequence[tuple[int, ...]]
    """By link, in the order of TERMS, ``encryption`` left out."""
    link: Sequence[int]
    start_terms: Sequence[tuple[int, ...]]
    start: Sequence[int]
    """By gateway: the cost of starting there."""
    exposure: int
    """Cost of each gateway strictly inside the path, where it sees the traffic in clear."""
    offset_per_ms: float
    unknown_offset: int

    def offset(self, rtt_ms: float | None) -> int:
        """Cost of an attachment's round trip before the first or after the last gateway."""
        return self.unknown_offset if rtt_ms is None else round(max(0.0, rtt_ms) * self.offset_per_ms)


class Pricer:
    """Turns a snapshot into prices. Everything that does not depend on who asks is worked out once."""

    def __init__(self, arrays: Arrays) -> None:
        self._arrays = arrays
        self._latency = _known_or_worst([None if rtt is None else _latency_units(rtt) for rtt in arrays.rtt])
        self._loss = _known_or_worst([None if loss is None else _loss_units(loss) for loss in arrays.loss])
        self._price = _known_or_worst([None if price is None else price / PRICE_UNIT for price in arrays.price])
        self._load = _known_or_worst([None if load is None else load.median / LOAD_UNIT for load in arrays.load])

    def price(
        self,
        weights: Weights,
        *,
        encryption: Encryption = Encryption.END_TO_END,
        prefer: Iterable[Prefer] = (),
        reserved_bps: Mapping[int, float] | None = None,
    ) -> Prices:
        """Price every link and gateway.

        Args:
            weights: Importance of each term.
            encryption: Transits that see the traffic in clear cost only where it is hop by hop.
            prefer: What matching policies prefer; see UNPREFERRED_FACTOR.
            reserved_bps: By link number, what other circuits have taken of its free bandwidth.
        """
        arrays, reserved, wishes = self._arrays, reserved_bps or {}, tuple(prefer)
        bandwidth = _known_or_worst(
            [
                None if free is None else _bandwidth_units(free.median - reserved.get(index, 0.0))
                for index, free in enumerate(arrays.free)
            ]
        )
        load = [round(units * weights.load * COST_SCALE) for units in self._load[0]]
        factor = [UNPREFERRED_FACTOR ** sum(not preferred(node, wish) for wish in wishes) - 1 for node in arrays.nodes]
        hop = round(weights.hops / HOPS_UNIT * COST_SCALE)
        w_latency, w_bandwidth, w_loss, w_price = (
            weight * COST_SCALE for weight in (weights.latency, weights.bandwidth, weights.loss, weights.egress_price)
        )
        link_terms: list[tuple[int, ...]] = []
        for index, end in enumerate(arrays.dst):
            own = (
                round(self._latency[0][index] * w_latency),
                round(bandwidth[0][index] * w_bandwidth),
                round(self._loss[0][index] * w_loss),
                hop,
                round(self._price[0][index] * w_price),
                load[end],
            )
            link_terms.append((*own, round(sum(own) * factor[end])))
        start_terms = [(0, 0, 0, 0, 0, cost, round(cost * extra)) for cost, extra in zip(load, factor, strict=True)]
        exposed = encryption is Encryption.HOP_BY_HOP
        return Prices(
            link_terms=link_terms,
            link=[sum(terms) for terms in link_terms],
            start_terms=start_terms,
            start=[sum(terms) for terms in start_terms],
            exposure=round(weights.encryption * COST_SCALE) if exposed else 0,
            offset_per_ms=w_latency / LATENCY_UNIT_MS,
            unknown_offset=round(self._latency[1] * w_latency),
        )


def _latency_units(rtt: Figure) -> float:
    return (rtt.median + RISK_SHARE * max(0.0, rtt.pessimistic - rtt.median)) / LATENCY_UNIT_MS


def _bandwidth_units(free_bps: float) -> float:
    return BANDWIDTH_UNIT_BPS / max(LEAST_FREE_BPS, free_bps)


def _loss_units(loss: Figure) -> float:
    return log_loss(min(MOST_LOSS, loss.median)) / LOSS_UNIT


def _known_or_worst(units: Sequence[float | None]) -> tuple[list[float], float]:
    """Every unknown replaced by the worst that is known, and that worst itself; never 0, even where the worst is."""
    worst = max((value for value in units if value is not None), default=0.0) or NOBODY_KNOWS_UNITS
    return [worst if value is None else value for value in units], worst
