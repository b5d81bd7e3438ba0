"""From what is declared and measured to what every agent has to do: the rooms, composed.

Pure functions of their inputs, clock included: no I/O, no Kubernetes, no global state. So the operator, the simulator
and the command line run the same code; ``pipeline`` brings the inputs in and hands the configs out.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import msgspec

from foremesh.discovery.matching import match_destinations, match_sources
from foremesh.model.circuit import Circuit, Figures
from foremesh.model.config import GatewayConfig
from foremesh.model.forecast import Forecast
from foremesh.model.intent import Intent
from foremesh.model.link import LinkId, MeshGraph
from foremesh.model.mesh import Member, MeshState
from foremesh.model.plan import Path, Placement, Plan
from foremesh.model.policy import Policy
from foremesh.model.registration import Acknowledgement, Beacon, Registration
from foremesh.model.resource import Protocol, Resource
from foremesh.model.series import Metric
from foremesh.model.status import IntentStatus, PolicyStatus, ResourceStatus
from foremesh.network.allocate import Held, enrol, held
from foremesh.network.attachment import attach
from foremesh.network.circuits import Desired, class_of, desired_circuits
from foremesh.network.compile import compile_configs, diff
from foremesh.network.labels import Applied
from foremesh.network.place import place_circuits
from foremesh.network.policies import Flavour, PodGroup, PolicyError, Target, prerequisites, render, target
from foremesh.routing.demand import Candidate, Demand, PlannerSettings
from foremesh.routing.graph import adjacency, build_graph
from foremesh.routing.planner import make_plan
from foremesh.routing.policy import matches
from foremesh.settings import Settings

log = logging.getLogger(__name__)

SOFT = frozenset({"maxLatency", "maxLoss", "minBandwidth", "reverse", "connectivity", "gateways"})
"""Requirements that a path can come to miss without anybody having changed his mind."""


@dataclass(frozen=True)
class Declared:
    """What people declared, and what is on record for it; keys are ids (``namespace/name``)."""

    resources: Mapping[str, Resource] = field(default_factory=dict)
    resource_status: Mapping[str, ResourceStatus] = field(default_factory=dict)
    intents: Mapping[str, Intent] = field(default_factory=dict)
    intent_status: Mapping[str, IntentStatus] = field(default_factory=dict)
    policies: Mapping[str, Policy] = field(default_factory=dict)
    policy_status: Mapping[str, PolicyStatus] = field(default_factory=dict)
    circuits: Mapping[str, Circuit] = field(default_factory=dict)


@dataclass(frozen=True)
class Observed:
    """What agents said, as the store has it; keys are member ids."""

    registrations: Mapping[str, Registration] = field(default_factory=dict)
    beacons: Mapping[str, Beacon] = field(default_factory=dict)
    """Only of members that are present: a beacon lives as long as its lease."""
    acks: Mapping[str, Acknowledgement] = field(default_factory=dict)
    configs: Mapping[str, GatewayConfig] = field(default_factory=dict)
    """In force: what agents were told last."""
    unavailable: frozenset[str] = frozenset()
    """Resources reported unavailable."""


@dataclass(frozen=True)
class Forecasts:
    """Every metric's forecast, and what it rests on."""

    by_metric: Mapping[Metric, Forecast] = field(default_factory=dict)
    problem: str = ""
    """Why telemetry could not be read; empty if it was."""


@dataclass(frozen=True)
class Problem:
    """Why an Intent cannot be planned: a CamelCase reason and a message for people."""

    reason: str
    message: str


@dataclass(frozen=True)
class Resolution:
    """Who an Intent is about: its demands, one for each source, or why there are none."""

    demands: tuple[Demand, ...] = ()
    problem: Problem | None = None


@dataclass(frozen=True)
class Chosen:
    """The part of a decision that acknowledgements do not change."""

    plan: Plan
    graph: MeshGraph
    resolved: Mapping[str, Resolution]
    forecasts: Forecasts
    matched: Mapping[str, int]
    """Policy id to the number of intents it is about."""


