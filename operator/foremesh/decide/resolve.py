"""Who an Intent is about, and how each of them is reached."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import msgspec

from foremesh.decide.values import Declared, Observed, Problem, Resolution
from foremesh.discovery.matching import match_destinations, match_sources
from foremesh.model.addresses import Blocks
from foremesh.model.intent import Encryption, Intent, Steering
from foremesh.model.mesh import Call, Member
from foremesh.model.policy import Policy
from foremesh.model.resource import Resource
from foremesh.network.attachment import attach
from foremesh.network.circuits import class_of
from foremesh.network.steering import obstacles
from foremesh.routing.demand import Candidate, Demand
from foremesh.routing.policy import concerns, matches


def as_served(intent: Intent, policies: Iterable[Policy]) -> Intent:
    """The Intent as circuits are made for it: encrypted hop by hop only where it asks for that, and no MeshPolicy that
    may be about it demands more.

    Which sources and destinations a policy is about is not looked at: a circuit carries several pairs, and too much
    encryption harms nobody. End to end is what is meant where nothing is said, so that both share circuits.
    """
    asked = intent.spec.requirements.encryption
    if asked is not Encryption.HOP_BY_HOP or any(_demands_end_to_end(policy, intent) for policy in policies):
        asked = None
    requirements = msgspec.structs.replace(intent.spec.requirements, encryption=asked)
    return msgspec.structs.replace(intent, spec=msgspec.structs.replace(intent.spec, requirements=requirements))


def _demands_end_to_end(policy: Policy, intent: Intent) -> bool:
    demanded = policy.spec.minimum_encryption is Encryption.END_TO_END
    return demanded and policy.in_force and concerns(policy.spec.match, intent)


def resolve(
    intent: Intent, resources: Mapping[str, Resource], members: Iterable[Member], observed: Observed
) -> Resolution:
    """Find who an Intent is about, and through which gateways each can be reached.

    A resource without an agent cannot send or receive.
    """
    by_id = {member.id: member for member in members}
    talking = match_sources(intent, resources.values())
    offering = match_destinations(intent, [one for id_, one in resources.items() if id_ not in observed.unavailable])
    for found, what in ((talking, "from"), (offering, "to")):
        if not found.matched:
            return Resolution(problem=Problem(found.reason, f"spec.{what}: {found.message}; no traffic is carried"))
    obstacles = {one.id: _obstacle(by_id[one.id], resources) for one in (*talking.matched, *offering.matched)}
    for found, what in ((talking, "from"), (offering, "to")):
        problems = [problem for one in found.matched if (problem := obstacles[one.id])]
        if len(problems) == len(found.matched):
            more = f", and {len(problems) - 1} more like it" if len(problems) > 1 else ""
            message = f"spec.{what}: {problems[0].message}{more}; no traffic is carried"
            return Resolution(problem=Problem(problems[0].reason, message))
    candidates = [one for one in offering.matched if not obstacles[one.id]]
    demands = tuple(
        Demand(
            intent=intent,
            source=source,
            source_gateways=_ways_of_source(by_id[source.id], by_id, observed),
            candidates=tuple(
                Candidate(resource=one, gateways=_ways(by_id[one.id], observed), addresses=_addresses(by_id[one.id]))
                for one in candidates
                if one.id != source.id
            ),
            class_=class_of(intent),
            source_addresses=_addresses(by_id[source.id]),
        )
        for source in talking.matched
        if not obstacles[source.id]
    )
    left_out = tuple(problem.message for one in talking.matched if (problem := obstacles[one.id]))
    return Resolution(demands=demands, left_out=left_out)


def resolve_all(
    intents: Mapping[str, Intent],
    resources: Mapping[str, Resource],
    members: Iterable[Member],
    observed: Observed,
    blocks: Blocks,
) -> dict[str, Resolution]:
    """Resolve every Intent; a source that cannot call its destination by the address it asks for is left out."""
    listed = tuple(members)
    contested = obstacles(calls_of(intents.values(), resources), {member.id: member for member in listed}, blocks)
    resolved = {}
    for id_, intent in intents.items():
        found = resolve(intent, resources, listed, observed)
        demands = tuple(one for one in found.demands if one.key not in contested)
        left_out = tuple(contested[one.key] for one in found.demands if one.key in contested)
        if left_out and not demands:
            found = Resolution(problem=Problem("NoOwnAddress", f"{left_out[0]}; no traffic is carried"))
        resolved[id_] = replace(found, demands=demands, left_out=(*found.left_out, *left_out))
    return resolved


def calls_of(intents: Iterable[Intent], resources: Mapping[str, Resource]) -> tuple[Call, ...]:
    """Who calls whom by an own address, by what is declared alone: the most important Intent first."""
    ordered = sorted(intents, key=lambda intent: (-intent.spec.priority, intent.id))
    return tuple(
        Call(intent=intent.id, source=source.id, destination=destination.id, traffic=intent.spec.traffic)
        for intent in ordered
        if intent.spec.steering is Steering.OWN_ADDRESS
        for destination in match_destinations(intent, resources.values()).matched
        for source in match_sources(intent, resources.values()).matched
        if source.id != destination.id
    )


def among_heard(demand: Demand, observed: Observed) -> Demand:
    """The demand with destinations whose agents are heard, or with all where none is: then it may be the mesh API that
    is away."""
    # For one without an agent, its gateways speak.
    heard = tuple(
        one
        for one in demand.candidates
        if one.resource.id in observed.beacons
        or (one.resource.id not in observed.registrations and one.gateways.keys() & observed.beacons.keys())
    )
    return replace(demand, candidates=heard or demand.candidates)


def matched_intents(declared: Declared, resolved: Mapping[str, Resolution]) -> dict[str, int]:
    """Policy id to the number of intents that it is about, for at least one of their sources and destinations."""

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


def attachment_rtt_ms(end: str, gateway: str, observed: Observed) -> float | None:
    """Measured round trip between an end and its gateway: 0 if it is the gateway itself, None if unknown."""
    if end == gateway:
        return 0.0
    beacon = observed.beacons.get(end)
    report = beacon.probes.get(gateway) if beacon else None
    return report.rtt_ms if report else None


def _obstacle(member: Member, resources: Mapping[str, Resource]) -> Problem | None:
    """Why nothing can be sent from or to a resource."""
    if not member.is_gateway and not member.gateways:
        reason = attach(member.resource, [one for one in resources.values() if one.is_gateway]).reason
        return Problem("NotAttached", reason)
    if member.registration is None and not member.target:
        return Problem("NoAgent", f"no agent of {member.id} has registered, so nothing can reach it")
    return None


def _ways(member: Member, observed: Observed) -> dict[str, float | None]:
    """The gateways a resource is reached through, each with the measured round trip to it in milliseconds. For one
    without an agent the mesh ends at its gateways, and so do its figures."""
    gateways = (member.id,) if member.is_gateway else member.gateways
    if member.target:
        return dict.fromkeys(gateways, 0.0)
    return {gateway: attachment_rtt_ms(member.id, gateway, observed) for gateway in gateways}


def _ways_of_source(member: Member, members: Mapping[str, Member], observed: Observed) -> dict[str, float | None]:
    """As ``_ways``. What has no agent sends to the one gateway that it routes by: the first, as its status says."""
    ways = _ways(member, observed)
    if not member.target:
        return ways
    served = [gateway for gateway in ways if members[gateway].registration is not None]
    return {gateway: ways[gateway] for gateway in served[:1]}


def _addresses(member: Member) -> tuple[str, ...]:
    return (member.address,) if member.address else ()
