"""From a plan to the circuits it asks for: intents of the same ends and class share one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from foremesh.model.addresses import Blocks
from foremesh.model.circuit import CircuitSpec, FirewallRule
from foremesh.model.intent import Encryption, Intent, Requirements, Traffic
from foremesh.model.manifest import encode
from foremesh.model.mesh import LocalPair, Member, SteeredPair
from foremesh.model.meta import Ref
from foremesh.model.plan import Path, Placement, Plan
from foremesh.model.units import Bandwidth
from foremesh.network.specs import create_circuit

NAME_PART = 26
"""Characters of each end's name in a circuit's: two of them, two dashes and a digest stay below the 63 of a label."""
DIGEST = 8
"""Hexadecimal digits of a digest in a name; 32 bits tell apart the circuits between two gateways."""


@dataclass(frozen=True)
class DesiredCircuit:
    """A circuit that the plan asks for.

    Attributes:
        id: ``namespace/name``; the namespace is that of the ``from`` gateway, since intents of several may share it.
        path: Where the plan wants it; not part of the spec, which forecasts never touch.
        intents: Ids of the intents it serves, sorted.
    """

    id: str
    spec: CircuitSpec
    path: Path
    pairs: tuple[SteeredPair, ...]
    intents: tuple[str, ...]
    standby: Path | None = None
    """Where it is to fall over to."""


@dataclass(frozen=True)
class Unserved:
    """A placement that no circuit can carry out, and why."""

    intent: str
    source: str
    reason: str


@dataclass(frozen=True)
class Desired:
    """All that a plan asks for; each tuple sorted.

    Attributes:
        carriers: Intent id and source to the circuit that carries the placement; it is missing where the placement is
            local or unserved.
        backups: Intent id and source to the circuits that take over where a site of the placement loses a gateway.
    """

    circuits: tuple[DesiredCircuit, ...] = ()
    local: tuple[LocalPair, ...] = ()
    unserved: tuple[Unserved, ...] = ()
    carriers: Mapping[tuple[str, str], str] = field(default_factory=dict)
    backups: Mapping[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)


@dataclass
class _Group:
    """Placements that share a circuit, the most important one first."""

    intent: Intent
    path: Path
    standby: Path | None
    class_: str
    intents: set[str] = field(default_factory=set)
    pairs: dict[tuple[str, str], SteeredPair] = field(default_factory=dict)
    forward_bps: float = 0.0
    reverse_bps: float = 0.0


def class_of(intent: Intent) -> str:
    """The class of traffic that an intent belongs to: profile, encryption, and a digest of every requirement but the
    bandwidth, which adds up; but what has a reservation does not share it with what has none. A dedicated intent is a
    class of its own."""
    spec = intent.spec
    encryption = spec.requirements.encryption or Encryption.END_TO_END
    alike = msgspec.structs.replace(spec.requirements, min_bandwidth=None, reverse=None, encryption=None)
    more = [f"dscp {spec.dscp}"] if spec.dscp is not None else []
    more += ["reserves"] if spec.requirements.min_bandwidth else []
    more += ["reserves reverse"] if spec.requirements.reverse else []
    digest = _digest(encode(alike), intent.id.encode() if spec.dedicated else b"", *(part.encode() for part in more))
    return f"{spec.profile}-{encryption}-{digest}".lower()


def class_between(class_: str, source: str, destination: str) -> str:
    """The class of a circuit whose workloads may be reached through several gateways: an inner interface has one peer
    for an address, so such circuits never share theirs with another of the same class."""
    return f"{class_}-{_digest(source.encode(), destination.encode())}"


def base_class(class_: str) -> str:
    """The class that demands are of: three parts, to which ``class_between`` may have added one."""
    return "-".join(class_.split("-")[:3])


def circuit_id(source: str, destination: str, class_: str) -> str:
    """The id of the circuit between two gateways for a class: readable, and a valid name of 63 characters at most."""
    digest = _digest(source.encode(), destination.encode(), class_.encode())
    parts = (Ref.parse(end).name.replace(".", "-")[:NAME_PART].strip("-") for end in (source, destination))
    return str(Ref(namespace=Ref.parse(source).namespace, name="-".join((*parts, digest))))


def desired_circuits(
    plan: Plan,
    intents: Mapping[str, Intent],
    members: Iterable[Member],
    *,
    blocks: Blocks | None = None,
    backups: Sequence[Placement] = (),
) -> Desired:
    """Work out which circuits carry a plan.

    A pair that one gateway serves needs no circuit. Where two placements disagree on something they share (a circuit's
    path, the gateway by which a workload reaches another), the one of the higher priority decides.

    Args:
        plan: Placements without a path are passed over.
        intents: By id; a placement of an intent that is gone is passed over.
        members: With addresses allocated.
        backups: Where placements of the plan go that lose a gateway; one of a placement that no circuit carries is
            passed over. Backups are circuits like any other; only their pairs say that others come first.
    """
    by_id = {member.id: member for member in members}
    groups: dict[str, _Group] = {}
    local: dict[tuple[str, str, str], LocalPair] = {}
    spare: dict[tuple[str, str], list[str]] = {}
    ways: dict[tuple[str, str], str] = {}
    unserved = []
    carriers: dict[tuple[str, str], str] = {}
    for placement, intent in _by_importance(plan.placements, intents):
        path, destination = placement.path, placement.destination
        if path is None or destination is None:
            continue
        reason = _obstacle(placement.source, destination, path, by_id, ways)
        if reason:
            unserved.append(Unserved(intent.id, placement.source, reason))
            continue
        source, target = by_id[placement.source], by_id[destination]
        ways[source.id, target.id], ways[target.id, source.id] = path.gateways[0], path.gateways[-1]
        pair = _pair(source, target, intent)
        if len(path.gateways) == 1:
            # Another gateway that both attach to routes between them just as well.
            for gateway in sorted({path.gateways[0], *source.gateways} & {path.gateways[0], *target.gateways}):
                key = (gateway, source.id, target.id)
                here = msgspec.structs.replace(pair, backup=gateway != path.gateways[0])
                local[key] = LocalPair(gateway=gateway, pair=_merged(local[key].pair if key in local else None, here))
            continue
        carriers[intent.id, source.id] = _join(groups, placement, path, intent, (source, target), pair)
    for placement, intent in _by_importance(backups, intents):
        path, destination = placement.path, placement.destination
        if path is None or destination is None or (intent.id, placement.source) not in carriers:
            continue
        if len(path.gateways) == 1 or _obstacle(placement.source, destination, path, by_id, {}):
            continue
        ends = by_id[placement.source], by_id[destination]
        pair = msgspec.structs.replace(_pair(*ends, intent), backup=True)
        id_ = _join(groups, placement, path, intent, ends, pair)
        spare.setdefault((intent.id, placement.source), []).append(id_)
    return Desired(
        circuits=tuple(_circuit(id_, groups[id_], blocks) for id_ in sorted(groups)),
        local=tuple(local[key] for key in sorted(local)),
        unserved=tuple(sorted(unserved, key=lambda one: (one.intent, one.source))),
        carriers=carriers,
        backups={key: tuple(ids) for key, ids in spare.items()},
    )


def _pair(source: Member, target: Member, intent: Intent) -> SteeredPair:
    return SteeredPair(
        source=source.id,
        source_address=source.address or "",
        destination=target.id,
        destination_address=target.address or "",
        traffic=intent.spec.traffic,
        services=(f"{intent.spec.to.service}.{intent.meta.namespace}",) if intent.spec.to.service else (),
    )


def _join(
    groups: dict[str, _Group],
    placement: Placement,
    path: Path,
    intent: Intent,
    ends: tuple[Member, Member],
    pair: SteeredPair,
) -> str:
    """Put a pair into the circuit of its class between the ends of a path; the circuit's id."""
    first, last = path.gateways[0], path.gateways[-1]
    class_ = class_of(intent)
    if any(len(end.gateways) > 1 for end in ends):
        class_ = class_between(class_, first, last)
    id_ = circuit_id(first, last, class_)
    group = groups.setdefault(id_, _Group(intent, path, placement.standby, class_))
    group.intents.add(intent.id)
    group.pairs[pair.source, pair.destination] = _merged(group.pairs.get((pair.source, pair.destination)), pair)
    group.forward_bps += intent.spec.requirements.min_bandwidth or 0.0
    group.reverse_bps += intent.spec.requirements.reverse or 0.0
    return id_


