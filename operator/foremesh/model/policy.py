"""MeshPolicy: the administrator's word on how traffic is routed."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from foremesh.model.intent import Avoid, Encryption
from foremesh.model.manifest import Spec, read
from foremesh.model.meta import LabelSelector, Meta
from foremesh.model.resource import Protocol


class Mode(StrEnum):
    """Whether a policy is followed."""

    ENFORCE = "Enforce"
    SHADOW = "Shadow"
    """It is only reported what it would change."""


class PolicyMatch(Spec, frozen=True, kw_only=True):
    """Which intents a policy is about; every part that is set must hold, an empty match is all of them."""

    namespaces: tuple[str, ...] = ()
    source: LabelSelector | None = None
    destination: LabelSelector | None = None
    source_cidrs: tuple[str, ...] = msgspec.field(default=(), name="sourceCIDRs")
    destination_cidrs: tuple[str, ...] = msgspec.field(default=(), name="destinationCIDRs")
    application: str = ""
    protocol: Protocol | None = None
    ports: tuple[int, ...] = ()
    """Destination ports; traffic that names no ports is all of them."""


class Require(Spec, frozen=True, kw_only=True):
    """Every gateway of the path is in one of the regions, of one of the providers, and has all of the labels; of the
    gateways the path passes at least one."""

    regions: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()
    gateway_labels: tuple[str, ...] = ()


class Prefer(Spec, frozen=True, kw_only=True):
    """Gateways that meet any of these are favoured."""

    regions: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()
    gateway_labels: tuple[str, ...] = ()


class CostWeights(Spec, frozen=True, kw_only=True):
    """Relative importance of the terms of a path's cost; unset keeps the profile's."""

    latency: float | None = None
    bandwidth: float | None = None
    loss: float | None = None
    hops: float | None = None
    encryption: float | None = None
    egress_price: float | None = None
    load: float | None = None
    jitter: float | None = None


class PolicySpec(Spec, frozen=True, kw_only=True):
    mode: Mode = Mode.ENFORCE
    priority: int = 0
    """Where policies cannot both have their way, as with weights, the higher one has it."""
    match: PolicyMatch = PolicyMatch()
    require: Require = Require()
    prefer: Prefer = Prefer()
    avoid: Avoid = Avoid()
    minimum_encryption: Encryption | None = None
    deny: bool = False
    weights: CostWeights = CostWeights()


class AppliedPolicy(Spec, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """What one MeshPolicy does to one Intent, or would do."""

    policy: str
    priority: int = 0
    mode: Mode = Mode.ENFORCE
    effects: tuple[str, ...] = ()
    """In words, such as ``avoids regions us-east-1``."""


class Policy(Spec, frozen=True, kw_only=True):
    """A MeshPolicy as declared; cluster-scoped."""

    meta: Meta
    spec: PolicySpec

    @property
    def id(self) -> str:
        return self.meta.name

    @property
    def in_force(self) -> bool:
        """Whether plans follow it."""
        return self.spec.mode is Mode.ENFORCE

    @property
    def precedence(self) -> tuple[int, str]:
        """Sorts policies so that of two that cannot both have their way, the later one has it."""
        return (self.spec.priority, self.id)

    @classmethod
    def from_manifest(cls, body: Any) -> Policy:
        """Raises ManifestError if the manifest is no MeshPolicy that the CRD would accept."""
        meta = Meta.from_manifest(body)
        return cls(meta=meta, spec=read(PolicySpec, body.get("spec") or {}, where=f"MeshPolicy {meta.name}"))
