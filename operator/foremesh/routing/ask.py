"""Questions to the graph: what an Intent asks, laid over a snapshot as a problem for the exact search, and back.

Hard requirements are checked on pessimistic figures, and an unknown figure meets none.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from foremesh.model.circuit import Figures
from foremesh.model.intent import Encryption, Requirements
from foremesh.model.link import Figure, LinkId, Node
from foremesh.model.plan import Path
from foremesh.model.policy import Prefer
from foremesh.routing.arrays import BPS_SCALE, LOSS_SCALE, NO_LIMIT, NS_PER_MS, PRICE_SCALE, Arrays, down, log_loss, up
from foremesh.routing.cost import COST_SCALE, TERMS, Pricer, Prices, Weights, names
from foremesh.routing.labels import Limit, Problem, Route, routes

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One question to the graph.

    ``sources`` and ``destinations`` map gateways to the round trip in milliseconds of the attachment behind them (0:
    the gateway itself is the end; None: unknown). Any source may be joined with any destination.
    """

    sources: Mapping[str, float | None]
    destinations: Mapping[str, float | None]
    requirements: Requirements
    weights: Weights
    prefer: tuple[Prefer, ...] = ()
    through: tuple[tuple[str, ...], ...] = ()
    """Of each of these groups, the path must pass at least one gateway (its ends count)."""
    along: frozenset[LinkId] | None = None
    """If set, the path may use no other link."""
    reserved_bps: Mapping[LinkId, float] = field(default_factory=dict)
    """What others have been promised on links."""

    @property
    def encryption(self) -> Encryption:
        return self.requirements.encryption or Encryption.END_TO_END