@dataclass(frozen=True)
class Decision:
    """What follows from what is declared, observed and forecast."""

    chosen: Chosen
    state: MeshState
    desired: Desired
    exhausted: tuple[str, ...]
    """Circuits that are wanted and got no numbers."""
    network_policies: tuple[dict[str, Any], ...]
    """Manifests that pin workloads to their gateways."""
    configs: Mapping[str, GatewayConfig]
    """Every member's config, epochs assigned."""
    changed: tuple[str, ...]
    """Ids of whoever is to get a new config: members, and those that leave."""
    removed: tuple[str, ...]
    """Ids of those that left and have taken everything down."""

    @property
    def served(self) -> Mapping[str, tuple[str, ...]]:
        """Circuit id to the ids of the intents it carries."""
        return {circuit.id: circuit.intents for circuit in self.desired.circuits}

    def circuit_of(self, placement: Placement) -> str:
        """Id of the circuit that carries a placement; empty if it needs none or has none."""
        return self.desired.carriers.get((placement.intent, placement.source), "")

    def unserved(self, placement: Placement) -> str:
        """Why a placement that has a path is carried by nothing; empty if it is carried."""
        for one in self.desired.unserved:
            if (one.intent, one.source) == (placement.intent, placement.source):
                return one.reason
        if self.circuit_of(placement) in self.exhausted:
            return f"no address or interface number is left for circuit {self.circuit_of(placement)}"
        return ""


def decide(
    declared: Declared,
    observed: Observed,
    forecasts: Forecasts,
    settings: Settings,
    *,
    previous: Decision | None = None,
    now_s: float,
) -> Decision:
    """Choose paths for every intent and work out what follows. Pure: equal inputs give equal decisions.

    Args:
        previous: The decision in force; its placements are kept while telemetry is away.
        now_s: Unix time; epochs start from it, so that they grow even when every store was lost.
    """
    members = _members(declared, observed, settings)
    present = [member.resource for member in members if member.is_gateway and member.present]
    graph = build_graph(present, adjacency(present), forecasts.by_metric)
    resolved = {
        intent.id: resolve(intent, declared.resources, members, observed) for intent in declared.intents.values()
    }
    if forecasts.problem:
        plan = hold(declared, resolved, previous, now_s=now_s)
    else:
        plan = make_plan(
            graph,
            [demand for resolution in resolved.values() for demand in resolution.demands],
            declared.circuits.values(),
            declared.policies.values(),
            PlannerSettings(margin=settings.planning.margin),
            made_at_s=now_s,
        )
        plan = keep_flowing(plan, declared)
    return carry_on(
        declared,
        observed,
        Chosen(plan, graph, resolved, forecasts, _matched(declared, resolved)),
        settings,
        now_s=now_s,
    )


def carry_on(
    declared: Declared,
    observed: Observed,
    chosen: Chosen,
    settings: Settings,
    *,
    now_s: float,
) -> Decision:
    """Work out what the paths chosen mean now: circuits, labels a step further, configs. Pure.

    Args:
        chosen: What ``decide`` chose; acknowledgements that arrived since are in ``observed``.
    """
    members = _members(declared, observed, settings)
    applied = Applied(observed.configs, observed.acks)
    epoch = next_epoch(observed, declared, now_s=now_s)
    wanted = desired_circuits(chosen.plan, declared.intents, members, blocks=settings.blocks)
    in_use = _held(declared, observed, settings)
    placed = place_circuits(
        wanted.circuits,
        declared.circuits,
        applied,
        in_use,
        members=declared.resources.keys(),
        epoch=epoch,
        blocks=settings.blocks,
    )
    state = MeshState(
        epoch=epoch,
        blocks=settings.blocks,
        members=members,
        links=adjacency(member.resource for member in members if member.is_gateway and member.registration),
        circuits=placed.circuits,
        local=wanted.local,
    )
    changes = diff(observed.configs, compile_configs(state))
    farewells, gone = take_leave(changes.removed, observed, epoch=epoch)
    return Decision(
        chosen=chosen,
        state=state,
        desired=wanted,
        exhausted=placed.exhausted,
        network_policies=pinning_policies(members, settings),
        configs={**changes.configs, **farewells},
        changed=(*changes.changed, *farewells),
        removed=gone,
    )


