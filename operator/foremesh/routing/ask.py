"""Questions to the graph: what an Intent asks, laid over a snapshot as a problem for the exact search, and back.

Hard requirements are checked on pessimistic figures, and an unknown figure meets none.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from foremesh.model.circuit import Figures
from foremesh.model.intent import Encryption, Requirements
from foremesh.model.link import LinkId
from foremesh.model.plan import Path, way_text
from foremesh.model.policy import Prefer
from foremesh.routing.arrays import (
    BPS_SCALE,
    LOSS_SCALE,
    MOST_BPS,
    NO_LIMIT,
    NS_PER_MS,
    PRICE_SCALE,
    UNKNOWN,
    Arrays,
    down,
    log_loss,
    up,
)
from foremesh.routing.cost import COST_SCALE, TERMS, Weights
from foremesh.routing.crowding import Crowding
from foremesh.routing.gateways import allows, names
from foremesh.routing.kernels import NEVER
from foremesh.routing.labels import Problem, Route, first_route, routes
from foremesh.routing.ledger import Ledger
from foremesh.routing.prices import Pricer, Prices
from foremesh.routing.values import Bools, Ints


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
    traffic_bps: tuple[float, float] = (0.0, 0.0)
    """What it is going to send and get back, whatever of its requirements is let go of."""
    prefer: tuple[Prefer, ...] = ()
    through: tuple[tuple[str, ...], ...] = ()
    """Of each of these groups, the path must pass at least one gateway (its ends count)."""
    along: frozenset[LinkId] | None = None
    """If set, the path may use no other link."""
    reserved_bps: Mapping[LinkId, float] | None = None
    """What others have been promised on links; None: what the Router's ledger says."""

    @property
    def encryption(self) -> Encryption:
        return self.requirements.encryption or Encryption.END_TO_END


class Ground(NamedTuple):
    """Where paths may run that keep some requirements."""

    sums: Ints
    """What links add to sums that are limited, shape (limits, links)."""
    usable: Bools
    """Links, as far as requirements on gateways go and what must be known of them,"""
    allowed: Bools
    """and gateways."""
    timed: bool
    """Whether the first of the sums is the round trip."""


