"""Which gateways a workload attaches to: those of its site; and where they reach one without an agent."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from foremesh.model.addresses import Blocks, is_own_address
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


def target_of(resource: Resource, blocks: Blocks) -> str:
    """Where the gateways of its site reach a machine or function without an agent: an IPv4 address, or a name that they
    look up. Empty for other resources, and where it is an address that no machine can have."""
    spec = resource.spec
    host = ""
    if spec.machine:
        host = spec.machine.address
    elif spec.function and spec.function.url:
        host = urlsplit(spec.function.url).hostname or ""
    elif spec.function and spec.function.service_ref:
        service = spec.function.service_ref
        host = f"{service.name}.{service.namespace or resource.meta.namespace}.svc"
    return host if not _is_address(host) or is_own_address(host, blocks) else ""


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
