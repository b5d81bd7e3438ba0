"""Which resources an Intent is about: pure functions from an Intent and resources to matches, each refusal with a reason."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from foremesh.model.intent import Intent
from foremesh.model.meta import LabelSelector
from foremesh.model.resource import Resource


@dataclass(frozen=True)
class Match:
    """Resources that fit, sorted by id; where there are none, a CamelCase reason and a message for people."""

    matched: tuple[Resource, ...] = ()
    reason: str = ""
    message: str = ""


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


def _named(intent: Intent, name: str, resources: Iterable[Resource]) -> Match:
    id_ = name if "/" in name else f"{intent.meta.namespace}/{name}"
    found = [resource for resource in resources if resource.id == id_]
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
        return Match(
            reason="NoCandidate", message=f"no MeshResource of namespace {intent.meta.namespace} has {labels}"
        )
    return Match(matched=_sorted(found))


def _sorted(resources: Iterable[Resource]) -> tuple[Resource, ...]:
    return tuple(sorted(resources, key=lambda resource: resource.id))
