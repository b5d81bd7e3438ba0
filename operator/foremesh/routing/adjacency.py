"""Which gateways are linked. Pure: reads no clock, no forecast and no store."""

from __future__ import annotations

from collections.abc import Iterable

from foremesh.model.link import LinkId
from foremesh.model.resource import Resource, Role

DEFAULT_UNDERLAY = "internet"
"""The underlay of gateways whose manifest names no network."""


def adjacency(gateways: Iterable[Resource]) -> tuple[LinkId, ...]:
    """The links that gateways can have, both ways each, sorted.

    Two gateways can be linked if they sit on the same network, at least one of them has an endpoint that the other can
    dial, and not both are Edge: Core and Transit link with everybody, Edge gateways never with each other.
    """
    found = sorted(
        (one.id, one.spec.network, gateway.role is Role.EDGE, bool(gateway.endpoint))
        for one in gateways
        if (gateway := one.spec.gateway)
    )
    links = []
    for src, network, edge, dialled in found:
        for dst, its_network, is_edge, is_dialled in found:
            if src == dst or network != its_network or (edge and is_edge) or not (dialled or is_dialled):
                continue
            links.append(LinkId(src=src, dst=dst, underlay=network or DEFAULT_UNDERLAY))
    return tuple(links)
