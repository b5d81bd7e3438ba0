"""One workload, its gateways and a flavour to manifests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from foremesh.model.mesh import Member
from foremesh.model.resource import Protocol
from foremesh.network.policies import calico, cilium, kubernetes
from foremesh.network.policies.targets import CLUSTER_DNS, PodGroup, PolicyError, Target, target

MANAGED_BY = {"app.kubernetes.io/managed-by": "foremesh"}


class Flavour(StrEnum):
    """Whose policies the cluster enforces."""

    KUBERNETES = "Kubernetes"
    """``networking.k8s.io/v1``: every network plugin that enforces policies at all."""
    CILIUM = "Cilium"
    CALICO = "Calico"


def render(
    workload: Member,
    gateways: Sequence[Member],
    flavour: Flavour,
    *,
    api: Target,
    pods: Mapping[str, PodGroup] | None = None,
    allow: Sequence[Target] = (),
) -> list[dict[str, Any]]:
    """Render the policies that pin a workload's pods to its gateways.

    Args:
        gateways: The gateways that the workload attaches to. One that has not yet said where it answers is left out;
            the policy is rendered nevertheless, since without it the pods could go around the mesh.
        api: The mesh API as the pods' sidecars reach it.
        pods: Gateway id to its pods, for gateways that run in this cluster; the others are matched by address.
        allow: What else the pods may send to.

    Returns:
        Manifests, to be applied in this order; none for a workload without pods.

    Raises:
        PolicyError: If a gateway's endpoint cannot be expressed, or an address is no IP address.
    """
    selector = workload.resource.spec.workload
    if selector is None:
        return []
    attach = [
        target(gateway.registration.attach_endpoint, Protocol.UDP, pods=(pods or {}).get(gateway.id), what=gateway.id)
        for gateway in sorted(gateways, key=lambda gateway: gateway.id)
        if gateway.registration is not None and gateway.registration.attach_endpoint is not None
    ]
    targets = [*attach, api, *CLUSTER_DNS, *allow]
    for one in targets:
        if (one.pods is None) == (not one.address):
            raise PolicyError(workload.id, f"target {one} names not exactly one of pods and address")
    metadata = {
        "name": f"foremesh-{workload.resource.meta.name}",
        "namespace": workload.resource.meta.namespace,
        "labels": MANAGED_BY,
    }
    labels = selector.selector.match_labels
    match flavour:
        case Flavour.KUBERNETES:
            return [kubernetes.policy(metadata, labels, targets)]
        case Flavour.CILIUM:
            return [cilium.policy(metadata, labels, targets)]
        case Flavour.CALICO:
            return [calico.policy(metadata, labels, targets)]


def prerequisites(flavour: Flavour) -> list[dict[str, Any]]:
    """Manifests that a cluster needs once, before any workload's."""
    return [calico.tier(MANAGED_BY)] if flavour is Flavour.CALICO else []
