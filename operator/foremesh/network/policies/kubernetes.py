"""NetworkPolicy (``networking.k8s.io/v1``). Policies add up: another one may allow the pods more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from foremesh.network.policies.targets import Target

NAMESPACE_LABEL = "kubernetes.io/metadata.name"
"""Label that every namespace has."""


def policy(metadata: dict[str, Any], labels: Mapping[str, str], targets: Sequence[Target]) -> dict[str, Any]:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata,
        "spec": {
            "podSelector": {"matchLabels": dict(labels)},
            # Stated, because without it a policy would restrict what arrives as well.
            "policyTypes": ["Egress"],
            "egress": [
                {"to": [_peer(target)], "ports": [{"protocol": target.protocol.value, "port": target.port}]}
                for target in targets
            ],
        },
    }


def _peer(target: Target) -> dict[str, Any]:
    if target.pods is None:
        return {"ipBlock": {"cidr": target.cidr}}
    return {
        "namespaceSelector": {"matchLabels": {NAMESPACE_LABEL: target.pods.namespace}},
        "podSelector": {"matchLabels": dict(target.pods.labels)},
    }
