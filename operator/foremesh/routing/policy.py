"""What an Intent asks once the administrator has had a word: MeshPolicies applied to its requirements and weights.

Every policy in force that matches counts. Restrictions only add up: a gateway has to be in the regions, and of the
providers, of all that require some, and has the labels that any requires; the path passes one of the gateways that each
requires, what any avoids is avoided, the strongest encryption holds, one ``deny`` is enough. So the order does not
matter to them, and no policy can loosen what an Intent or another policy asks. Preferences add up too. Only of cost
weights can there be but one: weight by weight the policy of the highest priority wins, and the last name among equals.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import TypeVar

from msgspec import structs

from foremesh.model.intent import Avoid, Encryption, Intent, Requirements, Traffic
from foremesh.model.plan import Infeasible
from foremesh.model.policy import AppliedPolicy, CostWeights, Policy, PolicyMatch, Prefer
from foremesh.model.resource import Protocol, Resource
from foremesh.model.units import Bandwidth
from foremesh.routing.cost import PROFILES, Weights

NO_WEIGHTS = CostWeights()

WEIGHT_NAMES = tuple((field.encode_name, field.name) for field in structs.fields(CostWeights))
"""Name in a manifest and field of every weight; asked for once, since msgspec works it out anew each time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effective:
    """What holds for an Intent between one source and one destination."""

    requirements: Requirements
    """With ``encryption`` always set."""
    weights: Weights
    prefer: tuple[Prefer, ...] = ()
    through: tuple[tuple[str, ...], ...] = ()
    """Of each of these groups, the path must pass at least one gateway."""
    origins: tuple[tuple[str, str], ...] = ()
    """Which requirement which policies tightened."""
    refused: Infeasible | None = None
    """Set if nothing can be placed, whatever the network offers."""


@dataclass(slots=True)
class _Restrictions:
    """What adds up while policies are gone through."""

    regions: tuple[str, ...]
    providers: tuple[str, ...]
    labels: tuple[str, ...]
    avoid: Avoid
    encryption: Encryption
    through: tuple[tuple[str, ...], ...] = ()
    origins: dict[str, list[str]] = field(default_factory=dict)
    refused: Infeasible | None = None

    def note(self, requirement: str, policy: Policy) -> None:
        self.origins.setdefault(requirement, []).append(policy.id)

    def add(self, policy: Policy) -> None:
        spec = policy.spec
        if spec.deny:
            self.refuse("policy", f"MeshPolicy {policy.id} denies it", "")
        if spec.require.regions:
            self.regions = self._common("regions", self.regions, spec.require.regions, policy)
        if spec.require.providers:
            self.providers = self._common("providers", self.providers, spec.require.providers, policy)
        if spec.require.gateway_labels:
            self.note("gatewayLabels", policy)
            self.labels = tuple(sorted({*self.labels, *spec.require.gateway_labels}))
        if spec.require.gateways:
            self.note("policy", policy)
            self.through = (*self.through, spec.require.gateways)
        if spec.avoid != Avoid():
            self.note("avoid", policy)
            self.avoid = union(self.avoid, spec.avoid)
        if spec.minimum_encryption is not None and not self.encryption.satisfies(spec.minimum_encryption):
            self.note("encryption", policy)
            self.encryption = spec.minimum_encryption

    def _common(
        self, requirement: str, ours: tuple[str, ...], theirs: tuple[str, ...], policy: Policy
    ) -> tuple[str, ...]:
        self.note(requirement, policy)
        both = common(ours, theirs)
        if both is None:
            asked = ", ".join(ours)
            cause = f"MeshPolicy {policy.id} requires {', '.join(theirs)}, and none of these is among {asked}"
            self.refuse(requirement, f"{requirement}: asked {asked}; {cause}", asked)
        return both or ()

    def refuse(self, requirement: str, message: str, asked: str) -> None:
        if self.refused is None:
            self.refused = Infeasible(requirement=requirement, asked=asked, nearest="", message=message)


