"""CiliumNetworkPolicy (``cilium.io/v2``). Policies add up; rules by address never match pods of the cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from foremesh.network.policies.targets import Target

NAMESPACE_LABEL = "k8s:io.kubernetes.pod.namespace"
"""Label by which Cilium knows a pod's namespace."""


def policy(metadata: dict[str, Any], labels: Mapping[str, str], targets: Sequence[Target]) -> dict[str, Any]:
    return {
        "apiVersion": "cilium.io/v2",
        "kind": "CiliumNetworkPolicy",
        "metadata": metadata,
        "spec": {
            "endpointSelector": {"matchLabels": dict(labels)},
            # Stated: what it is when absent depends on which rules there are.
            "enableDefaultDeny": {"egress": True, "ingress": False},
            "egress": [
                _peer(target)
                | {"toPorts": [{"ports": [{"port": str(target.port), "protocol": target.protocol.value}]}]}
                for target in targets
            ],
        },
    }


def _peer(target: Target) -> dict[str, Any]:
    if target.pods is None:
        return {"toCIDR": [target.cidr]}
    return {"toEndpoints": [{"matchLabels": {NAMESPACE_LABEL: target.pods.namespace, **target.pods.labels}}]}
