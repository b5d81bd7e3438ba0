"""Intent: what a service needs from the network."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from foremesh.model.manifest import Spec, read
from foremesh.model.meta import LabelSelector, Meta
from foremesh.model.resource import Protocol
from foremesh.model.units import Bandwidth, Milliseconds, Price, Ratio


class Encryption(StrEnum):
    END_TO_END = "EndToEnd"
    """An inner tunnel between the circuit's ends: transits see only ciphertext."""
    HOP_BY_HOP = "HopByHop"
    """Encrypted on each link, in clear inside the transits."""

    def satisfies(self, required: Encryption | None) -> bool:
        return required is None or self is Encryption.END_TO_END or required is Encryption.HOP_BY_HOP


class Profile(StrEnum):
    """What to favour among the paths that meet every requirement."""

    LATENCY = "Latency"
    THROUGHPUT = "Throughput"
    COST = "Cost"
    BALANCED = "Balanced"
    BULK = "Bulk"
    """Much to move and no hurry: throughput, as long as it is worth its egress price."""


class Source(Spec, frozen=True, kw_only=True):
    """Who talks: a resource by name, or all that a selector matches; exactly one."""

    resource: str | None = None
    selector: LabelSelector | None = None


class Destination(Spec, frozen=True, kw_only=True):
    """Whom it talks to: whatever offers a service, a resource by name, or any that a selector matches; exactly one."""

    service: str | None = None
    resource: str | None = None
    selector: LabelSelector | None = None


class Avoid(Spec, frozen=True, kw_only=True):
    """What the path must not touch."""

    regions: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()
    gateway_labels: tuple[str, ...] = ()
    """Labels, each as ``key=value``, of which no gateway of the path may have any."""


class Requirements(Spec, frozen=True, kw_only=True):
    """Hard requirements; a path that misses one is no path. Unset means indifferent."""

    max_latency: Milliseconds | None = None
    """Round trip, end to end."""
    min_bandwidth: Bandwidth | None = None
    """From source to destination."""
    reverse: Bandwidth | None = None
    """From destination to source."""
    max_loss: Ratio | None = None
    max_hops: int | None = None
    """Links of the path."""
    max_egress_price: Price | None = None
    """Sum over the path, US dollars per gigabyte."""
    encryption: Encryption | None = None
    regions: tuple[str, ...] = ()
    """If not empty, every gateway of the path and the destination must be in one of these."""
    providers: tuple[str, ...] = ()
    """If not empty, every gateway of the path must be one of these providers'."""
    gateway_labels: tuple[str, ...] = ()
    """Labels, each as ``key=value``, that every gateway of the path must have, all of them."""
    avoid: Avoid = Avoid()


class Traffic(Spec, frozen=True, kw_only=True):
    """What to steer into the circuit; an Intent without any steers everything between its ends."""

    protocol: Protocol = Protocol.TCP
    ports: tuple[int, ...] = ()
    application: str = ""


class Steering(StrEnum):
    """By which address applications call a destination."""

    MESH_ADDRESS = "MeshAddress"
    """The one that the mesh gave it, or its name in the mesh."""
    OWN_ADDRESS = "OwnAddress"
    """Also the one it has in its own network, for what ``traffic`` names."""


class IntentSpec(Spec, frozen=True, kw_only=True):
    from_: Source
    to: Destination
    requirements: Requirements = Requirements()
    traffic: tuple[Traffic, ...] = ()
    steering: Steering = Steering.MESH_ADDRESS
    profile: Profile = Profile.BALANCED
    priority: int = 0
    """Higher is placed first."""
    dedicated: bool = False
    dscp: int | None = None
    """Differentiated services code point, 0 to 63, that its packets carry in the mesh; unset leaves it as it is."""


class Intent(Spec, frozen=True, kw_only=True):
    """An Intent as declared."""

    meta: Meta
    spec: IntentSpec

    @property
    def id(self) -> str:
        return self.meta.id

    @classmethod
    def from_manifest(cls, body: Any) -> Intent:
        """Raises ManifestError if the manifest is no Intent that the CRD would accept."""
        meta = Meta.from_manifest(body)
        return cls(meta=meta, spec=read(IntentSpec, body.get("spec") or {}, where=f"Intent {meta.ref}"))