def effective(
    intent: Intent,
    source: Resource,
    destination: Resource,
    policies: Iterable[Policy],
    *,
    source_addresses: Iterable[str] = (),
    destination_addresses: Iterable[str] = (),
) -> Effective:
    """Apply every matching policy to an Intent.

    Args:
        intent: As declared.
        source: Who talks.
        destination: Whom it would talk to.
        policies: All there are, in any order; those that are not in force change nothing.
        source_addresses: Addresses of the source beyond those its manifest states; for matching CIDRs.
        destination_addresses: Likewise.

    Returns:
        Requirements, weights and preferences; ``refused`` if a policy denies the Intent or contradicts it. An Intent
        that does not say otherwise is encrypted end to end.
    """
    asked = intent.spec.requirements
    weights, prefer = PROFILES[intent.spec.profile], list[Prefer]()
    ends = ((source, tuple(source_addresses)), (destination, tuple(destination_addresses)))
    applied = matching((one for one in policies if one.in_force), intent, *ends)
    if not applied:
        encrypted = asked if asked.encryption else structs.replace(asked, encryption=Encryption.END_TO_END)
        return Effective(requirements=encrypted, weights=weights)
    add = _Restrictions(
        asked.regions,
        asked.providers,
        asked.gateway_labels,
        asked.avoid,
        asked.encryption or Encryption.END_TO_END,
    )
    for policy in applied:
        add.add(policy)
        if policy.spec.prefer != Prefer():
            prefer.append(policy.spec.prefer)
        weights = weights.override(policy.spec.weights)
    return Effective(
        requirements=structs.replace(
            asked,
            regions=add.regions,
            providers=add.providers,
            gateway_labels=add.labels,
            avoid=add.avoid,
            encryption=add.encryption,
        ),
        weights=weights,
        prefer=tuple(prefer),
        through=add.through,
        origins=tuple((requirement, ", ".join(by)) for requirement, by in sorted(add.origins.items())),
        refused=add.refused,
    )


End = tuple[Resource, tuple[str, ...]]
"""A resource and its known addresses beyond those that its manifest states."""


def matching(policies: Iterable[Policy], intent: Intent, source: End, destination: End) -> list[Policy]:
    """Policies that are about an Intent between two ends, those that overrule others after these."""
    return sorted(
        (one for one in policies if matches(one.spec.match, intent, source, destination)),
        key=lambda policy: policy.precedence,
    )


def matches(match: PolicyMatch, intent: Intent, source: End, destination: End) -> bool:
    """Whether every part of a match that is set holds. A CIDR holds if a known address lies in it: a policy that has
    to catch a resource whose address is not known must match it by label or namespace."""
    return (
        concerns(match, intent)
        and (match.source is None or match.source.matches(source[0].meta.labels))
        and (match.destination is None or match.destination.matches(destination[0].meta.labels))
        and (not match.source_cidrs or within(known_of(source), match.source_cidrs))
        and (not match.destination_cidrs or within(known_of(destination), match.destination_cidrs))
    )


def concerns(match: PolicyMatch, intent: Intent) -> bool:
    """Whether the parts of a match hold that are about the Intent itself and not its ends.

    Application, protocol and ports have to hold of one kind of its traffic. What names no ports has all of them, and
    an Intent that names no traffic carries everything: a policy on a port cannot be escaped by not naming the port.
    """
    if match.namespaces and intent.meta.namespace not in match.namespaces:
        return False
    if not (match.application or match.protocol or match.ports):
        return True
    everything = not intent.spec.traffic and not match.application
    return everything or any(_carries(traffic, match) for traffic in intent.spec.traffic)


def _carries(traffic: Traffic, match: PolicyMatch) -> bool:
    ports_meet = traffic.protocol is not Protocol.ICMP and (not traffic.ports or {*traffic.ports} & {*match.ports})
    return (
        (not match.application or match.application == traffic.application)
        and (match.protocol is None or match.protocol is traffic.protocol)
        and bool(not match.ports or ports_meet)
    )


def known_of(end: End) -> tuple[str, ...]:
    """Every known address of an end."""
    return (*addresses(end[0]), *end[1])


def applied(policies: Iterable[Policy], intent: Intent, source: End, destination: End) -> tuple[AppliedPolicy, ...]:
    """What every matching policy does to an Intent between two ends, in words; those that overrule others first.

    Those that are not in force are told too, with what they would do.
    """
    found = matching(policies, intent, source, destination)
    enforced = [one for one in found if one.in_force]
    winner = {name: one.id for one in enforced for name in _weights(one)}
    return tuple(
        AppliedPolicy(
            policy=one.id,
            priority=one.spec.priority,
            mode=one.spec.mode,
            effects=tuple(_effects(one, winner if one.in_force else {})),
        )
        for one in reversed(found)
    )


