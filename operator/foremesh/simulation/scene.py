"""Who wants what of a mesh: the part of a simulation that is the same for every policy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import permutations
from typing import Any

import networkx
import numpy as np
from numpy.typing import NDArray

from foremesh.decide import joined, resolve
from foremesh.files import Bundle
from foremesh.model.addresses import Blocks
from foremesh.model.intent import Destination, Intent, IntentSpec, Profile, Requirements, Source
from foremesh.model.link import LinkFacts, LinkId
from foremesh.model.meta import Meta, Ref
from foremesh.model.policy import Policy
from foremesh.model.resource import GatewaySpec, Location, Resource, ResourceSpec, ResourceType, Role
from foremesh.model.series import Floats
from foremesh.model.units import Bandwidth, Milliseconds, Ratio
from foremesh.network.allocate import enrol, held
from foremesh.network.circuits import class_of
from foremesh.routing.demand import Candidate, Demand
from foremesh.simulation.topology import Place, Topology

INTENTS = 40
"""Intents of a mesh that declares none: enough that one lucky pair decides nothing, few enough to wait for."""

SLACK = (1.15, 1.6)
"""What the round trip of an Intent may be at most, as multiples of the shortest one on idle links: from hardly any
detour, as for databases that talk across sites, to one more country on the way."""

SLACK_MS = 5.0
"""Added to that: what an access network and a busy processor take, wherever one is."""

ASKED_BPS = (20e6, 200e6)
"""Least bandwidth that Intents ask for, from and to (log-uniform): a replica that follows, to a backup that runs."""

MOST_LOSS = 0.01
"""Loss at which an Intent is violated: TCP is a hundredth of itself there (see ``routing.cost.LOSS_UNIT``)."""

UNASKED_BPS = 1e6
"""Traffic of an Intent that asks for no bandwidth."""


@dataclass(frozen=True)
class Scene:
    """A mesh and its demands."""

    gateways: tuple[Resource, ...]
    links: tuple[LinkId, ...]
    facts: Mapping[LinkId, LinkFacts]
    base_rtt_ms: Mapping[LinkId, float]
    """Round trip over an idle link, as an administrator would look it up."""
    demands: tuple[Demand, ...]
    policies: tuple[Policy, ...] = ()
    unresolved: Mapping[str, str] = field(default_factory=dict)
    """Intents without a demand: id to the reason."""

    @cached_property
    def row(self) -> Mapping[LinkId, int]:
        """Where each link is among ``links``."""
        return {link: index for index, link in enumerate(self.links)}

    @cached_property
    def rates_bps(self) -> tuple[Floats, Floats]:
        """What each demand sends and gets back, bit/s: as much as it asked for."""
        needs = [demand.intent.spec.requirements for demand in self.demands]
        return (
            np.array([float(need.min_bandwidth or UNASKED_BPS) for need in needs]),
            np.array([float(need.reverse or 0.0) for need in needs]),
        )

    @cached_property
    def limits(self) -> tuple[Floats, Floats, NDArray[np.bool_]]:
        """What each demand's round trip (ms) and loss may be at most, and whether it asked for bandwidth."""
        needs = [demand.intent.spec.requirements for demand in self.demands]
        return (
            np.array([np.inf if need.max_latency is None else float(need.max_latency) for need in needs]),
            np.array([1.0 if need.max_loss is None else float(need.max_loss) for need in needs]),
            np.array([need.min_bandwidth is not None or need.reverse is not None for need in needs]),
        )


def synthetic(topology: Topology, *, seed: int, intents: int = INTENTS) -> Scene:
    """A gateway at every place of a topology, and Intents between random pairs of them.

    What they ask for can be had on idle links: the question is who keeps it when links are not idle.
    """
    resources = {place.name: _gateway(place) for place in topology.places}
    idle = networkx.DiGraph()
    idle.add_weighted_edges_from((link.src, link.dst, link.rtt_ms) for link in topology.links)
    shortest = dict(networkx.all_pairs_dijkstra_path_length(idle))
    pairs = [(a, b) for a, b in permutations(sorted(resources), 2) if b in shortest.get(a, {})]
    rng = np.random.default_rng([seed, len(pairs)])
    chosen = rng.choice(len(pairs), size=min(intents, len(pairs)), replace=False)
    demands = []
    for index in chosen:
        src, dst = pairs[index]
        round_trip_ms = shortest[src][dst] * rng.uniform(*SLACK) + SLACK_MS
        asked_bps = float(np.exp(rng.uniform(*np.log(ASKED_BPS))))
        intent = _intent(resources[src].meta, resources[dst].meta, round(round_trip_ms, 1), round(asked_bps, -5))
        demands.append(
            Demand(
                intent=intent,
                source=resources[src],
                source_gateways={resources[src].id: 0.0},
                candidates=(Candidate(resource=resources[dst], gateways={resources[dst].id: 0.0}),),
                class_=class_of(intent),
            )
        )
    return _scene(topology, resources.values(), sorted(demands, key=lambda demand: demand.key))


def declared(bundle: Bundle, topology: Topology, *, blocks: Blocks) -> Scene:
    """The mesh that manifests declare, with the Intents in them; an agent is taken to run everywhere."""
    resources = bundle.declared.resources
    observed = joined(resources, bundle.attachment_rtt_ms)
    nothing = held(
        statuses=bundle.declared.resource_status,
        circuits={},
        configs={},
        acknowledgements={},
        beacons={},
        blocks=blocks,
    )
    members = enrol(resources, observed.registrations, observed.beacons.keys(), nothing, blocks)
    demands: list[Demand] = []
    unresolved = {}
    for id_, intent in sorted(bundle.declared.intents.items()):
        found = resolve(intent, resources, members, observed)
        demands += found.demands
        if found.problem:
            unresolved[id_] = found.problem.message
    return _scene(
        topology,
        (one for one in resources.values() if one.is_gateway),
        demands,
        policies=tuple(bundle.declared.policies.values()),
        unresolved=unresolved,
    )


def _scene(topology: Topology, gateways: Iterable[Resource], demands: Iterable[Demand], **others: Any) -> Scene:
    return Scene(
        gateways=tuple(gateways),
        links=tuple(link.id for link in topology.links),
        facts={
            link.id: LinkFacts(capacity_bps=link.capacity_bps, egress_price=link.egress_price)
            for link in topology.links
        },
        base_rtt_ms={link.id: link.rtt_ms for link in topology.links},
        demands=tuple(demands),
        **others,
    )


def _gateway(place: Place) -> Resource:
    ref = Ref.parse(place.id)
    return Resource(
        meta=Meta(name=ref.name, namespace=ref.namespace),
        spec=ResourceSpec(
            type=ResourceType.GATEWAY,
            network="internet",
            location=Location(
                provider=place.provider,
                region=place.region,
                site=ref.name,
                latitude=place.latitude,
                longitude=place.longitude,
            ),
            gateway=GatewaySpec(role=Role.CORE, endpoint=f"{ref.name}.example.com:51820"),
        ),
    )


def _intent(src: Meta, dst: Meta, max_latency_ms: float, min_bandwidth_bps: float) -> Intent:
    return Intent(
        meta=Meta(name=f"{src.name}-to-{dst.name}", namespace=src.namespace),
        spec=IntentSpec(
            from_=Source(resource=src.name),
            to=Destination(resource=dst.name),
            profile=Profile.LATENCY,
            requirements=Requirements(
                max_latency=Milliseconds(max_latency_ms),
                min_bandwidth=Bandwidth(min_bandwidth_bps),
                max_loss=Ratio(MOST_LOSS),
            ),
        ),
    )
