"""Random meshes over real topologies, and questions to them that ask for everything at once."""

from __future__ import annotations

import random
import statistics

import networkx

from foremesh.model.intent import Avoid, Encryption, Profile, Requirements
from foremesh.model.link import Figure, LinkId, MeshGraph, PredictedLink
from foremesh.model.policy import Prefer
from foremesh.model.resource import Role
from foremesh.model.units import Bandwidth, Milliseconds, Price, Ratio
from foremesh.routing.ask import Ask
from foremesh.routing.cost import PROFILES
from foremesh.simulation.topology import load
from routing.worlds import node

NAMES = (
    "sndlib/abilene",
    "sndlib/nobel-germany",
    "sndlib/germany50",
    "sndlib/cost266",
    "sndlib/janos-us-ca",
    "sndlib/ta2",
    "topozoo/Geant2012",
    "topozoo/AttMpls",
    "topozoo/Bellcanada",
    "topozoo/Garr201201",
    "topozoo/Renater2010",
    "topozoo/Surfnet",
)
"""Research networks and carriers of 12 to 81 places."""

REGIONS = ("north", "south", "west")
PROVIDERS = ("one", "two", "three")


def random_mesh(rng: random.Random, name: str) -> MeshGraph:
    """A mesh over a topology of topohub: round trips by its lengths, all else by chance. Most links run over two
    underlays, a cheap one and a fast one. Some figures are unknown, some gateways relay nothing."""
    real = load(name)
    nodes = [
        node(
            place.name,
            rng.choice((Role.CORE, Role.CORE, Role.CORE, Role.TRANSIT, Role.TRANSIT, Role.EDGE)),
            rng.choice((*REGIONS, "")),
            rng.choice((*PROVIDERS, "")),
            None if rng.random() < 0.05 else rng.random(),
        )
        for place in real.places
    ]
    queues = rng.random() < 0.5

    def figure(median: float, pessimistic: float) -> Figure | None:
        return None if rng.random() < 0.01 else Figure(median=median, pessimistic=pessimistic)

    links = []
    for one in real.links:
        for underlay, worse in (("internet", rng.uniform(1, 2.5)), ("mpls", 1.0))[rng.choice((0, 0, 0, 1)) :]:
            rtt_ms, loss = one.rtt_ms * worse * rng.uniform(1, 1.3), 0.004 * (worse - 0.9) * rng.uniform(0.5, 2)
            free_bps = rng.uniform(1e8, 1e9)
            price = rng.uniform(0.05, 0.1) if underlay == "mpls" else rng.uniform(0, 0.05)
            links.append(
                PredictedLink(
                    id=LinkId(src=one.src, dst=one.dst, underlay=underlay),
                    rtt_ms=figure(rtt_ms, rtt_ms * rng.uniform(1, 1.5)),
                    loss=figure(loss, loss * rng.uniform(1, 2)),
                    free_bps=figure(free_bps, free_bps * rng.uniform(0.5, 1)),
                    capacity_bps=1e9,
                    queueing_ms=rng.choice((None, 0.5, 2.0)) if queues else None,
                    egress_price=None if rng.random() < 0.01 else price,
                )
            )
    return MeshGraph(nodes=tuple(nodes), links=tuple(links))


def random_question(rng: random.Random, graph: MeshGraph) -> Ask:
    """Somebody asks for about what the path of fewest links gives; now and then for a little more than can be had."""
    names = [one.id for one in graph.nodes]

    def ends() -> dict[str, float | None]:
        return {one: rng.uniform(0, 5) for one in rng.sample(names, rng.choice((1, 1, 2, 3)))}

    sources, destinations = ends(), ends()
    joined = networkx.MultiDiGraph((one.id.src, one.id.dst) for one in graph.links)
    way = networkx.shortest_path(joined, next(iter(sources)), next(iter(destinations)))
    hops = len(way) - 1
    steps = list(networkx.utils.pairwise(way))
    taken = [one for one in graph.links if (one.id.src, one.id.dst) in steps]

    def middle(figures: list[float]) -> float:
        """A figure of the way, if it takes about the middle of its underlays."""
        return max(1, len(steps)) * statistics.fmean(figures or [1.0])

    rtt_ms = middle([one.rtt_ms.pessimistic for one in taken if one.rtt_ms]) + 5
    loss = middle([one.loss.pessimistic for one in taken if one.loss])
    price = middle([one.egress_price for one in taken if one.egress_price is not None])

    def maybe(chance: float) -> bool:
        return rng.random() < chance

    def about(value: float) -> float:
        return value * rng.uniform(0.7, 1.5)

    inside = [name for name in names if name not in sources and name not in destinations]
    needs = Requirements(
        max_latency=Milliseconds(about(rtt_ms)) if maybe(0.8) else None,
        max_loss=Ratio(min(0.9, about(loss))) if maybe(0.6) else None,
        max_egress_price=Price(about(price)) if maybe(0.6) else None,
        max_hops=max(1, round(hops * rng.uniform(0.9, 2))) if maybe(0.8) else None,
        min_bandwidth=Bandwidth(rng.uniform(1e6, 2e8)) if maybe(0.8) else None,
        reverse=Bandwidth(rng.uniform(1e6, 1e8)) if maybe(0.5) else None,
        encryption=rng.choice((None, Encryption.END_TO_END, Encryption.HOP_BY_HOP)),
        regions=(*REGIONS,) if maybe(0.15) else (),
        avoid=Avoid(
            regions=(rng.choice(REGIONS),) if maybe(0.1) else (),
            providers=(rng.choice(PROVIDERS),) if maybe(0.1) else (),
            gateways=tuple(rng.sample(inside, min(2, len(inside)))) if maybe(0.4) else (),
        ),
    )
    return Ask(
        sources=sources,
        destinations=destinations,
        requirements=needs,
        traffic_bps=(needs.min_bandwidth or 0.0, needs.reverse or 0.0),
        weights=PROFILES[rng.choice(list(Profile))],
        prefer=(Prefer(regions=(rng.choice(REGIONS),)),) if maybe(0.2) else (),
        reserved_bps={one.id: rng.uniform(0, 3e8) for one in graph.links if maybe(0.1)},
    )


def question(seed: int) -> tuple[MeshGraph, Ask]:
    """One of any number of questions, the topologies taking turns."""
    rng = random.Random(seed)
    graph = random_mesh(rng, NAMES[seed % len(NAMES)])
    return graph, random_question(rng, graph)
