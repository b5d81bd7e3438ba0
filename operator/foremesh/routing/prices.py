"""What links and gateways of one snapshot cost, term by term (``cost``) and summed up: all of it stays as it is while a
plan is made, but for bandwidth, whose price rises with what is promised of a link.
"""

from __future__ import annotations

from copy import copy
from typing import NamedTuple

import numpy as np

from foremesh.compiled import called, compiled
from foremesh.model.intent import Encryption
from foremesh.model.policy import Prefer
from foremesh.model.series import Floats
from foremesh.routing.arrays import MOST, Arrays
from foremesh.routing.cost import (
    BANDWIDTH_UNIT_BPS,
    COST_SCALE,
    HOPS_UNIT,
    JITTER_UNIT_MS,
    LATENCY_UNIT_MS,
    LEAST_FREE_BPS,
    LOAD_UNIT,
    LOSS_UNIT,
    MOST_LOSS,
    NOBODY_KNOWS_UNITS,
    PRICE_UNIT,
    RISK_SHARE,
    UNPREFERRED_FACTOR,
    Weights,
)
from foremesh.routing.gateways import preferred
from foremesh.routing.ledger import Ledger
from foremesh.routing.order import Order
from foremesh.routing.values import Ints

_NOTHING_KNOWN: Ints = np.empty(0, dtype=np.int64)
"""Stands for what links cost at least, where that is to be worked out again."""


class Tables(NamedTuple):
    """What ``Prices`` are made of."""

    link: Ints
    """By link, what it costs,"""
    fixed: Ints
    """and what it costs but for bandwidth and ``factor``."""
    factor: Floats
    """By gateway: the share by which links into it cost more."""
    start: Ints
    rates: Floats
    """Units that bandwidth costs where it is unknown, its weight, and what a millisecond of an attachment costs."""
    unknown_offset: Ints
    """What an attachment costs whose round trip is unknown."""