class Router:
    """Answers any number of Asks on one snapshot.

    Args:
        arrays: The snapshot.
        crowding: What moves on it while a plan is made; nothing so far if None.
    """

    def __init__(self, arrays: Arrays, crowding: Crowding | None = None) -> None:
        self.arrays = arrays
        self.crowding = crowding or Crowding(arrays)
        self.ledger = Ledger(arrays)
        """What is promised as far as Asks without promises of their own are concerned."""
        self._own: tuple[Mapping[LinkId, float], Ledger] | None = None
        self._pricer = Pricer(arrays)
        self._nowhere = np.full((2, len(arrays.nodes)), NEVER, dtype=np.int64)

    def bare(self, before: Router | None = None, changed: Ints | None = None) -> Router:
        """One of which nothing is promised, nor ever will be: ``fork`` makes others of it, for less than one from
        nothing costs.

        Args:
            before: The same for a snapshot that had other figures for some links; ``changed`` are their numbers.
        """
        self._pricer.keep_bare(self.ledger)
        if before is not None and changed is not None:
            self._pricer.take(before._pricer, changed)
        return self

    def fork(self) -> Router:
        """Another one on the same snapshot, with nothing promised."""
        other = copy(self)
        other.ledger, other._own = Ledger(self.arrays), None
        return other

    def ledger_of(self, ask: Ask) -> Ledger:
        if ask.reserved_bps is None:
            return self.ledger
        if self._own is None or self._own[0] is not ask.reserved_bps:
            self._own = (ask.reserved_bps, Ledger(self.arrays, ask.reserved_bps))
        return self._own[1]

    def prices(self, ask: Ask) -> Prices:
        return self._pricer.price_for(ask.weights, ask.encryption, ask.prefer, self.ledger_of(ask))

    def frame(self, ask: Ask, prices: Prices, *, caution: float = 1.0) -> Problem:
        """Lay an Ask over the graph: drop what the requirements exclude link by link, collect the sums to keep.

        Args:
            caution: Hold the requirements against pessimistic figures (1), medians (0) or what lies between.
        """
        arrays, topology, needs = self.arrays, self.arrays.topology, ask.requirements
        ground, (names, most) = self.ground(needs, caution), _limits(needs)
        sums, usable, allowed, timed = ground
        link = prices.link
        if self.crowding.matters:
            added_ms = self.crowding.added_ms(*ask.traffic_bps)
            link = link + prices.delay(added_ms)
            if timed:
                sums = sums.copy()
                sums[0] = np.maximum(0, sums[0] + np.floor(added_ms * NS_PER_MS).astype(np.int64))
        if ask.along is not None:
            usable = usable & self._among(ask.along)
        ledger = self.ledger_of(ask)
        start, end = self._nowhere.copy()
        sum_start, sum_end = np.zeros((2, len(names), allowed.size), dtype=np.int64)
        sides = ((ask.sources, start, sum_start, prices.start), (ask.destinations, end, sum_end, None))
        for ends, costs, totals, begun in sides:
            for gateway, rtt in ends.items():
                number = arrays.number.get(gateway)
                if number is None or not allowed[number] or (timed and rtt is None):
                    continue
                costs[number] = prices.offset(rtt) + (0 if begun is None else begun[number])
                if timed:
                    totals[0, number] = attachment_ns(rtt)
        return Problem(
            topology=topology,
            usable=usable,
            free=ledger.free_units if caution == 1.0 else ledger.less_cautious(caution),
            least=(least_units(needs.min_bandwidth), least_units(needs.reverse)),
            link=link,
            start=start,
            end=end,
            exposure=prices.exposure,
            names=names,
            sum_link=sums,
            sum_start=sum_start,
            sum_end=sum_end,
            most=most,
            groups=self._groups(ask.through),
            group_count=len(ask.through),
            order=prices.order if link is prices.link else None,
        )

    def ground(self, needs: Requirements, caution: float = 1.0) -> Ground:
        """Where paths may run, and what links add to sums that are limited."""
        arrays = self.arrays
        sums, known = arrays.sums(_limits(needs)[0], caution)
        rule = (needs.regions, needs.providers, needs.gateway_labels, needs.avoid)
        allowed, usable = arrays.topology.allowed(rule, lambda: [allows(needs, node) for node in arrays.nodes])
        return Ground(sums, usable if known is None else usable & known, allowed, needs.max_latency is not None)

    def _among(self, links: Iterable[LinkId]) -> Bools:
        numbers, chosen = self.arrays.topology.link_number, np.zeros(len(self.arrays.links), dtype=np.bool_)
        chosen[[numbers[link] for link in links if link in numbers]] = True
        return chosen

    def _groups(self, through: Sequence[tuple[str, ...]]) -> Ints:
        if not through:
            return self.arrays.topology.no_groups
        bits = [sum(names(id, group) << bit for bit, group in enumerate(through)) for id in self.arrays.topology.ids]
        return np.array(bits, dtype=np.int64)

    def path(self, route: Route, ask: Ask, prices: Prices) -> Path:
        """A route with its figures.

        Returns:
            The path. ``latency_ms`` sums the medians of links and attachments, ``latency_p90_ms`` the pessimistic
            figures (which overstates the path's own 90th percentile, unless all links are slow at once), both with
            what crowding adds; loss and bandwidth are pessimistic, the latter what is left before this path takes its
            share. A figure is None if a part of it is unknown; bandwidth also where there is no link to limit it.
        """
        links = np.array(route.links, dtype=np.int64)
        free_units = self.ledger_of(ask).free_units
        free = min([free_units[link] for link in route.links], default=UNKNOWN)
        terms, added = prices.terms(route.steps[0], links), list[float]()
        if self.crowding.matters:
            added_ms = self.crowding.added_ms(*ask.traffic_bps, links)
            added = added_ms.tolist()
            terms[0] += int(prices.delay(added_ms).sum())
        return self.told(route, ask, prices, self.arrays.figures[links].tolist(), int(free), terms, added)

    def told(
        self,
        route: Route,
        ask: Ask,
        prices: Prices,
        found: Sequence[Sequence[float]],
        free: int,
        terms: Sequence[int],
        added: Sequence[float] = (),
    ) -> Path:
        """``path`` once it is known what its links give and cost.

        Args:
            found: By link, as ``Arrays.figures`` has it.
            free: What the narrowest link has left, in BPS_SCALE; UNKNOWN if that is not known.
            terms: What it costs, by TERMS without the last, attachments left out.
            added: By link, what crowding adds to its round trip.
        """
        arrays, links = self.arrays, route.steps[1:]
        topology, gateways = arrays.topology, self.gateways(route)
        start_ms, end_ms = ask.sources[gateways[0]], ask.destinations[gateways[-1]]
        medians, pessimistic, losses, egress = zip(*found, strict=True) if found else ((), (), (), ())
        besides = (*added, math.nan if start_ms is None else start_ms, math.nan if end_ms is None else end_ms)
        delivered = math.prod([1 - loss for loss in losses])
        latency = terms[0] + prices.offset(start_ms) + prices.offset(end_ms)
        units = (latency, *terms[1:], prices.exposure * max(0, len(links) - 1))
        models = {arrays.links[link].forecast_model for link in links}
        models.discard("")
        return Path(
            gateways=gateways,
            links=tuple([topology.link_ids[link] for link in links]),
            figures=Figures(
                latency_ms=_known_sum(medians + besides),
                latency_p90_ms=_known_sum(pessimistic + besides),
                loss=None if math.isnan(delivered) else 1 - delivered,
                bandwidth_bps=float(free) / BPS_SCALE if free >= 0 else None,
                hops=len(links),
                egress_price=_known_sum(egress),
                cost=sum(units) / COST_SCALE,
            ),
            terms=dict(zip(TERMS, [one / COST_SCALE for one in units], strict=True)),
            forecast_models=tuple(sorted(models)),
            underlays=topology.underlays(links),
        )

    def gateways(self, route: Route) -> tuple[str, ...]:
        ids, ends = self.arrays.topology.ids, self.arrays.topology.ends
        first, *links = route.steps
        return (ids[first], *[ids[ends[link]] for link in links])

    def underlays(self, route: Route) -> tuple[str, ...]:
        """Of each link."""
        ids = self.arrays.topology.link_ids
        return tuple([ids[link].underlay for link in route.links])

    def text(self, route: Route) -> str:
        """A route for people; of parallel underlays, it says which."""
        return way_text(self.gateways(route), self.arrays.topology.underlays(route.links))

    def confined(self, ask: Ask, way: tuple[str, ...] | Route, underlays: Sequence[str] = ()) -> Ask:
        """The Ask confined to one path, for explanations.

        Args:
            way: A route, or gateways; then of parallel underlays those that are named, or any.
        """
        topology = self.arrays.topology
        gateways = self.gateways(way) if isinstance(way, Route) else way
        if isinstance(way, Route):
            numbers = list(way.links)
        else:
            named = underlays or [""] * len(gateways)
            steps = zip(pairwise(gateways), named, strict=False)
            links = [(link, underlay) for step, underlay in steps for link in topology.over(*step)]
            numbers = [link for link, underlay in links if underlay in ("", topology.link_ids[link].underlay)]
        return replace(
            ask,
            sources={gateway: rtt for gateway, rtt in ask.sources.items() if gateway == gateways[0]},
            destinations={gateway: rtt for gateway, rtt in ask.destinations.items() if gateway == gateways[-1]},
            along=frozenset(topology.link_ids[link] for link in numbers),
        )

    def free_units(self, name: str, ask: Ask) -> Ints:
        """Free bandwidth after promises that ``minBandwidth`` or ``reverse`` is about, pessimistic, by link, in
        BPS_SCALE; UNKNOWN also where there is no such link."""
        free = self.ledger_of(ask).free_units
        return free[:-1] if name == "minBandwidth" else free[self.arrays.topology.reverse]

    def routes(self, ask: Ask, prices: Prices | None = None) -> Iterator[Route]:
        """Every path that meets the Ask, best first, found as it is asked for."""
        return routes(self.frame(ask, prices or self.prices(ask)))

    def best(self, ask: Ask) -> Route | None:
        return first_route(self.frame(ask, self.prices(ask)))


