"""A mesh of any size with figures for every link, and intents that ask this and that of it.

Gateways are strewn over a plane of 60 by 40 milliseconds. Each has links both ways with its nearest and, one in five,
with others anywhere. Round trips are one to two and a half times the distance; every fifth link is a fast and dear one.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace

import numpy as np
from msgspec import structs

from foremesh.model.intent import Avoid, Destination, Encryption, Intent, IntentSpec, Profile, Requirements, Source
from foremesh.model.link import Figure, LinkId, MeshGraph, Node, PredictedLink
from foremesh.model.meta import Meta
from foremesh.model.resource import Resource, ResourceSpec, ResourceType, Role
from foremesh.model.units import Bandwidth, Milliseconds, Price, Ratio
from foremesh.routing import PROFILES, Candidate, Demand
from foremesh.routing.arrays import Arrays
from foremesh.routing.ask import Ask, Router
from foremesh.routing.labels import first_route

FAR_SHARE = 0.2
"""Share of links that lead anywhere instead of to one of the nearest."""
CONSTRAINED_SHARE = 0.2
"""Share of intents whose cheapest path, by cost alone, breaks a limit that another path keeps."""
REGIONS, PROVIDERS = 8, 5


@dataclass(frozen=True)
class Scene:
    """A mesh and what is asked of it."""

    graph: MeshGraph
    demands: tuple[Demand, ...]
    constrained: int
    """How many of the demands need constrained search."""


def mesh(gateways: int, links: int, rng: random.Random) -> MeshGraph:
    """Gateways and so many directed links, half of them the way back of the others."""
    places = [(rng.uniform(0, 60), rng.uniform(0, 40)) for _ in range(gateways)]
    nodes = tuple(
        Node(
            id=f"mesh/g{number:05}",
            role=Role.EDGE if rng.random() < 0.1 else Role.CORE,
            region=f"region-{int(x / 60 * REGIONS)}",
            provider=f"cloud-{rng.randrange(PROVIDERS)}",
            risk_groups=(f"conduit-{rng.randrange(1 + gateways // 20)}",),
            load=Figure(median=(load := rng.uniform(0, 0.7)), pessimistic=load * 1.2),
        )
        for number, (x, _) in enumerate(places)
    )
    made = []
    for one, other in _pairs(places, links // 2, rng):
        rtt_ms = (math.dist(places[one], places[other]) + 0.5) * rng.uniform(1.0, 2.5)
        fast = rng.random() < 0.2
        rtt_ms = rtt_ms * 0.5 if fast else rtt_ms
        price = rng.uniform(0.06, 0.12) if fast else rng.uniform(0.0, 0.05)
        for src, dst in ((one, other), (other, one)):
            loss, free_bps = rng.choice((0.0, 0.0, 0.0005, 0.002)), rng.uniform(2e8, 4e9)
            made.append(
                PredictedLink(
                    id=LinkId(src=nodes[src].id, dst=nodes[dst].id),
                    rtt_ms=Figure(median=rtt_ms, pessimistic=rtt_ms * rng.uniform(1.02, 1.3)),
                    loss=Figure(median=loss, pessimistic=loss * 1.5),
                    free_bps=Figure(median=free_bps, pessimistic=free_bps * 0.9),
                    capacity_bps=1e10,
                    egress_price=price,
                    forecast_model="last",
                )
            )
    made.sort(key=lambda link: (link.id.src, link.id.dst))
    return MeshGraph(nodes=nodes, links=tuple(made))


def _pairs(places: list[tuple[float, float]], count: int, rng: random.Random) -> list[tuple[int, int]]:
    size, where = len(places), np.array(places)
    chosen: dict[tuple[int, int], None] = {}
    near = round((1 - FAR_SHARE) * 2 * count / size)
    for one in range(size):
        order = np.argsort(((where - where[one]) ** 2).sum(axis=1), kind="stable")[1 : near + 1].tolist()
        for other in order:
            chosen[min(one, other), max(one, other)] = None
    chosen = dict.fromkeys(rng.sample(sorted(chosen), min(len(chosen), round((1 - FAR_SHARE) * count))))
    while len(chosen) < count:
        one, other = rng.sample(range(size), 2)
        chosen[min(one, other), max(one, other)] = None
    return list(chosen)


def scene(gateways: int, links: int, intents: int, *, seed: int = 1) -> Scene:
    """A mesh with intents from anywhere to services anywhere, of which every third is behind two gateways.

    Everybody asks for bandwidth, most for more; a fifth for what the cheapest path does not give.
    """
    rng = random.Random(seed)
    graph = mesh(gateways, links, rng)
    ids = [node.id for node in graph.nodes]
    router = Router(Arrays(graph))
    kinds = [number < round(CONSTRAINED_SHARE * intents) for number in range(intents)]
    rng.shuffle(kinds)
    demands = []
    for number, constrained in enumerate(kinds):
        while True:
            source, *ends = rng.sample(ids, 3 if number % 3 == 0 else 2)
            profile, needs = rng.choice(list(Profile)), _plain(rng)
            if constrained:
                tightened = _tightened(router, source, tuple(ends), profile, needs, rng)
                if tightened is None:
                    continue
                needs = tightened
            elif not _fits(router, source, tuple(ends), profile, needs):
                continue
            break
        demands.append(_demand(number, source, tuple(ends), profile, needs, rng))
    return Scene(graph, tuple(demands), sum(kinds))


def _plain(rng: random.Random) -> Requirements:
    """What most ask: bandwidth, limits that are no nuisance, now and then a place to stay out of."""
    avoid = Avoid(regions=(f"region-{rng.randrange(REGIONS)}",)) if rng.random() < 0.1 else Avoid()
    return Requirements(
        min_bandwidth=Bandwidth(rng.choice((1e6, 2e6, 5e6))),
        reverse=Bandwidth(1e6) if rng.random() < 0.2 else None,
        max_latency=Milliseconds(rng.choice((150, 250))) if rng.random() < 0.6 else None,
        max_loss=Ratio(0.05) if rng.random() < 0.4 else None,
        max_hops=rng.choice((16, 24)) if rng.random() < 0.2 else None,
        max_egress_price=Price(1.5) if rng.random() < 0.2 else None,
        encryption=Encryption.HOP_BY_HOP if rng.random() < 0.1 else Encryption.END_TO_END,
        avoid=avoid,
    )


def _ask(source: str, ends: tuple[str, ...], profile: Profile, needs: Requirements) -> Ask:
    return Ask(
        sources={source: 0.5}, destinations=dict.fromkeys(ends, 0.5), requirements=needs, weights=PROFILES[profile]
    )


def unlimited(needs: Requirements) -> Requirements:
    """The same without limits on sums."""
    return structs.replace(needs, max_latency=None, max_loss=None, max_hops=None, max_egress_price=None)


def _fits(router: Router, source: str, ends: tuple[str, ...], profile: Profile, needs: Requirements) -> bool:
    """Whether the cheapest path of all keeps the limits."""
    plain = _ask(source, ends, profile, unlimited(needs))
    route = router.best(plain)
    return route is not None and router.best(_ask(source, ends, profile, needs)) == route


def _tightened(
    router: Router, source: str, ends: tuple[str, ...], profile: Profile, needs: Requirements, rng: random.Random
) -> Requirements | None:
    """Limits between what the cheapest path comes to and the least that can be had; None if that is the same."""
    plain = _ask(source, ends, profile, unlimited(needs))
    prices = router.prices(plain)
    cheapest = router.best(plain)
    name, field, unit, figure = rng.choice(
        (
            ("maxLatency", "max_latency", Milliseconds, "latency_p90_ms"),
            ("maxEgressPrice", "max_egress_price", Price, "egress_price"),
        )
    )
    known = replace(plain, requirements=structs.replace(plain.requirements, **{field: unit(1e6)}))
    best = first_route(router.frame(known, prices).minimising(name))
    if cheapest is None or best is None:
        return None
    has, least = (getattr(router.path(route, plain, prices).figures, figure) for route in (cheapest, best))
    if has is None or least is None or has < least * 1.05:
        return None
    limit = least + (has - least) * rng.uniform(0.3, 0.9)
    tightened = structs.replace(needs, **{field: unit(limit)})
    return tightened if router.best(_ask(source, ends, profile, tightened)) is not None else None


def _demand(
    number: int, source: str, ends: tuple[str, ...], profile: Profile, needs: Requirements, rng: random.Random
) -> Demand:
    def workload(name: str) -> Resource:
        return Resource(meta=Meta(name=name, namespace="shop"), spec=ResourceSpec(type=ResourceType.CONTAINER))

    spec = IntentSpec(
        from_=Source(resource=f"app-{number}"),
        to=Destination(resource=f"db-{number}"),
        requirements=needs,
        profile=profile,
        priority=rng.randint(0, 3),
    )
    return Demand(
        intent=Intent(meta=Meta(name=f"intent-{number:05}", namespace="shop"), spec=spec),
        source=workload(f"app-{number}"),
        source_gateways={source: 0.5},
        candidates=(Candidate(resource=workload(f"db-{number}"), gateways=dict.fromkeys(ends, 0.5)),),
        class_=f"class-{number}",
    )