def firewall_of(pairs: Iterable[SteeredPair]) -> tuple[FirewallRule, ...]:
    """The rules that let pass what pairs may exchange, and nothing else."""
    return tuple(
        FirewallRule(
            protocol=traffic.protocol if traffic else None,
            ports=tuple(sorted(set(traffic.ports))) if traffic else (),
            sources=(f"{pair.source_address}/32",),
            destinations=(f"{pair.destination_address}/32",),
        )
        for pair in pairs
        for traffic in (pair.traffic or (None,))
    )


def _by_importance(placements: Iterable[Placement], intents: Mapping[str, Intent]) -> list[tuple[Placement, Intent]]:
    known = [(placement, intents[placement.intent]) for placement in placements if placement.intent in intents]
    return sorted(known, key=lambda one: (-one[1].spec.priority, one[1].id, one[0].source))


def _obstacle(
    source: str, destination: str, path: Path, members: Mapping[str, Member], ways: Mapping[tuple[str, str], str]
) -> str:
    """Why a placement cannot be carried out; empty if it can."""
    served = [members[id_].target for id_ in (source, destination) if id_ in members]
    if len(path.gateways) == 1 and all(served):
        return f"{source} and {destination} have no agents and one gateway, which does not translate between them"
    for own, far, gateway in ((source, destination, path.gateways[0]), (destination, source, path.gateways[-1])):
        member = members.get(own)
        if member is None or member.address is None:
            return f"{own} has no mesh address, so nothing can be sent from or to it; see its conditions"
        if gateway not in (member.gateways or (member.id,)):
            return f"{own} is not attached to {gateway}, where the path ends; the plan is older than the attachment"
        if ways.get((own, far), gateway) != gateway:
            return (
                f"{own} already reaches {far} through {ways[own, far]} for a more important intent, and a workload "
                f"uses one gateway for one destination; not placed through {gateway}"
            )
    return ""


