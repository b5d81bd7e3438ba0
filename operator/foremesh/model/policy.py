"""MeshPolicy: the administrator's word on how traffic is routed."""

from __future__ import annotations

from typing import Any

import msgspec

from foremesh.model.intent import Avoid, Encryption
from foremesh.model.manifest import Spec, read
from foremesh.model.meta import LabelSelector, Meta


class PolicyMatch(Spec, frozen=True, kw_only=True):
    """Which intents a policy is about; every part that is set must hold, an empty match is all of them."""

    namespaces: tuple[str, ...] = ()
    source: LabelSelector | None = None
    destination: LabelSelector | None = None
    source_cidrs: tuple[str, ...] = msgspec.field(default=(), name="sourceCIDRs")
    destination_cidrs: tuple[str, ...] = msgspec.field(default=(), name="destinationCIDRs")
    application: str = ""


class Require(Spec, frozen=True, kw_only=True):
    regions: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()


class Prefer(Spec, frozen=True, kw_only=True):
    regions: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()


class CostWeights(Spec, frozen=True, kw_only=True):
    """Relative importance of the terms of a path's cost; unset keeps the profile's."""

    latency: float | None = None
    bandwidth: float | None = None
    loss: float | None = None
    hops: float | None = None
    encryption: float | None = None
    egress_price: float | None = None
    load: float | None = None


class PolicySpec(Spec, frozen=True, kw_only=True):
    match: PolicyMatch = PolicyMatch()
    require: Require = Require()
    prefer: Prefer = Prefer()
    avoid: Avoid = Avoid()
    minimum_encryption: Encryption | None = None
    deny: bool = False
    weights: CostWeights = CostWeights()


class Policy(Spec, frozen=True, kw_only=True):
    """A MeshPolicy as declared; cluster-scoped."""

    meta: Meta
    spec: PolicySpec

    @property
    def id(self) -> str:
        return self.meta.name

    @classmethod
    def from_manifest(cls, body: Any) -> Policy:
        """Raises ManifestError if the manifest is no MeshPolicy that the CRD would accept."""
        meta = Meta.from_manifest(body)
        return cls(meta=meta, spec=read(PolicySpec, body.get("spec") or {}, where=f"MeshPolicy {meta.name}"))