class Prices:
    """Costs in COST_SCALE, ready to be summed, for one set of weights; they follow what is promised of links.

    A link's cost holds its own terms and the load of the gateway it leads into; the load of the first gateway is the
    cost of starting there.
    """

    def __init__(self, pricer: Pricer, ledger: Ledger, weights: Weights, prefer: tuple[Prefer, ...]):
        arrays = pricer.arrays
        self._dst, self._ledger, self._weights = arrays.topology.dst, ledger, weights
        self._bandwidth_weight = weights.bandwidth * COST_SCALE
        self._latency = _priced(pricer.latency, weights.latency * COST_SCALE)
        self._loss = _priced(pricer.loss, weights.loss * COST_SCALE)
        self._price = _priced(pricer.price, weights.egress_price * COST_SCALE)
        self._load = _priced(pricer.load * weights.load, COST_SCALE)
        self._jitter = _priced(pricer.jitter, weights.jitter * COST_SCALE)
        self._hop = round(weights.hops / HOPS_UNIT * COST_SCALE)
        shunned = [sum(not preferred(node, wish) for wish in prefer) for node in arrays.nodes]
        self._factor = UNPREFERRED_FACTOR ** np.array(shunned, dtype=np.float64) - 1
        self._fixed = self._latency + self._loss + self._price + self._load[self._dst] + self._jitter + self._hop
        self._seen = 0
        self.blind = bool(np.isnan(ledger.left_bps).any())
        self._worst_bandwidth = 0.0
        self.link: Ints = np.empty(0, dtype=np.int64)
        """By link."""
        self._topology, self._order = arrays.topology, arrays.topology.unordered
        self._bare: Prices | None = None
        """The same before anything was promised,"""
        self._twin: Prices | None = None
        """and the same where transits do not see the traffic."""
        self._least = _NOTHING_KNOWN
        """What links cost when they were put in order."""
        self.start = self._load + _priced(self._load * self._factor, 1.0)
        """By gateway: the cost of starting there."""
        self.exposure = 0
        """Cost of each gateway strictly inside the path, where it sees the traffic in clear."""
        self._offset_per_ms = weights.latency * COST_SCALE / LATENCY_UNIT_MS
        self._unknown_offset = round(pricer.worst_latency * (weights.latency * COST_SCALE))
        self._reprice()

    def follow(self) -> None:
        """Take in what was promised since this was called last."""
        changed = self._ledger.changes[self._seen :]
        if not changed.size:
            return
        if self.blind and self._worst() != self._worst_bandwidth:
            self._reprice()
            return
        self._seen += changed.size
        cheaper = reprice(
            changed,
            self._dst,
            self._fixed,
            self._factor,
            self._ledger.left_bps,
            self._worst_bandwidth,
            self._bandwidth_weight,
            self.link,
            self._least,
        )
        if cheaper:
            self._least = _NOTHING_KNOWN

    @property
    def order(self) -> Order:
        """Links in the order of prices, of which none is less now than it was then."""
        if self._twin is not None:
            return self._twin.order
        if self._least is _NOTHING_KNOWN:
            bare = self._bare
            if bare is not None and bare.order and bool((bare._least <= self.link).all()):
                self._least, self._order = bare._least, bare._order
            else:
                self.put_in_order()
        return self._order

    def put_in_order(self) -> None:
        self._least = self.link.copy()
        self._order = self._topology.ordered(self._least)

    def for_ledger(self, ledger: Ledger) -> Prices:
        """The same with nothing promised by another ledger of this snapshot; this one has nothing promised either."""
        other = copy(self)
        other._ledger, other._seen, other.link, other._bare = ledger, 0, self.link.copy(), self
        other._least = _NOTHING_KNOWN
        return other

    def in_clear(self) -> Prices:
        """The same where transits see the traffic; both follow what is promised."""
        other = copy(self)
        other._twin = self
        other.exposure = round(self._weights.encryption * COST_SCALE)
        return other

    def with_changes(self, pricer: Pricer, ledger: Ledger, changed: Ints) -> Prices:
        """The same for a snapshot in which the figures of some links are others, while the worst that are known are
        not; nothing is promised of either."""
        other, weights = copy(self), self._weights
        for name, units, weight in (
            ("_latency", pricer.latency, weights.latency),
            ("_loss", pricer.loss, weights.loss),
            ("_price", pricer.price, weights.egress_price),
            ("_jitter", pricer.jitter, weights.jitter),
        ):
            figures, now = getattr(self, name), _priced(units[changed], weight * COST_SCALE)
            if not np.array_equal(figures[changed], now):
                figures = figures.copy()
                figures[changed] = now
                setattr(other, name, figures)
        other._ledger, other._fixed, other.link = ledger, self._fixed.copy(), self.link.copy()
        parts = (other._latency, other._loss, other._price, other._jitter)
        other._fixed[changed] = sum(part[changed] for part in parts) + self._load[self._dst[changed]] + self._hop
        other._unknown_offset = round(pricer.worst_latency * (weights.latency * COST_SCALE))
        if reprice(
            changed,
            self._dst,
            other._fixed,
            self._factor,
            ledger.left_bps,
            self._worst_bandwidth,
            self._bandwidth_weight,
            other.link,
            self._least,
        ):
            other._lower(changed)
        return other

    def _lower(self, changed: Ints) -> None:
        """Put those of some links where they belong in the order that cost less than was known."""
        links = changed[self.link[changed] < self._least[changed]]
        self._least = self._least.copy()
        self._least[links] = self.link[links]
        topology = self._topology
        ends = (topology.src, topology.dst, topology.out_start, topology.into_start)
        self._order = self._order.lowered(links, *ends, self._least)

    def offset(self, rtt_ms: float | None) -> int:
        """Cost of an attachment's round trip before the first or after the last gateway."""
        if rtt_ms is None:
            return self._unknown_offset
        return min(MOST, round(rtt_ms * self._offset_per_ms)) if rtt_ms > 0 else 0

    def delay(self, added_ms: Floats) -> Ints:
        """Cost of milliseconds on top of what is forecast for links; negative where they are fewer."""
        cost = np.maximum(-MOST, np.minimum(MOST, added_ms * self._offset_per_ms))  # np.clip takes thrice as long
        return np.rint(cost).astype(np.int64)

    def tables(self) -> Tables:
        """What prices are made of, for whoever keeps them up to date himself."""
        rates = (self._worst_bandwidth, self._bandwidth_weight, self._offset_per_ms)
        return Tables(self.link, self._fixed, self._factor, self.start, np.array(rates), np.array(self._unknown_offset))

    def terms(self, first: int, links: Ints) -> list[int]:
        """The cost of a path in the order of TERMS, attachments and exposure left out."""
        sums, left_bps = np.empty(8, dtype=np.int64), self._ledger.left_bps
        add_terms_now(first, links, left_bps, self._worst_bandwidth, self._bandwidth_weight, *self._parts(), sums)
        found: list[int] = sums.tolist()
        return found

    def terms_of(self, first: Ints, begin: Ints, links: Ints, bandwidth: Ints) -> Ints:
        """``terms`` of many paths, a row for each.

        Args:
            first: By path, the gateway where it begins.
            begin: By path, where its links begin among ``links``; one more at the end.
            bandwidth: By link, what it cost for what it had left.
        """
        sums = np.empty((first.size, 8), dtype=np.int64)
        add_terms(first, begin, links, bandwidth, *self._parts(), sums)
        return sums

    def _parts(self) -> tuple[Ints, Ints, int, Ints, Ints, Ints, Ints, Ints, Ints, Floats]:
        """What terms are made of, as the compiled functions take it."""
        costs = (self._latency, self._loss, self._price, self._load, self._jitter)
        return (self._dst, self.start, self._hop, *costs, self._fixed, self._factor)

    def _worst(self) -> float:
        return worst_known(BANDWIDTH_UNIT_BPS / np.maximum(LEAST_FREE_BPS, self._ledger.left_bps))

    def _reprice(self) -> None:
        self._seen = self._ledger.changes.size
        known = BANDWIDTH_UNIT_BPS / np.maximum(LEAST_FREE_BPS, self._ledger.left_bps)
        units, self._worst_bandwidth = _known_or_worst(known)
        own = self._fixed + _priced(units, self._bandwidth_weight)
        self.link = own + _priced(own * self._factor[self._dst], 1.0) if self._factor.any() else own
        self._least = _NOTHING_KNOWN


