"""MeshResource: something that talks (container, virtual machine, function) or relays (gateway)."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from foremesh.model.manifest import Spec, read
from foremesh.model.meta import LabelSelector, Meta
from foremesh.model.units import Bandwidth, Price

DEFAULT_UNDERLAY = "internet"
"""The underlay of resources whose manifest names no network."""


class ResourceType(StrEnum):
    CONTAINER = "Container"
    VIRTUAL_MACHINE = "VirtualMachine"
    FUNCTION = "Function"
    GATEWAY = "Gateway"


class Role(StrEnum):
    CORE = "Core"
    """A static, high-bandwidth entry and exit point that may also relay."""
    TRANSIT = "Transit"
    """Relays between other gateways."""
    EDGE = "Edge"
    """Joins and leaves with demand, and never relays for others."""


class Protocol(StrEnum):
    TCP = "TCP"
    UDP = "UDP"
    ICMP = "ICMP"


class Location(Spec, frozen=True, kw_only=True):
    """Where a resource is. A site is what shares a local network: a workload attaches to its site's gateways."""

    provider: str = ""
    region: str = ""
    zone: str = ""
    site: str = ""
    latitude: float | None = None
    longitude: float | None = None


class Service(Spec, frozen=True, kw_only=True):
    """Something that a resource offers to others."""

    name: str
    port: int | None = None
    protocol: Protocol = Protocol.TCP


class WorkloadSpec(Spec, frozen=True, kw_only=True):
    """Pods, chosen by label in the resource's own namespace."""

    selector: LabelSelector


class MachineSpec(Spec, frozen=True, kw_only=True):
    """A virtual or physical machine."""

    address: str


class ServiceRef(Spec, frozen=True, kw_only=True):
    name: str
    namespace: str = ""


class FunctionSpec(Spec, frozen=True, kw_only=True):
    """A serverless function, by Service or by URL; exactly one."""

    service_ref: ServiceRef | None = None
    url: str | None = None


class GatewayUnderlay(Spec, frozen=True, kw_only=True):
    """One more network that a gateway sits on; links over it are links of their own."""

    name: str
    endpoint: str | None = None
    """``host:port`` where gateways of that network reach it; none if it only dials out there."""


class GatewaySpec(Spec, frozen=True, kw_only=True):
    """A relay: its role, where its WireGuard answers, what it can carry and what it shares fate with."""

    role: Role
    endpoint: str | None = None
    """``host:port`` of the hop interface on the resource's network; none for a gateway that only dials out."""
    underlays: tuple[GatewayUnderlay, ...] = ()
    """Networks besides the resource's own, each by another name."""
    capacity: Bandwidth | None = None
    risk_groups: tuple[str, ...] = ()


class ResourceSpec(Spec, frozen=True, kw_only=True):
    type: ResourceType
    network: str = ""
    """Name of the underlay that the resource sits in; gateways on one underlay can be linked."""
    location: Location = Location()
    services: tuple[Service, ...] = ()
    capabilities: tuple[str, ...] = ()
    egress_price: Price | None = None
    workload: WorkloadSpec | None = None
    machine: MachineSpec | None = None
    function: FunctionSpec | None = None
    gateway: GatewaySpec | None = None


class Resource(Spec, frozen=True, kw_only=True):
    """A MeshResource as declared."""

    meta: Meta
    spec: ResourceSpec

    @property
    def id(self) -> str:
        return self.meta.id

    @property
    def is_gateway(self) -> bool:
        return self.spec.gateway is not None

    @property
    def role(self) -> Role | None:
        return self.spec.gateway.role if self.spec.gateway else None

    @property
    def underlay(self) -> str:
        """The resource's own network by name."""
        return self.spec.network or DEFAULT_UNDERLAY

    @property
    def underlays(self) -> Mapping[str, str | None]:
        """Every network that a gateway sits on, its own first, with the endpoint it declares there; else none."""
        gateway = self.spec.gateway
        if gateway is None:
            return {}
        return {self.underlay: gateway.endpoint} | {one.name: one.endpoint for one in gateway.underlays}

    @classmethod
    def from_manifest(cls, body: Any) -> Resource:
        """Raises ManifestError if the manifest is no MeshResource that the CRD would accept."""
        meta = Meta.from_manifest(body)
        return cls(meta=meta, spec=read(ResourceSpec, body.get("spec") or {}, where=f"MeshResource {meta.ref}"))