def take_leave(
    ids: Iterable[str], observed: Observed, *, epoch: int
) -> tuple[dict[str, GatewayConfig], tuple[str, ...]]:
    """See off agents that have no part in the mesh any more: each is told to take down what it has.

    An agent that hears nothing keeps what it has, as it should when the control plane is away, so silence is no way to
    tell it. Until it has confirmed, its empty config waits for it.

    Returns:
        Empty configs for those that were not told yet, and the ids of those that have confirmed.
    """
    farewells, gone = {}, []
    for id_ in ids:
        config, ack = observed.configs[id_], observed.acks.get(id_)
        farewell = GatewayConfig(gateway=id_, epoch=epoch, blocks=config.blocks)
        if config.revision != farewell.revision:
            farewells[id_] = farewell
        elif ack is not None and ack.applied and ack.epoch >= config.epoch:
            gone.append(id_)
    return farewells, tuple(gone)


def resolve(
    intent: Intent, resources: Mapping[str, Resource], members: Iterable[Member], observed: Observed
) -> Resolution:
    """Find who an Intent is about, and through which gateways each can be reached."""
    by_id = {member.id: member for member in members}
    talking = match_sources(intent, resources.values())
    offering = match_destinations(intent, [one for one in resources.values() if one.id not in observed.unavailable])
    for found, what in ((talking, "from"), (offering, "to")):
        if not found.matched:
            return Resolution(problem=Problem(found.reason, f"spec.{what}: {found.message}; no traffic is carried"))
    obstacles = [_why_no_way(by_id[one.id], resources) for one in talking.matched if not by_id[one.id].gateways]
    candidates = [
        Candidate(resource=one, gateways=_ways(by_id[one.id], observed), addresses=_addresses(by_id[one.id]))
        for one in offering.matched
    ]
    demands = tuple(
        Demand(
            intent=intent,
            source=source,
            source_gateways=ways,
            candidates=tuple(one for one in candidates if one.resource.id != source.id),
            class_=class_of(intent),
            source_addresses=_addresses(by_id[source.id]),
        )
        for source in talking.matched
        if (ways := _ways(by_id[source.id], observed))
    )
    if not demands:
        return Resolution(problem=Problem("NotAttached", f"{obstacles[0]}; no traffic is carried"))
    return Resolution(demands=demands)


def keep_flowing(plan: Plan, declared: Declared) -> Plan:
    """Where no path meets what the network should offer, traffic stays on the path it has: a slow path beats none.

    Only for what changes by itself (measurements, gateways that fall silent). A path that a policy or a changed Intent
    forbids is given up.
    """

    def kept(placement: Placement) -> Placement:
        if placement.infeasible is None or not SOFT.issuperset(placement.infeasible.requirement.split(", ")):
            return placement
        before = _recorded(declared, placement.intent, placement.source)
        if before is None or not _still_asked(declared, placement.intent):
            return placement
        return msgspec.structs.replace(before, infeasible=placement.infeasible, reason=placement.reason)

    return msgspec.structs.replace(plan, placements=tuple(kept(placement) for placement in plan.placements))


def _still_asked(declared: Declared, intent_id: str) -> bool:
    """Whether the path on record was chosen for the Intent as it stands now."""
    status = declared.intent_status.get(intent_id)
    return status is not None and status.observed_generation == declared.intents[intent_id].meta.generation


def hold(declared: Declared, resolved: Mapping[str, Resolution], previous: Decision | None, *, now_s: float) -> Plan:
    """A plan that leaves every placement where it is, for as long as nothing can be known of the links.

    Placements come from the decision in force, or after a restart from what statuses record. Intents that were never
    placed wait.
    """
    before = {(p.intent, p.source): p for p in (previous.chosen.plan.placements if previous else ())}
    placements = []
    for resolution in resolved.values():
        for demand in resolution.demands:
            kept = before.get(demand.key) or _recorded(declared, *demand.key)
            if kept is not None and kept.destination in {one.resource.id for one in demand.candidates}:
                placements.append(kept)
    return Plan(made_at_s=now_s, placements=tuple(sorted(placements, key=lambda p: (p.intent, p.source))))


def _recorded(declared: Declared, intent_id: str, source: str) -> Placement | None:
    status = declared.intent_status.get(intent_id)
    for placement in status.placements if status else ():
        circuit = declared.circuits.get(placement.circuit)
        if placement.source == source and circuit is not None and circuit.status.path:
            gateways = circuit.status.path
            figures = circuit.status.predicted or Figures()
            return Placement(
                intent=intent_id,
                source=source,
                destination=placement.destination,
                path=Path(gateways=gateways, links=_links_of(gateways), figures=figures),
                kept=True,
                reason=placement.reason,
            )
    return None


