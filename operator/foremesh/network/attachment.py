"""Which gateways a workload attaches to: those of its site."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from foremesh.model.resource import Resource


@dataclass(frozen=True)
class Attachment:
    """Gateway ids, sorted; the first one hands out the workload's address. Where there are none, why."""

    gateways: tuple[str, ...] = ()
    reason: str = ""


def attach(workload: Resource, gateways: Iterable[Resource]) -> Attachment:
    """Find the gateways of a workload's site.

    Args:
        gateways: All gateways of the mesh.
    """
    site = workload.spec.location.site
    if not site:
        return Attachment(
            reason=f"{workload.id} names no site, so no gateway is known to be near; set spec.location.site"
        )
    near = tuple(sorted(gateway.id for gateway in gateways if gateway.spec.location.site == site))
    if not near:
        return Attachment(
            reason=f"site {site} of {workload.id} has no gateway; declare one with the same location.site"
        )
    return Attachment(gateways=near)
