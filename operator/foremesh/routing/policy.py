"""What an Intent asks once the administrator has had a word: MeshPolicies applied to its requirements and weights.

Every policy that matches counts, in the order of names. Restrictions only add up: a gateway
has to be in the regions of all that require some, the path passes one of the gateways that each requires, what any
avoids is avoided, the strongest encryption holds, one ``deny`` is enough; so the order does not matter to them, and no
policy can loosen what an Intent or another policy asks. Preferences add
up too. Only of cost weights can there be but one: the last name wins, weight by weight.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import TypeVar

from msgspec import structs

from foremesh.model.intent import Avoid, Encryption, Intent, Requirements
from foremesh.model.plan import Infeasible
from foremesh.model.policy import Policy, PolicyMatch, Prefer
from foremesh.model.resource import Resource
from foremesh.model.units import Bandwidth
from foremesh.routing.cost import PROFILES, Weights


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
            self.note("regions", policy)
            both = common(self.regions, spec.require.regions)
            if both is None:
                ours, theirs = ", ".join(self.regions), ", ".join(spec.require.regions)
                cause = f"MeshPolicy {policy.id} requires {theirs}, and none of these is among {ours}"
                self.refuse("regions", f"regions: asked {ours}; {cause}", ours)
            self.regions = both or ()
        if spec.require.gateways:
            self.note("policy", policy)
            self.through = (*self.through, spec.require.gateways)
        if spec.avoid != Avoid():
            self.note("avoid", policy)
            self.avoid = union(self.avoid, spec.avoid)
        if spec.minimum_encryption is not None and not self.encryption.satisfies(spec.minimum_encryption):
            self.note("encryption", policy)
            self.encryption = spec.minimum_encryption

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
        policies: All there are, in any order.
        source_addresses: Addresses of the source beyond those its manifest states; for matching CIDRs.
        destination_addresses: Likewise.

    Returns:
        Requirements, weights and preferences; ``refused`` if a policy denies the Intent or contradicts it. An Intent
        that does not say otherwise is encrypted end to end.
    """
    asked = intent.spec.requirements
    weights, prefer = PROFILES[intent.spec.profile], list[Prefer]()
    add = _Restrictions(asked.regions, asked.avoid, asked.encryption or Encryption.END_TO_END)
    ends = (
        (source, (*addresses(source), *source_addresses)),
        (destination, (*addresses(destination), *destination_addresses)),
    )
    for policy in sorted(policies, key=lambda policy: policy.id):
        if not matches(policy.spec.match, intent, *ends):
            continue
        add.add(policy)
        if policy.spec.prefer != Prefer():
            prefer.append(policy.spec.prefer)
        weights = weights.override(policy.spec.weights)
    return Effective(
        requirements=structs.replace(asked, regions=add.regions, avoid=add.avoid, encryption=add.encryption),
        weights=weights,
        prefer=tuple(prefer),
        through=add.through,
        origins=tuple((requirement, ", ".join(by)) for requirement, by in sorted(add.origins.items())),
        refused=add.refused,
    )


End = tuple[Resource, tuple[str, ...]]
"""A resource and its known addresses."""


def matches(match: PolicyMatch, intent: Intent, source: End, destination: End) -> bool:
    """Whether every part of a match that is set holds. A CIDR holds if a known address lies in it: a policy that has
    to catch a resource whose address is not known must match it by label or namespace."""
    return (
        (not match.namespaces or intent.meta.namespace in match.namespaces)
        and (match.source is None or match.source.matches(source[0].meta.labels))
        and (match.destination is None or match.destination.matches(destination[0].meta.labels))
        and (not match.source_cidrs or within(source[1], match.source_cidrs))
        and (not match.destination_cidrs or within(destination[1], match.destination_cidrs))
        and (not match.application or any(match.application == traffic.application for traffic in intent.spec.traffic))
    )


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
    )


def tighten(one: Effective, other: Effective) -> Effective | None:
    """What satisfies both, for intents that have to share a path; bandwidths add up, the first one's weights hold.

    Returns:
        None if their regions exclude each other.
    """
    a, b = one.requirements, other.requirements
    regions = common(a.regions, b.regions)
    if regions is None:
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