class Pricer:
    """Turns a snapshot into prices. Everything that does not depend on who asks is worked out once."""

    def __init__(self, arrays: Arrays) -> None:
        self.arrays = arrays
        rtt, loss = arrays.rtt, np.minimum(MOST_LOSS, arrays.loss.median)
        spread = np.maximum(0.0, rtt.pessimistic - rtt.median)
        self.latency, self.worst_latency = _known_or_worst((rtt.median + RISK_SHARE * spread) / LATENCY_UNIT_MS)
        self.loss, worst_loss = _known_or_worst(-np.log1p(-loss) / LOSS_UNIT)
        self.price, worst_price = _known_or_worst(arrays.price / PRICE_UNIT)
        self.load, _ = _known_or_worst(arrays.load.median / LOAD_UNIT)
        # Where nobody tells any, as in many recordings, there is nothing to compare by.
        told = not np.isnan(arrays.jitter_ms).all()
        varies = np.maximum(0.0, arrays.jitter_ms) / JITTER_UNIT_MS
        self.jitter, worst_jitter = _known_or_worst(varies) if told else (np.zeros_like(varies), 0.0)
        self._unknown = [bool(np.isnan(one).any()) for one in (rtt.median, loss, arrays.price, arrays.jitter_ms)]
        self._worst = (self.worst_latency, worst_loss, worst_price, worst_jitter)
        self._made: dict[tuple[object, ...], Prices] = {}
        self._bare: Ledger | None = None

    def keep_bare(self, ledger: Ledger) -> None:
        """Take prices with nothing promised from those of a ledger of which nothing ever will be."""
        self._bare = ledger

    def take(self, before: Pricer, changed: Ints) -> None:
        """Take bare prices from those of a snapshot that had other figures for some links, where they are still
        good: what is unknown costs as much as the worst that is known."""
        assert self._bare is not None
        pairs = zip(self._unknown, before._unknown, self._worst, before._worst, strict=True)
        if any((unknown or was) and worst != other for unknown, was, worst, other in pairs):
            return
        if np.isnan(self._bare.left_bps[changed]).any():
            return
        for (weights, prefer, ledger), prices in before._made.items():
            if ledger is before._bare and not prices.blind:
                key = (weights, prefer, self._bare)
                self._made[key] = prices.with_changes(self, self._bare, changed)

    def price_for(self, weights: Weights, encryption: Encryption, prefer: tuple[Prefer, ...], ledger: Ledger) -> Prices:
        """The price of every link and gateway.

        Args:
            weights: Importance of each term.
            encryption: Transits that see the traffic in clear cost only where it is hop by hop.
            prefer: What matching policies prefer; see UNPREFERRED_FACTOR.
            ledger: What other circuits have taken of links' free bandwidth.
        """
        key = (weights, prefer, ledger)
        found = self._made.get(key)
        if found is None:
            if self._bare in (None, ledger):
                found = Prices(self, ledger, weights, prefer)
                if ledger is self._bare:
                    found.put_in_order()
            else:
                found = self.price_for(weights, Encryption.END_TO_END, prefer, self._bare).for_ledger(ledger)
            self._made[key] = found
        found.follow()
        return found.in_clear() if encryption is Encryption.HOP_BY_HOP else found


@called
def bandwidth_price(left: float, worst: float, weight: float) -> int:
    """What a link costs for what it has left, in bit/s; NaN is unknown."""
    units = worst if np.isnan(left) else BANDWIDTH_UNIT_BPS / max(LEAST_FREE_BPS, left)
    return int(min(MOST, np.rint(units * weight)))


