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
from functools import cached_property

import numpy as np

from foremesh.model.intent import Encryption, Profile
from foremesh.model.link import Node
from foremesh.model.policy import CostWeights, Prefer
from foremesh.model.series import Floats
from foremesh.routing.arrays import MOST, Arrays
from foremesh.routing.ledger import Ledger
from foremesh.routing.values import Ints

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


class Prices:
    """Costs in COST_SCALE, ready to be summed, for one set of weights; they follow what is promised of links.

    A link's cost holds its own terms and the load of the gateway it leads into; the load of the first gateway is the
    cost of starting there.
    """

    def __init__(self, pricer: Pricer, ledger: Ledger, weights: Weights, exposed: bool, prefer: tuple[Prefer, ...]):
        arrays = pricer.arrays
        self._dst, self._ends, self._ledger = arrays.topology.dst, arrays.topology.ends, ledger
        self._bandwidth_weight = weights.bandwidth * COST_SCALE
        self._latency = _priced(pricer.latency, weights.latency * COST_SCALE)
        self._loss = _priced(pricer.loss, weights.loss * COST_SCALE)
        self._price = _priced(pricer.price, weights.egress_price * COST_SCALE)
        self._load = _priced(pricer.load * weights.load, COST_SCALE)
        self._hop = round(weights.hops / HOPS_UNIT * COST_SCALE)
        shunned = [sum(not preferred(node, wish) for wish in prefer) for node in arrays.nodes]
        self._factor = UNPREFERRED_FACTOR ** np.array(shunned, dtype=np.float64) - 1
        self._fixed = self._latency + self._loss + self._price + self._load[self._dst] + self._hop
        self._seen = 0
        self._blind = bool(np.isnan(ledger.left_bps).any())
        self._worst_bandwidth = 0.0
        self.link: Ints = np.empty(0, dtype=np.int64)
        """By link."""
        self.start = self._load + _priced(self._load * self._factor, 1.0)
        """By gateway: the cost of starting there."""
        self.exposure = round(weights.encryption * COST_SCALE) if exposed else 0
        """Cost of each gateway strictly inside the path, where it sees the traffic in clear."""
        self._offset_per_ms = weights.latency * COST_SCALE / LATENCY_UNIT_MS
        self._unknown_offset = round(pricer.worst_latency * (weights.latency * COST_SCALE))
        self._reprice()

    def follow(self) -> None:
        """Take in what was promised since this was called last."""
        changed = self._ledger.changes[self._seen :]
        if not changed:
            return
        if self._blind and self._worst() != self._worst_bandwidth:
            self._reprice()
            return
        self._seen += len(changed)
        fixed, factor = self._listed[-2:]
        for link in dict.fromkeys(changed):
            own = fixed[link] + self._bandwidth(link)
            self.link[link] = own + min(MOST, round(own * factor[self._ends[link]]))

    def offset(self, rtt_ms: float | None) -> int:
        """Cost of an attachment's round trip before the first or after the last gateway."""
        return self._unknown_offset if rtt_ms is None else min(MOST, round(max(0.0, rtt_ms) * self._offset_per_ms))

    def delay(self, added_ms: Floats) -> Ints:
        """Cost of milliseconds on top of what is forecast for links; negative where they are fewer."""
        return np.rint(np.clip(added_ms * self._offset_per_ms, -MOST, MOST)).astype(np.int64)

    def terms(self, first: int, links: Sequence[int]) -> list[int]:
        """The cost of a path in the order of TERMS, attachments and exposure left out."""
        latency, loss, price, load, fixed, factor = self._listed
        sums = [0, 0, 0, self._hop * len(links), 0, load[first], int(self.start[first]) - load[first]]
        for link in links:
            bandwidth, end = self._bandwidth(link), self._ends[link]
            sums[0] += latency[link]
            sums[1] += bandwidth
            sums[2] += loss[link]
            sums[4] += price[link]
            sums[5] += load[end]
            if factor[end]:
                sums[6] += min(MOST, round((fixed[link] + bandwidth) * factor[end]))
        return sums

    @cached_property
    def _listed(self) -> tuple[list[int], list[int], list[int], list[int], list[int], list[float]]:
        """By link, or by gateway, for those who want one at a time, which arrays are slow at."""
        units = (self._latency, self._loss, self._price, self._load, self._fixed)
        latency, loss, price, load, fixed = (one.tolist() for one in units)
        return latency, loss, price, load, fixed, self._factor.tolist()

    def _bandwidth(self, link: int) -> int:
        left = self._ledger.left[link]
        units = self._worst_bandwidth if left != left else BANDWIDTH_UNIT_BPS / max(LEAST_FREE_BPS, left)
        return min(MOST, round(units * self._bandwidth_weight))

    def _worst(self) -> float:
        return _worst(BANDWIDTH_UNIT_BPS / np.maximum(LEAST_FREE_BPS, self._ledger.left_bps))

    def _reprice(self) -> None:
        self._seen = len(self._ledger.changes)
        known = BANDWIDTH_UNIT_BPS / np.maximum(LEAST_FREE_BPS, self._ledger.left_bps)
        units, self._worst_bandwidth = _known_or_worst(known)
        own = self._fixed + _priced(units, self._bandwidth_weight)
        self.link = own + _priced(own * self._factor[self._dst], 1.0) if self._factor.any() else own


class Pricer:
    """Turns a snapshot into prices. Everything that does not depend on who asks is worked out once."""

    def __init__(self, arrays: Arrays) -> None:
        self.arrays = arrays
        rtt, loss = arrays.rtt, np.minimum(MOST_LOSS, arrays.loss.median)
        spread = np.maximum(0.0, rtt.pessimistic - rtt.median)
        self.latency, self.worst_latency = _known_or_worst((rtt.median + RISK_SHARE * spread) / LATENCY_UNIT_MS)
        self.loss, _ = _known_or_worst(-np.log1p(-loss) / LOSS_UNIT)
        self.price, _ = _known_or_worst(arrays.price / PRICE_UNIT)
        self.load, _ = _known_or_worst(arrays.load.median / LOAD_UNIT)
        self._made: dict[tuple[object, ...], Prices] = {}

    def price_for(self, weights: Weights, encryption: Encryption, prefer: tuple[Prefer, ...], ledger: Ledger) -> Prices:
        """The price of every link and gateway.

        Args:
            weights: Importance of each term.
            encryption: Transits that see the traffic in clear cost only where it is hop by hop.
            prefer: What matching policies prefer; see UNPREFERRED_FACTOR.
            ledger: What other circuits have taken of links' free bandwidth.
        """
        exposed = encryption is Encryption.HOP_BY_HOP
        key = (weights, exposed, prefer, ledger)
        found = self._made.get(key)
        if found is None:
            found = self._made[key] = Prices(self, ledger, weights, exposed, prefer)
        found.follow()
        return found


def _priced(units: Floats | Ints, weight: float) -> Ints:
    """Units of cost times their weight, as integers."""
    return np.minimum(np.rint(units * weight), MOST).astype(np.int64)


def _worst(units: Floats) -> float:
    """The worst that is known; never 0, even where the worst is."""
    known = units[~np.isnan(units)]
    return float(known.max(initial=0.0)) or NOBODY_KNOWS_UNITS


def _known_or_worst(units: Floats) -> tuple[Floats, float]:
    """Every unknown replaced by the worst that is known, and that worst itself."""
    worst = _worst(units)
    return np.where(np.isnan(units), worst, units), worst