class Router:
    """Answers any number of Asks on one snapshot."""

    def __init__(self, arrays: Arrays) -> None:
        self.arrays = arrays
        self._pricer = Pricer(arrays)

    def prices(self, ask: Ask) -> Prices:
        return self._pricer.price(
            ask.weights,
            encryption=ask.encryption,
            prefer=ask.prefer,
            reserved_bps={
                self.arrays.link_number[link]: taken
                for link, taken in ask.reserved_bps.items()
                if link in self.arrays.link_number
            },
        )

    def frame(self, ask: Ask, prices: Prices) -> Problem:
        """Lay an Ask over the graph: drop what the requirements exclude link by link, collect the sums to keep."""
        arrays, needs = self.arrays, ask.requirements
        allowed = [_allowed(node, ask) for node in arrays.nodes]
        usable = [allowed[src] and allowed[dst] for src, dst in zip(arrays.src, arrays.dst, strict=True)]
        if ask.along is not None:
            usable = [use and link.id in ask.along for use, link in zip(usable, arrays.links, strict=True)]
        if needs.min_bandwidth is not None:
            usable = [use and self.carries(index, needs.min_bandwidth, ask) for index, use in enumerate(usable)]
        if needs.reverse is not None:
            usable = [use and self.carries(arrays.reverse[i], needs.reverse, ask) for i, use in enumerate(usable)]
        sources = _numbered(ask.sources, arrays, allowed)
        destinations = _numbered(ask.destinations, arrays, allowed)
        if needs.max_latency is not None:
            sources = {gateway: rtt for gateway, rtt in sources.items() if rtt is not None}
            destinations = {gateway: rtt for gateway, rtt in destinations.items() if rtt is not None}
        limits = {}
        for name, (figures, _) in self._sums(needs).items():
            usable = [use and value is not None for use, value in zip(usable, figures, strict=True)]
            limits[name] = self.sum_limit(ask, name, sources, destinations)
        start = {gateway: prices.start[gateway] + prices.offset(rtt) for gateway, rtt in sources.items()}
        end = {gateway: prices.offset(rtt) for gateway, rtt in destinations.items()}
        groups = [sum(names(node.id, group) << bit for bit, group in enumerate(ask.through)) for node in arrays.nodes]
        objective = Limit(prices.link, start, end, NO_LIMIT)
        return Problem(arrays, usable, objective, prices.exposure, limits, groups, len(ask.through))

    def _sums(self, needs: Requirements) -> dict[str, tuple[Sequence[int | None], int]]:
        """The figures by link that requirements sum up, and what they may come to; by the requirement's name."""
        arrays = self.arrays
        sums: dict[str, tuple[Sequence[int | None], int]] = {}
        if needs.max_latency is not None:
            sums["maxLatency"] = (arrays.rtt_ns, up(needs.max_latency, NS_PER_MS))
        if needs.max_loss is not None:
            most = NO_LIMIT if needs.max_loss >= 1 else up(log_loss(needs.max_loss), LOSS_SCALE)
            sums["maxLoss"] = (arrays.log_loss, most)
        if needs.max_hops is not None:
            sums["maxHops"] = ([1] * len(arrays.links), needs.max_hops)
        if needs.max_egress_price is not None:
            sums["maxEgressPrice"] = (arrays.price_units, up(needs.max_egress_price, PRICE_SCALE))
        return sums

    def sum_limit(self, ask: Ask, name: str, sources: Iterable[int], destinations: Iterable[int]) -> Limit:
        """One requirement as a limit. What is unknown counts nothing here: ``frame`` has taken it off the graph."""
        figures, most = self._sums(ask.requirements)[name]
        start, end = dict.fromkeys(sources, 0), dict.fromkeys(destinations, 0)
        if name == "maxLatency":
            start = {number: self._attachment_ns(ask.sources, number) for number in start}
            end = {number: self._attachment_ns(ask.destinations, number) for number in end}
        return Limit([value or 0 for value in figures], start, end, most)

    def _attachment_ns(self, ends: Mapping[str, float | None], number: int) -> int:
        return down(max(0.0, ends[self.arrays.nodes[number].id] or 0.0), NS_PER_MS)

    def path(self, route: Route, ask: Ask, prices: Prices) -> Path:
        """A route with its figures.

        Returns:
            The path. ``latency_ms`` sums the medians of links and attachments, ``latency_p90_ms`` the pessimistic
            figures (which overstates the path's own 90th percentile, unless all links are slow at once); loss and
            bandwidth are pessimistic, the latter what is left before this path takes its share. A figure is None if a
            part of it is unknown; bandwidth also where there is no link to limit it.
        """
        arrays, gateways = self.arrays, self.gateways(route)
        offsets = (ask.sources[gateways[0]], ask.destinations[gateways[-1]])
        attached = [None if rtt is None else Figure(median=rtt, pessimistic=rtt) for rtt in offsets]
        rtt = _known([*(arrays.rtt[link] for link in route.links), *attached])
        loss = _known([arrays.loss[link] for link in route.links])
        price = _known([arrays.price[link] for link in route.links])
        free = _known([self.free_units(link, ask) for link in route.links])
        latency_offset = sum(prices.offset(offset) for offset in offsets)
        sums = [
            sum(terms)
            for terms in zip(
                prices.start_terms[route.steps[0]], *(prices.link_terms[link] for link in route.links), strict=True
            )
        ]
        sums[0] += latency_offset
        sums.append(prices.exposure * max(0, route.hops - 1))
        delivered = None if loss is None else math.prod(1 - part.pessimistic for part in loss)
        models = {arrays.links[link].forecast_model for link in route.links} - {""}
        return Path(
            gateways=gateways,
            links=tuple(arrays.links[link].id for link in route.links),
            figures=Figures(
                latency_ms=None if rtt is None else math.fsum(part.median for part in rtt),
                latency_p90_ms=None if rtt is None else math.fsum(part.pessimistic for part in rtt),
                loss=None if delivered is None else 1 - delivered,
                bandwidth_bps=min(free) / BPS_SCALE if free else None,
                hops=route.hops,
                egress_price=None if price is None else math.fsum(price),
                cost=sum(sums) / COST_SCALE,
            ),
            terms={name: units / COST_SCALE for name, units in zip(TERMS, sums, strict=True)},
            forecast_models=tuple(sorted(models)),
        )

    def gateways(self, route: Route) -> tuple[str, ...]:
        first, links = route.steps[0], route.links
        return (self.arrays.nodes[first].id, *(self.arrays.links[link].id.dst for link in links))

    def free_units(self, link: int, ask: Ask) -> int | None:
        """Pessimistic free bandwidth of a link after reservations, in BPS_SCALE; None is unknown (or no such link)."""
        free = self.arrays.free[link] if link >= 0 else None
        if free is None:
            return None
        left = free.pessimistic - ask.reserved_bps.get(self.arrays.links[link].id, 0.0)
        return math.ceil(max(0.0, left) * BPS_SCALE)

    def carries(self, link: int, need_bps: float, ask: Ask) -> bool:
        free = self.free_units(link, ask)
        return free is not None and free >= math.floor(need_bps * BPS_SCALE)

    def routes(self, ask: Ask, prices: Prices | None = None) -> Iterator[Route]:
        """Every path that meets the Ask, best first, found as it is asked for."""
        return routes(self.frame(ask, prices or self.prices(ask)))

    def best(self, ask: Ask) -> Route | None:
        return next(self.routes(ask), None)


def _allowed(node: Node, ask: Ask) -> bool:
    """Whether the path may touch a gateway. One whose region is not stated is in none of the required regions, and
    cannot be avoided by region or provider either."""
    needs = ask.requirements
    return (
        (not needs.regions or node.region in needs.regions)
        and not (node.region and node.region in needs.avoid.regions)
        and not (node.provider and node.provider in needs.avoid.providers)
        and not names(node.id, needs.avoid.gateways)
    )


def _numbered(ends: Mapping[str, float | None], arrays: Arrays, allowed: Sequence[bool]) -> dict[int, float | None]:
    numbered = ((arrays.number[gateway], rtt) for gateway, rtt in ends.items() if gateway in arrays.number)
    return {gateway: rtt for gateway, rtt in numbered if allowed[gateway]}


def _known(parts: Sequence[T | None]) -> list[T] | None:
    """The parts, or None if one of them is unknown."""
    known = [part for part in parts if part is not None]
    return known if len(known) == len(parts) else None
