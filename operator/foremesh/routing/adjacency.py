"""Which gateways are linked. Pure: reads no clock, no forecast and no store."""

from __future__ import annotations

from collections.abc import Iterable

from foremesh.model.link import LinkId
from foremesh.model.resource import Resource, Role


def adjacency(gateways: Iterable[Resource]) -> tuple[LinkId, ...]:
    """The links that gateways can have, both ways each, sorted.

    Two gateways have a link over every network that both sit on, if at least one of them has an endpoint there that the
    other can dial, and not both are Edge: Core and Transit link with everybody, Edge gateways never with each other.
    """
    found = sorted(
        (one.id, underlay, one.role is Role.EDGE, bool(endpoint))
        for one in gateways
        for underlay, endpoint in one.underlays.items()
    )
    links = []
    for src, network, edge, dialled in found:
        for dst, its_network, is_edge, is_dialled in found:
            if src == dst or network != its_network or (edge and is_edge) or not (dialled or is_dialled):
                continue
            links.append(LinkId(src=src, dst=dst, underlay=network))
    return tuple(sorted(links, key=lambda link: (link.src, link.dst, link.underlay)))
