"""What lists say of a gateway, as Intents and MeshPolicies have them: whether it is meant, allowed, to be avoided, or
preferred. One whose region or provider is not stated is in none of the required ones, and cannot be avoided by region
or provider either."""

from __future__ import annotations

from collections.abc import Iterable

from foremesh.model.intent import Avoid, Requirements
from foremesh.model.link import Node
from foremesh.model.policy import Prefer

_NOTHING = Avoid()


def names(gateway: str, listed: Iterable[str]) -> bool:
    """Whether a list of gateways, as people write it, means this one: by id (``namespace/name``) or by bare name."""
    short = gateway.rpartition("/")[2]
    return any(entry in (gateway, short) for entry in listed)


def allows(needs: Requirements, node: Node) -> bool:
    """Whether a path with these requirements may touch a gateway."""
    return (
        (not needs.regions or node.region in needs.regions)
        and (not needs.providers or node.provider in needs.providers)
        and all(label in node.labels for label in needs.gateway_labels)
        and touched(node, needs.avoid) == _NOTHING
    )


def touched(node: Node, avoid: Avoid) -> Avoid:
    """The entries of an ``avoid`` that a gateway is under."""
    return Avoid(
        regions=tuple(region for region in avoid.regions if node.region and region == node.region),
        providers=tuple(provider for provider in avoid.providers if node.provider and provider == node.provider),
        gateways=tuple(entry for entry in avoid.gateways if names(node.id, (entry,))),
        gateway_labels=tuple(label for label in avoid.gateway_labels if label in node.labels),
    )


def preferred(node: Node, prefer: Prefer) -> bool:
    return (
        node.region in prefer.regions
        or node.provider in prefer.providers
        or names(node.id, prefer.gateways)
        or any(label in prefer.gateway_labels for label in node.labels)
    )