def _effects(policy: Policy, winner: Mapping[str, str]) -> Iterable[str]:
    spec = policy.spec
    if spec.deny:
        yield "denies the traffic"
    for what, kind, lists in (
        ("requires every gateway in one of", "regions", spec.require.regions),
        ("requires every gateway of one of", "providers", spec.require.providers),
        ("requires every gateway with all of", "labels", spec.require.gateway_labels),
        ("requires one of", "gateways", spec.require.gateways),
        ("avoids", "regions", spec.avoid.regions),
        ("avoids", "providers", spec.avoid.providers),
        ("avoids", "labels", spec.avoid.gateway_labels),
        ("avoids", "gateways", spec.avoid.gateways),
        ("prefers", "regions", spec.prefer.regions),
        ("prefers", "providers", spec.prefer.providers),
        ("prefers", "labels", spec.prefer.gateway_labels),
        ("prefers", "gateways", spec.prefer.gateways),
    ):
        if lists:
            yield f"{what} {kind} {', '.join(sorted(lists))}"
    if spec.minimum_encryption is not None:
        yield f"requires encryption {spec.minimum_encryption} at least"
    for name, value in _weights(policy).items():
        overruled = winner.get(name, policy.id)
        yield f"sets weight {name} to {value:g}" + (f", overruled by {overruled}" if overruled != policy.id else "")


def _weights(policy: Policy) -> dict[str, float]:
    """The weights that a policy gives, by their names in a manifest."""
    weights = policy.spec.weights
    if weights == NO_WEIGHTS:
        return {}
    given = ((name, getattr(weights, field)) for name, field in WEIGHT_NAMES)
    return {name: value for name, value in given if value is not None}


def addresses(resource: Resource) -> tuple[str, ...]:
    """The addresses that a resource's manifest states: a machine's, or the host of a gateway's endpoint."""
    stated = []
    if resource.spec.machine:
        stated.append(resource.spec.machine.address)
    if resource.spec.gateway and resource.spec.gateway.endpoint:
        stated.append(resource.spec.gateway.endpoint.rpartition(":")[0].strip("[]"))
    return tuple(stated)


def within(known: Iterable[str], cidrs: Iterable[str]) -> bool:
    """Whether an address lies in a prefix. Host names are no addresses: they lie in none."""
    networks = [ip_network(cidr, strict=False) for cidr in cidrs]
    for text in known:
        try:
            address = ip_address(text)
        except ValueError:
            continue
        if any(address in network for network in networks):
            return True
    return False


def common(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...] | None:
    """What two lists both allow, an empty one allowing everything; None if they have nothing in common."""
    if not one or not other:
        return tuple(sorted({*one, *other}))
    return tuple(sorted({*one} & {*other})) or None


def union(one: Avoid, other: Avoid) -> Avoid:
    return Avoid(
        regions=tuple(sorted({*one.regions, *other.regions})),
        providers=tuple(sorted({*one.providers, *other.providers})),
        gateways=tuple(sorted({*one.gateways, *other.gateways})),
        gateway_labels=tuple(sorted({*one.gateway_labels, *other.gateway_labels})),
    )


def tighten(one: Effective, other: Effective) -> Effective | None:
    """What satisfies both, for intents that have to share a path; bandwidths add up, the first one's weights hold.

    Returns:
        None if their regions or providers exclude each other.
    """
    a, b = one.requirements, other.requirements
    regions, providers = common(a.regions, b.regions), common(a.providers, b.providers)
    if regions is None or providers is None:
        return None
    strongest = a.encryption if a.encryption and a.encryption.satisfies(b.encryption) else b.encryption
    requirements = Requirements(
        max_latency=_least(a.max_latency, b.max_latency),
        min_bandwidth=_sum(a.min_bandwidth, b.min_bandwidth),
        reverse=_sum(a.reverse, b.reverse),
        max_loss=_least(a.max_loss, b.max_loss),
        max_hops=_least(a.max_hops, b.max_hops),
        max_egress_price=_least(a.max_egress_price, b.max_egress_price),
        encryption=strongest,
        regions=regions,
        providers=providers,
        gateway_labels=tuple(sorted({*a.gateway_labels, *b.gateway_labels})),
        avoid=union(a.avoid, b.avoid),
    )
    return Effective(
        requirements=requirements,
        weights=one.weights,
        prefer=one.prefer,
        through=tuple(dict.fromkeys((*one.through, *other.through))),
        origins=tuple({**dict(other.origins), **dict(one.origins)}.items()),
    )


Quantity = TypeVar("Quantity", bound=float)


def _least(one: Quantity | None, other: Quantity | None) -> Quantity | None:
    known = [value for value in (one, other) if value is not None]
    return min(known, default=None)


def _sum(one: Bandwidth | None, other: Bandwidth | None) -> Bandwidth | None:
    known = [value for value in (one, other) if value is not None]
    return Bandwidth(sum(known)) if known else None