def _links_of(gateways: tuple[str, ...]) -> tuple[LinkId, ...]:
    return tuple(LinkId(src=src, dst=dst) for src, dst in pairwise(gateways))


def pinning_policies(members: Iterable[Member], settings: Settings) -> tuple[dict[str, Any], ...]:
    """Policies for every workload that has an agent and gateways; none where the settings want none, or do not say
    where the mesh API is: a pinned workload that cannot reach it would be cut off for good."""
    api = _api_target(settings)
    if settings.network_policies == "None" or api is None:
        return ()
    flavour = Flavour(settings.network_policies)
    by_id = {member.id: member for member in members}
    rendered: list[dict[str, Any]] = []
    for member in by_id.values():
        if member.registration is None or not member.gateways:
            continue
        try:
            rendered += render(member, [by_id[gateway] for gateway in member.gateways], flavour, api=api)
        except PolicyError as error:
            log.warning("workload not pinned resource=%s error=%s", member.id, error)
    return (*prerequisites(flavour), *rendered) if rendered else ()


def _api_target(settings: Settings) -> Target | None:
    api = settings.api
    if api.pods is not None:
        pods = PodGroup(api.pods.namespace, api.pods.match_labels)
        return target(api.listen, Protocol.TCP, pods=pods, what="mesh API")
    return target(api.address, Protocol.TCP, what="mesh API") if api.address else None


def _matched(declared: Declared, resolved: Mapping[str, Resolution]) -> dict[str, int]:
    def about(policy: Policy, resolution: Resolution) -> bool:
        return any(
            matches(
                policy.spec.match,
                demand.intent,
                (demand.source, demand.source_addresses),
                (candidate.resource, candidate.addresses),
            )
            for demand in resolution.demands
            for candidate in demand.candidates
        )

    return {
        id_: sum(about(policy, resolution) for resolution in resolved.values())
        for id_, policy in declared.policies.items()
    }


def next_epoch(observed: Observed, declared: Declared, *, now_s: float) -> int:
    """An epoch later than every one that anybody has heard of, also if the store was lost: it starts from the clock."""
    heard = [config.epoch for config in observed.configs.values()]
    heard += [ack.epoch for ack in observed.acks.values()]
    heard += [beacon.applied_epoch for beacon in observed.beacons.values()]
    heard += [label.epoch for circuit in declared.circuits.values() for label in circuit.status.labels]
    return max(int(now_s), max(heard, default=0) + 1)


def _held(declared: Declared, observed: Observed, settings: Settings) -> Held:
    return held(
        statuses=declared.resource_status,
        circuits=declared.circuits,
        configs=observed.configs,
        acknowledgements=observed.acks,
        beacons=observed.beacons,
        blocks=settings.blocks,
    )


def _members(declared: Declared, observed: Observed, settings: Settings) -> tuple[Member, ...]:
    return enrol(
        declared.resources,
        observed.registrations,
        observed.beacons.keys(),
        _held(declared, observed, settings),
        settings.blocks,
    )


def _ways(member: Member, observed: Observed) -> dict[str, float | None]:
    """The gateways a resource is reached through, each with the measured round trip to it in milliseconds (None:
    unknown; 0: the resource is the gateway)."""
    if member.is_gateway:
        return {member.id: 0.0}
    return {gateway: attachment_rtt_ms(member.id, gateway, observed) for gateway in member.gateways}


def attachment_rtt_ms(workload: str, gateway: str, observed: Observed) -> float | None:
    """Round trip between a workload and its gateway as its agent measured it; None if it did not."""
    beacon = observed.beacons.get(workload)
    report = beacon.probes.get(gateway) if beacon else None
    return report.rtt_ms if report else None


def _addresses(member: Member) -> tuple[str, ...]:
    return (member.address,) if member.address else ()


def _why_no_way(member: Member, resources: Mapping[str, Resource]) -> str:
    return attach(member.resource, [resource for resource in resources.values() if resource.is_gateway]).reason
