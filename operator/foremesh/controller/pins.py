"""The network policies that hold workloads to their gateways, kept as decisions want them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from foremesh.controller.kubernetes import Kubernetes, KubernetesRefused
from foremesh.controller.manifests import MANAGED, owned
from foremesh.decide import Pinned
from foremesh.model.meta import Ref

log = logging.getLogger(__name__)

LISTED = {
    "Kubernetes": ("networking.k8s.io/v1", "NetworkPolicy", MANAGED),
    "Cilium": ("cilium.io/v2", "CiliumNetworkPolicy", MANAGED),
    # Without its tier, Calico's API server lists the default one.
    "Calico": ("projectcalico.org/v3", "NetworkPolicy", {**MANAGED, "projectcalico.org/tier": "foremesh"}),
}
"""By flavour, where policies of an earlier life of the operator are looked for."""

Key = tuple[str, str, Ref]
"""API version, kind and name of a policy."""


class Pins:
    """Applies what is new, deletes what nobody needs any more.

    Policies of another flavour than the present one are not looked for: the operator has no right to touch them. They
    go with the MeshResource that owns them.
    """

    def __init__(self, kubernetes: Kubernetes, flavour: str) -> None:
        self._kubernetes = kubernetes
        self._flavour = flavour
        self._applied: dict[Key, Any] = {}
        """None for one that was found and is not known to be as wanted."""

    async def look(self) -> None:
        """Find the policies that are there: those of an earlier life, and those that somebody took away since.

        Raises:
            KubernetesUnavailable: If the API server is away.
        """
        if self._flavour not in LISTED:
            return
        api_version, kind, labels = LISTED[self._flavour]
        try:
            bodies = await self._kubernetes.list(api_version, kind, labels=labels)
        except KubernetesRefused as error:
            log.error("network policies not listed; those of before are not taken away error=%s", error)
            return
        found = {_key(body) for body in bodies}
        others = {key: body for key, body in self._applied.items() if key[:2] != (api_version, kind)}
        self._applied = others | {key: self._applied.get(key) for key in found}

    async def keep(self, wanted: Iterable[Pinned], bodies: Mapping[tuple[str, str], Mapping[str, Any]]) -> None:
        """Make the policies be those wanted, each owned by its workload's MeshResource.

        Raises:
            KubernetesUnavailable: If the API server is away.
        """
        policies = {_key(one.manifest): one for one in wanted}
        for key, one in policies.items():
            if self._applied.get(key) == one.manifest:
                continue
            owner = bodies.get(("MeshResource", one.workload))
            try:
                await self._kubernetes.apply(owned(one.manifest, [owner]) if owner else one.manifest)
            except KubernetesRefused as error:
                log.error("workload not pinned resource=%s error=%s", one.workload or "all", error)
                continue
            self._applied[key] = one.manifest
            log.info("workload pinned resource=%s policy=%s", one.workload or "all", key[2])
        # A tier has to be empty before it can go.
        for key in sorted(self._applied.keys() - policies.keys(), key=lambda key: (not key[2].namespace, str(key))):
            api_version, kind, ref = key
            try:
                await self._kubernetes.delete(api_version, kind, ref)
            except KubernetesRefused as error:
                log.error("network policy not deleted policy=%s error=%s", ref, error)
            del self._applied[key]


def _key(body: Mapping[str, Any]) -> Key:
    meta = body["metadata"]
    return (body["apiVersion"], body["kind"], Ref(namespace=meta.get("namespace") or "", name=meta["name"]))
