"""NetworkPolicy of Calico (``projectcalico.org/v3``) in a tier of foremesh's own.

The tier passes on what it does not select, and its policies end with a denial: pods that are pinned stay so, whatever
the tiers behind it allow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from foremesh.network.policies.targets import Target

API_VERSION = "projectcalico.org/v3"
TIER = "foremesh"
TIER_ORDER = 10_000
"""After the administrators' tier (1,000), before the default one (1,000,000)."""
POLICY_ORDER = 100
"""Leaves room for a person's exceptions in front of it."""


def tier(labels: Mapping[str, str]) -> dict[str, Any]:
    """The tier that the policies are in; its default action is stated, since Deny would cut off every pod selected by
    any policy in it."""
    return {
        "apiVersion": API_VERSION,
        "kind": "Tier",
        "metadata": {"name": TIER, "labels": dict(labels)},
        "spec": {"order": TIER_ORDER, "defaultAction": "Pass"},
    }


def policy(metadata: dict[str, Any], labels: Mapping[str, str], targets: Sequence[Target]) -> dict[str, Any]:
    # Calico before 3.30 wants the tier in the name.
    name = f"{TIER}.{metadata['name'].removeprefix('foremesh-')}"
    return {
        "apiVersion": API_VERSION,
        "kind": "NetworkPolicy",
        "metadata": metadata | {"name": name},
        "spec": {
            "tier": TIER,
            "order": POLICY_ORDER,
            "selector": _selector(labels),
            # Stated: types that are left out follow from the rules.
            "types": ["Egress"],
            "egress": [*(_allow(target) for target in targets), {"action": "Deny"}],
        },
    }


def _allow(target: Target) -> dict[str, Any]:
    destination: dict[str, Any] = {"ports": [target.port]}
    if target.pods is None:
        destination["nets"] = [target.cidr]
    else:
        destination["namespaceSelector"] = f"projectcalico.org/name == '{target.pods.namespace}'"
        destination["selector"] = _selector(target.pods.labels)
    return {"action": "Allow", "protocol": target.protocol.value, "destination": destination}


def _selector(labels: Mapping[str, str]) -> str:
    """Labels as Calico selects them; values of Kubernetes labels have no quotes to escape."""
    return " && ".join(f"{key} == '{value}'" for key, value in sorted(labels.items())) or "all()"
