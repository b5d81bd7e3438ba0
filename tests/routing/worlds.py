"""Random meshes and questions, and the answer by trying every simple path: what the search has to agree with."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

from foremesh.model.intent import Avoid, Encryption, Profile, Requirements
from foremesh.model.link import Figure, LinkId, MeshGraph, Node, PredictedLink
from foremesh.model.policy import Prefer
from foremesh.model.resource import Role
from foremesh.model.units import Bandwidth, Milliseconds, Price, Ratio
from foremesh.routing import cost
from foremesh.routing.ask import Ask
from foremesh.routing.cost import PROFILES

REGIONS = ("eu", "uk", "us", "")
PROVIDERS = ("one", "two", "")
LABELS = ("tier=gold", "team=net")


def steady(value: float) -> Figure:
    return Figure(median=value, pessimistic=value)


def node(
    id: str,
    role: Role = Role.CORE,
    region: str = "eu",
    provider: str = "",
    load: float | None = None,
    labels: tuple[str, ...] = (),
) -> Node:
    figure = None if load is None else steady(load)
    return Node(id=id, role=role, region=region, provider=provider, load=figure, labels=labels)


def link(
    src: str,
    dst: str,
    rtt_ms: float | None = 10.0,
    *,
    p90: float | None = None,
    loss: float | None = 0.0,
    free: float | None = 1e9,
    price: float | None = 0.0,
    jitter: float | None = None,
    capacity: float = 1e10,
    queueing: float | None = None,
    underlay: str = "internet",
) -> PredictedLink:
    return PredictedLink(
        id=LinkId(src=src, dst=dst, underlay=underlay),
        rtt_ms=None if rtt_ms is None else Figure(median=rtt_ms, pessimistic=rtt_ms if p90 is None else p90),
        loss=None if loss is None else steady(loss),
        jitter_ms=jitter,
        free_bps=None if free is None else steady(free),
        capacity_bps=capacity,
        queueing_ms=queueing,
        egress_price=price,
    )


def both(src: str, dst: str, rtt_ms: float | None = 10.0, **figures: float | None) -> tuple[PredictedLink, ...]:
    return link(src, dst, rtt_ms, **figures), link(dst, src, rtt_ms, **figures)  # type: ignore[arg-type]


def mesh(*nodes: Node, links: tuple[PredictedLink, ...]) -> MeshGraph:
    return MeshGraph(nodes=nodes, links=links)


def random_graph(rng: random.Random) -> MeshGraph:
    """Up to ten gateways; figures on coarse grids, so that ties and exact boundaries occur, and some unknown."""
    count = rng.randint(2, 10)
    names = [f"lab/g{index}" for index in range(count)]
    blind = rng.choice((0.0, 0.0, 0.1, 0.3))
    queues, varies = rng.random() < 0.5, rng.random() < 0.5

    def known(make: float) -> float | None:
        return None if rng.random() < blind else make

    nodes = []
    for name in names:
        load = known(rng.randint(0, 10) / 10)
        role = rng.choice((Role.CORE, Role.CORE, Role.TRANSIT, Role.EDGE))
        labels = tuple(label for label in LABELS if rng.random() < 0.6)
        nodes.append(node(name, role, rng.choice(REGIONS), rng.choice(PROVIDERS), load, labels))
    links = []
    density = 0.8 if count <= 6 else rng.choice((0.3, 0.5)) if count <= 8 else rng.choice((0.2, 0.4))
    for src in names:
        for dst in names:
            for underlay in ("internet", "mpls"):
                if src == dst or rng.random() > (density if underlay == "internet" else 0.08):
                    continue
                rtt = known(rng.randint(1, 60) / 10 * rng.choice((1, 10)))
                free = known(float(rng.randint(0, 20)) * 50e6)
                loss = known(rng.choice((0.0, 0.0, 0.001, 0.01, 0.02, 0.1, 1.0)))
                links.append(
                    PredictedLink(
                        id=LinkId(src=src, dst=dst, underlay=underlay),
                        rtt_ms=None if rtt is None else Figure(median=rtt, pessimistic=rtt + rng.randint(0, 5)),
                        loss=None if loss is None else Figure(median=loss / 2, pessimistic=loss),
                        free_bps=None if free is None else Figure(median=free + 10e6, pessimistic=free),
                        capacity_bps=1e9,
                        queueing_ms=rng.choice((None, 0.3, 2.0)) if queues else None,
                        jitter_ms=known(rng.choice((0.0, 0.5, 4.0, 30.0))) if varies else None,
                        egress_price=known(rng.choice((0.0, 0.01, 0.02, 0.09))),
                    )
                )
    return MeshGraph(nodes=tuple(nodes), links=tuple(links))


def random_requirements(rng: random.Random, graph: MeshGraph) -> Requirements:
    def maybe(chance: float = 0.35) -> bool:
        return rng.random() < chance

    names = [one.id for one in graph.nodes]
    return Requirements(
        max_latency=Milliseconds(rng.randint(5, 900) / 10) if maybe() else None,
        min_bandwidth=Bandwidth(rng.randint(0, 16) * 50e6) if maybe() else None,
        reverse=Bandwidth(rng.randint(0, 8) * 50e6) if maybe(0.2) else None,
        max_loss=Ratio(rng.choice((0.0, 0.001, 0.01, 0.0199, 0.03, 0.15, 1.0))) if maybe() else None,
        max_hops=rng.randint(0, 5) if maybe() else None,
        max_egress_price=Price(rng.choice((0.0, 0.01, 0.03, 0.1, 0.2))) if maybe() else None,
        encryption=rng.choice((None, Encryption.END_TO_END, Encryption.HOP_BY_HOP)),
        regions=tuple(rng.sample(REGIONS[:3], rng.randint(1, 3))) if maybe(0.2) else (),
        providers=tuple(rng.sample(PROVIDERS[:2], rng.randint(1, 2))) if maybe(0.1) else (),
        gateway_labels=tuple(rng.sample(LABELS, rng.randint(1, 2))) if maybe(0.1) else (),
        avoid=Avoid(
            regions=(rng.choice(REGIONS[:3]),) if maybe(0.1) else (),
            providers=(rng.choice(PROVIDERS[:2]),) if maybe(0.1) else (),
            gateways=(rng.choice(names).rpartition("/")[2],) if maybe(0.15) else (),
            gateway_labels=(rng.choice(LABELS),) if maybe(0.05) else (),
        ),
    )


def random_ask(rng: random.Random, graph: MeshGraph) -> Ask:
    names = [one.id for one in graph.nodes]

    def ends() -> dict[str, float | None]:
        chosen = rng.sample(names, min(len(names), rng.choice((1, 1, 1, 2, 3))))
        return {name: None if rng.random() < 0.05 else rng.choice((0.0, 0.0, 0.5, 3.1)) for name in chosen}

    reserved = {one.id: rng.choice((50e6, 200e6)) for one in graph.links if rng.random() < 0.15}
    groups = tuple(tuple(rng.sample(names, rng.randint(1, 2))) for _ in range(rng.choice((0, 0, 0, 0, 1, 2))))
    needs = random_requirements(rng, graph)
    return Ask(
        sources=ends(),
        destinations=ends(),
        requirements=needs,
        traffic_bps=(needs.min_bandwidth or 0.0, needs.reverse or 0.0),
        weights=PROFILES[rng.choice(list(Profile))],
        prefer=(Prefer(regions=(rng.choice(REGIONS[:3]),)),) if rng.random() < 0.2 else (),
        through=groups,
        reserved_bps=reserved if rng.random() < 0.5 else {},
    )


@dataclass(frozen=True)
class Candidate:
    """A simple path with everything that requirements ask about, worked out from the definitions alone."""

    gateways: tuple[str, ...]
    links: tuple[PredictedLink, ...]


def simple_paths(graph: MeshGraph, ask: Ask) -> Iterator[Candidate]:
    """Every path without a repeated gateway from any source to any destination; Edge gateways only at its ends."""
    nodes = {one.id: one for one in graph.nodes}
    out: dict[str, list[PredictedLink]] = {}
    for one in graph.links:
        if one.id.src in nodes and one.id.dst in nodes:
            out.setdefault(one.id.src, []).append(one)

    def extend(gateways: tuple[str, ...], links: tuple[PredictedLink, ...]) -> Iterator[Candidate]:
        if gateways[-1] in ask.destinations:
            yield Candidate(gateways, links)
        if links and nodes[gateways[-1]].role is Role.EDGE:
            return
        for one in out.get(gateways[-1], []):
            if one.id.dst not in gateways:
                yield from extend((*gateways, one.id.dst), (*links, one))

    for source in ask.sources:
        if source in nodes:
            yield from extend((source,), ())


def exact(value: float) -> Fraction:
    """The decimal that a figure was written as."""
    return Fraction(repr(float(value)))


class Judge:
    """Judges simple paths by the definitions: exact fractions for requirements, plain floats for the cost."""

    def __init__(self, graph: MeshGraph, ask: Ask) -> None:
        self.graph = graph
        self.ask = ask
        self.nodes = {one.id: one for one in graph.nodes}
        self.by_id = {one.id: one for one in graph.links}
        self._worst_rtt = self._worst([self._rtt_units(one) for one in graph.links])
        self._worst_loss = self._worst([self._loss_units(one) for one in graph.links])
        self._worst_price = self._worst([self._price_units(one) for one in graph.links])
        self._worst_band = self._worst([self._bandwidth_units(one) for one in graph.links])
        self._worst_load = self._worst([None if one.load is None else one.load.median for one in graph.nodes])

    def latency(self, path: Candidate) -> Fraction | None:
        parts = [None if one.rtt_ms is None else one.rtt_ms.pessimistic + self.added_ms(one) for one in path.links]
        return _total([*parts, self.ask.sources[path.gateways[0]], self.ask.destinations[path.gateways[-1]]])

    def added_ms(self, one: PredictedLink) -> float:
        """What the traffic of who asks adds to a link's queues, there and back."""
        back = self.by_id.get(one.id.reverse)
        if not one.queueing_ms or one.free_bps is None or back is None or back.free_bps is None:
            return 0.0

        def queue(link: PredictedLink, more_bps: float) -> float:
            used = 1 - (link.free_bps.median - more_bps) / link.capacity_bps  # type: ignore[union-attr,operator]
            share, beyond = min(0.9, max(0.0, used)), min(1.1, max(0.9, used)) - 0.9
            return share / (1 - share) + beyond / (1 - 0.9) ** 2

        there_bps, back_bps = self.ask.traffic_bps
        rise = queue(one, there_bps) - queue(one, 0.0) + queue(back, back_bps) - queue(back, 0.0)
        return one.queueing_ms * rise

    def free(self, one: PredictedLink | None) -> Fraction | None:
        if one is None or one.free_bps is None:
            return None
        return max(Fraction(0), exact(one.free_bps.pessimistic) - exact(self.ask.reserved_bps.get(one.id, 0.0)))

    def bandwidth(self, path: Candidate, *, reverse: bool = False) -> Fraction | float | None:
        links = [self.by_id.get(one.id.reverse) for one in path.links] if reverse else path.links
        free = [self.free(one) for one in links]
        return None if None in free else min((part for part in free if part is not None), default=math.inf)

    def loss(self, path: Candidate) -> Fraction | None:
        delivered = Fraction(1)
        for one in path.links:
            if one.loss is None:
                return None
            delivered *= 1 - exact(one.loss.pessimistic)
        return 1 - delivered

    def price(self, path: Candidate) -> Fraction | None:
        return _total([one.egress_price for one in path.links])

    def meets(self, path: Candidate) -> bool:
        needs = self.ask.requirements
        at_most = (
            (self.latency(path), needs.max_latency),
            (self.loss(path), needs.max_loss),
            (Fraction(len(path.links)), needs.max_hops),
            (self.price(path), needs.max_egress_price),
        )
        at_least = (
            (self.bandwidth(path), needs.min_bandwidth),
            (self.bandwidth(path, reverse=True), needs.reverse),
        )
        return (
            all(most is None or (value is not None and value <= exact(most)) for value, most in at_most)
            and all(least is None or (value is not None and value >= exact(least)) for value, least in at_least)
            and all(self.allowed(gateway) for gateway in path.gateways)
            and all({*group} & {*path.gateways} for group in self.ask.through)
        )

    def allowed(self, gateway: str) -> bool:
        needs, node = self.ask.requirements, self.nodes[gateway]
        return (
            (not needs.regions or node.region in needs.regions)
            and node.region not in needs.avoid.regions
            and node.provider not in needs.avoid.providers
            and (not needs.providers or node.provider in needs.providers)
            and {*needs.gateway_labels} <= {*node.labels}
            and not {*needs.avoid.gateway_labels} & {*node.labels}
            and gateway.removeprefix("lab/") not in needs.avoid.gateways
        )

    def cost(self, path: Candidate) -> float:
        first, last = path.gateways[0], path.gateways[-1]
        total = self.start_cost(first) + self.end_cost(last) + sum(map(self.link_cost, path.links))
        return total + self.exposure * max(0, len(path.links) - 1)

    def start_cost(self, gateway: str) -> float:
        return self._offset_cost(self.ask.sources[gateway]) + self._load_cost(gateway) * self._factor(gateway)

    def end_cost(self, gateway: str) -> float:
        return self._offset_cost(self.ask.destinations[gateway])

    def link_cost(self, one: PredictedLink) -> float:
        """With the load of the gateway that it leads into."""
        weights = self.ask.weights
        total = self._factor(one.id.dst) * (
            weights.latency * _or(self._rtt_units(one), self._worst_rtt)
            + weights.bandwidth * _or(self._bandwidth_units(one), self._worst_band)
            + weights.loss * _or(self._loss_units(one), self._worst_loss)
            + weights.hops / cost.HOPS_UNIT
            + weights.egress_price * _or(self._price_units(one), self._worst_price)
            + weights.jitter * self._jitter_units(one)
            + self._load_cost(one.id.dst)
        )
        return total if one.rtt_ms is None else total + weights.latency * self.added_ms(one) / cost.LATENCY_UNIT_MS

    @property
    def exposure(self) -> float:
        """Of each gateway strictly inside the path."""
        clear = self.ask.requirements.encryption is Encryption.HOP_BY_HOP
        return self.ask.weights.encryption if clear else 0.0

    def _load_cost(self, gateway: str) -> float:
        figure = self.nodes[gateway].load
        return self.ask.weights.load * (self._worst_load if figure is None else figure.median)

    def _factor(self, gateway: str) -> float:
        region = self.nodes[gateway].region
        return math.prod(1.0 if region in one.regions else 1.25 for one in self.ask.prefer)

    def _offset_cost(self, rtt_ms: float | None) -> float:
        return self.ask.weights.latency * (self._worst_rtt if rtt_ms is None else rtt_ms / cost.LATENCY_UNIT_MS)

    @staticmethod
    def _worst(units: list[float | None]) -> float:
        return max((value for value in units if value is not None), default=0.0) or cost.NOBODY_KNOWS_UNITS

    @staticmethod
    def _rtt_units(one: PredictedLink) -> float | None:
        if one.rtt_ms is None:
            return None
        return (one.rtt_ms.median + 0.5 * (one.rtt_ms.pessimistic - one.rtt_ms.median)) / cost.LATENCY_UNIT_MS

    def _jitter_units(self, one: PredictedLink) -> float:
        """Nothing where no link tells any."""
        if all(link.jitter_ms is None for link in self.graph.links):
            return 0.0
        known = [link.jitter_ms for link in self.graph.links if link.jitter_ms is not None]
        worst = max(known) / cost.JITTER_UNIT_MS or cost.NOBODY_KNOWS_UNITS
        return worst if one.jitter_ms is None else one.jitter_ms / cost.JITTER_UNIT_MS

    @staticmethod
    def _loss_units(one: PredictedLink) -> float | None:
        return None if one.loss is None else -math.log(1 - min(cost.MOST_LOSS, one.loss.median)) / cost.LOSS_UNIT

    @staticmethod
    def _price_units(one: PredictedLink) -> float | None:
        return None if one.egress_price is None else one.egress_price / cost.PRICE_UNIT

    def _bandwidth_units(self, one: PredictedLink) -> float | None:
        if one.free_bps is None:
            return None
        left = one.free_bps.median - self.ask.reserved_bps.get(one.id, 0.0)
        return cost.BANDWIDTH_UNIT_BPS / max(cost.LEAST_FREE_BPS, left)

    def feasible(self) -> list[tuple[float, Candidate]]:
        """Every path that meets the Ask, cheapest first."""
        found = [(self.cost(path), path) for path in simple_paths(self.graph, self.ask) if self.meets(path)]
        return sorted(found, key=lambda one: (one[0], len(one[1].links)))


def _total(parts: list[float | None]) -> Fraction | None:
    total = Fraction(0)
    for part in parts:
        if part is None:
            return None
        total += exact(part)
    return total


def _or(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value


def shuffled(rng: random.Random, graph: MeshGraph) -> MeshGraph:
    """The same graph, told in another order."""
    return MeshGraph(
        nodes=tuple(rng.sample(graph.nodes, len(graph.nodes))), links=tuple(rng.sample(graph.links, len(graph.links)))
    )


def reordered(rng: random.Random, ends: Mapping[str, float | None]) -> dict[str, float | None]:
    return dict(rng.sample(list(ends.items()), len(ends)))
