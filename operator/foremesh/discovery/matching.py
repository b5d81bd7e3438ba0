"""Which resources an Intent is about: pure functions from an Intent and resources to matches, with the reason for each
resource that would fit and cannot be used, and for finding none at all."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from foremesh.model.intent import Intent
from foremesh.model.meta import LabelSelector
from foremesh.model.resource import Resource


@dataclass(frozen=True)
class Match:
    """Resources that fit, sorted by id; where there are none, a CamelCase reason and a message for people."""

    matched: tuple[Resource, ...] = ()
    reason: str = ""
    message: str = ""
    rejected: Mapping[str, str] = field(default_factory=dict)
    """Id to the reason, for resources that the Intent is about and that cannot be used."""


def match_sources(intent: Intent, resources: Iterable[Resource]) -> Match:
    """Who an Intent says talks."""
    source = intent.spec.from_
    if source.resource is not None:
        return _named(intent, source.resource, resources)
    return _selected(intent, source.selector or LabelSelector(), resources)


def match_destinations(intent: Intent, resources: Iterable[Resource]) -> Match:
    """Whom an Intent may talk to: a service in any namespace, a resource by name, or whatever a selector matches in
    the Intent's own namespace."""
    destination = intent.spec.to
    if destination.resource is not None:
        return _named(intent, destination.resource, resources)
    if destination.selector is not None:
        return _selected(intent, destination.selector, resources)
    offering = [
        resource
        for resource in resources
        if any(service.name == destination.service for service in resource.spec.services)
    ]
    if not offering:
        return Match(reason="NoCandidate", message=f"no MeshResource offers service {destination.service}")
    return Match(matched=_sorted(offering))


def match_candidates(
    intent: Intent,
    resources: Iterable[Resource],
    *,
    capabilities: Collection[str] = (),
    unavailable: Mapping[str, str],
) -> Match:
    """Of those an Intent may talk to, the ones that can be used.

    Args:
        capabilities: What a candidate must all be capable of.
        unavailable: Id to the reason, for resources that cannot be reached now.
    """
    fitting = match_destinations(intent, resources)
    reasons = {one.id: _why_not(intent, one, frozenset(capabilities), unavailable) for one in fitting.matched}
    rejected = {id_: reason for id_, reason in reasons.items() if reason}
    matched = tuple(one for one in fitting.matched if one.id not in rejected)
    if matched or not rejected:
        return replace(fitting, matched=matched, rejected=rejected)
    message = "; ".join(f"{id_} {reason}" for id_, reason in rejected.items())
    return Match(reason="NoCandidate", message=message, rejected=rejected)


def _why_not(intent: Intent, resource: Resource, capabilities: frozenset[str], unavailable: Mapping[str, str]) -> str:
    source, needs, region = intent.spec.from_.resource, intent.spec.requirements, resource.spec.location.region
    if source is not None and resource.id == _id(intent, source):
        return "is the source itself"
    if missing := sorted(capabilities.difference(resource.spec.capabilities)):
        return f"lacks {', '.join(missing)}"
    if needs.regions and region not in needs.regions:
        where = f"is in {region}" if region else "does not state its region"
        return f"{where}, allowed: {', '.join(needs.regions)}"
    if region and region in needs.avoid.regions:
        return f"is in {region}, which is to be avoided"
    return unavailable.get(resource.id, "")


def _id(intent: Intent, name: str) -> str:
    return name if "/" in name else f"{intent.meta.namespace}/{name}"


def _named(intent: Intent, name: str, resources: Iterable[Resource]) -> Match:
    id_ = _id(intent, name)
    bare = id_.rpartition("/")[2]
    found = [resource for resource in resources if resource.meta.name == bare and resource.id == id_]
    if not found:
        return Match(reason="UnknownReference", message=f"MeshResource {id_} does not exist")
    return Match(matched=tuple(found))


def _selected(intent: Intent, selector: LabelSelector, resources: Iterable[Resource]) -> Match:
    found = [
        resource
        for resource in resources
        if resource.meta.namespace == intent.meta.namespace
        and not resource.is_gateway
        and selector.matches(resource.meta.labels)
    ]
    if not found:
        labels = ", ".join(f"{key}={value}" for key, value in sorted(selector.match_labels.items())) or "any label"
        return Match(reason="NoCandidate", message=f"no MeshResource of namespace {intent.meta.namespace} has {labels}")
    return Match(matched=_sorted(found))


def _sorted(resources: Iterable[Resource]) -> tuple[Resource, ...]:
    return tuple(sorted(resources, key=lambda resource: resource.id))