@called
def price_now(one: int, dst: Ints, fixed: Ints, factor: Floats, left_bps: Floats, worst: float, weight: float) -> int:
    """What a link costs."""
    own = fixed[one] + bandwidth_price(left_bps[one], worst, weight)
    return int(own + int(min(MOST, np.rint(own * factor[dst[one]]))))


@compiled("b1(i8[::1],i8[::1],i8[::1],f8[::1],f8[::1],f8,f8,i8[::1],i8[::1])")
def reprice(
    changed: Ints,
    dst: Ints,
    fixed: Ints,
    factor: Floats,
    left_bps: Floats,
    worst: float,
    weight: float,
    link: Ints,
    least: Ints,
) -> bool:
    """Prices of the links that changed, as ``Prices`` has them; whether one is now less than it was known to be."""
    cheaper = False
    for one in changed:
        link[one] = price_now(one, dst, fixed, factor, left_bps, worst, weight)
        cheaper = cheaper or (one < least.size and link[one] < least[one])
    return cheaper


@called
def begin_terms(first: int, hops: int, start: Ints, hop: int, load: Ints, sums: Ints) -> None:
    """The terms of a path of so many links, before any of them but for their number."""
    sums[:] = 0
    sums[3] = hop * hops
    sums[5] = load[first]
    sums[6] = start[first] - load[first]


@called
def add_link(
    one: int,
    bandwidth: int,
    dst: Ints,
    latency: Ints,
    loss: Ints,
    price: Ints,
    load: Ints,
    jitter: Ints,
    fixed: Ints,
    factor: Floats,
    sums: Ints,
) -> None:
    """Add what a link costs to the terms of a path; hops are not."""
    end = dst[one]
    sums[0] += latency[one]
    sums[1] += bandwidth
    sums[2] += loss[one]
    sums[4] += price[one]
    sums[5] += load[end]
    sums[6] += int(min(MOST, np.rint((fixed[one] + bandwidth) * factor[end])))
    sums[7] += jitter[one]


@compiled(
    "void(i8,i8[::1],f8[::1],f8,f8,i8[::1],i8[::1],i8,i8[::1],i8[::1],i8[::1],i8[::1],i8[::1],i8[::1],f8[::1],i8[::1])"
)
def add_terms_now(
    first: int,
    links: Ints,
    left_bps: Floats,
    worst: float,
    weight: float,
    dst: Ints,
    start: Ints,
    hop: int,
    latency: Ints,
    loss: Ints,
    price: Ints,
    load: Ints,
    jitter: Ints,
    fixed: Ints,
    factor: Floats,
    sums: Ints,
) -> None:
    """What one path costs with what its links have left, term by term."""
    begin_terms(first, links.size, start, hop, load, sums)
    for one in links:
        bandwidth = bandwidth_price(left_bps[one], worst, weight)
        add_link(one, bandwidth, dst, latency, loss, price, load, jitter, fixed, factor, sums)


@compiled(
    "void(i8[::1],i8[::1],i8[::1],i8[::1],i8[::1],i8[::1],i8,i8[::1],i8[::1],i8[::1],i8[::1],i8[::1],i8[::1],f8[::1],i8[:,::1])"
)
def add_terms(
    first: Ints,
    begin: Ints,
    links: Ints,
    bandwidth: Ints,
    dst: Ints,
    start: Ints,
    hop: int,
    latency: Ints,
    loss: Ints,
    price: Ints,
    load: Ints,
    jitter: Ints,
    fixed: Ints,
    factor: Floats,
    sums: Ints,
) -> None:
    """The same of many paths, by what each link cost for what it had left."""
    for row in range(first.size):
        begin_terms(first[row], begin[row + 1] - begin[row], start, hop, load, sums[row])
        for place in range(begin[row], begin[row + 1]):
            paid = bandwidth[place]
            add_link(links[place], paid, dst, latency, loss, price, load, jitter, fixed, factor, sums[row])


def _priced(units: Floats | Ints, weight: float) -> Ints:
    """Units of cost times their weight, as integers."""
    return np.minimum(np.rint(units * weight), MOST).astype(np.int64)


def worst_known(units: Floats) -> float:
    """The worst that is known; never 0, even where the worst is."""
    known = units[~np.isnan(units)]
    return float(known.max(initial=0.0)) or NOBODY_KNOWS_UNITS


def _known_or_worst(units: Floats) -> tuple[Floats, float]:
    """Every unknown replaced by the worst that is known, and that worst itself."""
    worst = worst_known(units)
    return np.where(np.isnan(units), worst, units), worst
