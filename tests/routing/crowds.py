"""Many demands on real topologies whose links cannot hold all of them: what joint placement is judged by."""

from __future__ import annotations

import random

import networkx

from foremesh.model.intent import Requirements
from foremesh.model.link import LinkId, MeshGraph, PredictedLink
from foremesh.model.policy import CostWeights, Policy
from foremesh.model.units import Bandwidth, Milliseconds
from foremesh.routing import Demand
from foremesh.routing.ask import Ask
from foremesh.routing.planner import prepare
from foremesh.simulation.topology import load
from routing.demands import candidate, demand, intent, policy
from routing.worlds import node, steady

NAMES = (
    "sndlib/abilene",
    "sndlib/polska",
    "sndlib/nobel-us",
    "sndlib/atlanta",
    "sndlib/nobel-germany",
    "topozoo/AttMpls",
    "sndlib/geant",
    "sndlib/ta1",
    "sndlib/france",
    "sndlib/norway",
    "sndlib/nobel-eu",
    "topozoo/Geant2012",
    "sndlib/india35",
    "sndlib/cost266",
    "sndlib/pioro40",
    "sndlib/germany50",
)
"""Research networks and carriers of 12 to 50 places."""

CAPACITY_BPS = 1e9
SIZES_BPS = (50e6, 100e6, 100e6, 200e6, 300e6, 400e6)
"""What somebody asks for: the larger compared with a link, the harder to place."""
CROWDED = (1.3, 3.0)
"""What all ask for together, over the shortest ways, of the link in most demand, as a multiple of what it has."""

ADDITIVE = policy("additive", weights=CostWeights(bandwidth=0))
"""Leaves out the term of the cost that is not a sum over links, so that a mixed-integer program knows the costs."""


def crowd(seed: int, *, priorities: tuple[int, ...] = (0,)) -> tuple[MeshGraph, list[Demand], list[Policy]]:
    """A mesh, demands that its links cannot all hold by their shortest ways, and the policies they are under."""
    rng = random.Random(seed)
    real = load(NAMES[seed % len(NAMES)])
    names = sorted(place.name for place in real.places)
    links = tuple(
        PredictedLink(
            id=LinkId(src=one.src, dst=one.dst),
            rtt_ms=steady(one.rtt_ms + 0.5),
            loss=steady(0.0),
            free_bps=steady(CAPACITY_BPS),
            capacity_bps=CAPACITY_BPS,
            egress_price=0.0,
        )
        for one in real.links
    )
    graph = MeshGraph(nodes=tuple(node(name) for name in names), links=links)
    joined = networkx.DiGraph()
    joined.add_weighted_edges_from((one.id.src, one.id.dst, one.rtt_ms.median) for one in links if one.rtt_ms)
    used: dict[tuple[str, str], float] = {}
    goal, demands = rng.uniform(*CROWDED) * CAPACITY_BPS, list[Demand]()
    while max(used.values(), default=0.0) < goal:
        source, end = rng.sample(names, 2)
        ms, way = networkx.single_source_dijkstra(joined, source, end)
        bps = rng.choice(SIZES_BPS)
        for step in networkx.utils.pairwise(way):
            used[step] = used.get(step, 0.0) + bps
        limit = Milliseconds(ms * rng.uniform(1.05, 2.5)) if rng.random() < 0.4 else None
        asked = intent(
            f"i{len(demands):03}",
            requirements=Requirements(min_bandwidth=Bandwidth(bps), max_latency=limit),
            priority=rng.choice(priorities),
        )
        demands.append(demand(asked, source, candidate(f"d{len(demands)}", end), class_=f"c{len(demands)}"))
    return graph, demands, [ADDITIVE]


def asks(demands: list[Demand], policies: list[Policy]) -> list[Ask]:
    """What demands ask under policies, in the order of a plan."""
    return [prepare(one, tuple(policies)).asks[0][1] for one in sorted(demands, key=lambda one: one.key)]