@lru_cache(maxsize=4096)
def _limits(needs: Requirements) -> tuple[tuple[str, ...], Ints]:
    """The requirements that sum up, ``maxLatency`` first, and what each may come to."""
    found = []
    if needs.max_latency is not None:
        found.append(("maxLatency", up(needs.max_latency, NS_PER_MS)))
    if needs.max_loss is not None:
        found.append(("maxLoss", NO_LIMIT if needs.max_loss >= 1 else up(log_loss(needs.max_loss), LOSS_SCALE)))
    if needs.max_hops is not None:
        found.append(("maxHops", min(needs.max_hops, NO_LIMIT)))
    if needs.max_egress_price is not None:
        found.append(("maxEgressPrice", up(needs.max_egress_price, PRICE_SCALE)))
    return tuple(name for name, _ in found), np.array([most for _, most in found], dtype=np.int64)


def limits_of(ask: Ask) -> list[int]:
    """What the sums may come to that an Ask limits."""
    most: list[int] = _limits(ask.requirements)[1].tolist()
    return most


def limits(ask: Ask) -> dict[str, int]:
    """What each sum that an Ask limits may come to."""
    names, most = _limits(ask.requirements)
    return dict(zip(names, most.tolist(), strict=True))


def traffic_bps(needs: Requirements) -> tuple[float, float]:
    """What somebody is taken to send and get back: what he asks for."""
    return needs.min_bandwidth or 0.0, needs.reverse or 0.0


def attachment_ns(rtt_ms: float | None) -> int:
    """What an attachment adds to a path's round trip; nothing where it is unknown, for then it is not on the graph."""
    return down(rtt_ms, NS_PER_MS) if rtt_ms and rtt_ms > 0 else 0


def least_units(need_bps: float | None) -> int:
    """A bandwidth asked for, to be compared with ``free_units``; UNKNOWN where none is, which all have."""
    return UNKNOWN if need_bps is None else math.floor(min(4 * MOST_BPS, need_bps) * BPS_SCALE)


def _known_sum(parts: Sequence[float]) -> float | None:
    """The sum, or None if a part of it is unknown."""
    total = math.fsum(parts)
    return None if math.isnan(total) else total