def _merged(one: SteeredPair | None, other: SteeredPair) -> SteeredPair:
    """Both pairs' services and traffic; everything if either has everything."""
    if one is None:
        return other
    services = tuple(sorted({*one.services, *other.services}))
    if not one.traffic or not other.traffic:
        return msgspec.structs.replace(one, traffic=(), services=services)
    return msgspec.structs.replace(one, traffic=_unique((*one.traffic, *other.traffic)), services=services)


def _unique(traffic: Iterable[Traffic]) -> tuple[Traffic, ...]:
    return tuple(dict.fromkeys(traffic))


def _circuit(id_: str, group: _Group, blocks: Blocks | None) -> DesiredCircuit:
    spec = group.intent.spec
    pairs = tuple(group.pairs[key] for key in sorted(group.pairs))
    return DesiredCircuit(
        id=id_,
        spec=create_circuit(
            group.path.gateways[0],
            group.path.gateways[-1],
            class_=group.class_,
            encryption=spec.requirements.encryption or Encryption.END_TO_END,
            profile=spec.profile,
            requirements=_requirements(spec.requirements, group),
            firewall=firewall_of(pairs),
            dscp=spec.dscp,
            blocks=blocks,
        ),
        path=group.path,
        pairs=pairs,
        intents=tuple(sorted(group.intents)),
        standby=group.standby,
    )


def _requirements(alike: Requirements, group: _Group) -> Requirements:
    return msgspec.structs.replace(
        alike,
        min_bandwidth=Bandwidth(group.forward_bps) if group.forward_bps else None,
        reverse=Bandwidth(group.reverse_bps) if group.reverse_bps else None,
    )


def _digest(*parts: bytes) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:DIGEST]
