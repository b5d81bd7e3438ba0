"""Configuration of the programs in a mesh lab: what a Helm chart and a person would write, in a hurry. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.certs import KeyPair
from lab.etcd import EtcdServer
from lab.nodes import Node
from lab.prometheus import PrometheusServer

MESH = "lab"
"""The name of the mesh: what its keys in etcd begin with."""

HOP_PORT, ATTACH_PORT, METRICS_PORT = 51820, 51821, 9466
"""Ports of every agent; each has a network namespace of its own."""

FAST: Mapping[str, Any] = {
    "prometheus": {"rateWindow": "5s", "recentStep": "1s", "recentWindow": "120s"},
    "planning": {"interval": "3s", "quiet": "500ms", "margin": "25%", "dwell": "10s"},
    "api": {"presence": "5s"},
}
"""What differs from the defaults, so that a person or a test waits for seconds where a network would take minutes."""


@dataclass(frozen=True, slots=True)
class Api:
    """Where the mesh API serves agents (``host:port``), where everybody inside, and with which certificate."""

    listen: str
    inside: str
    certificate: KeyPair


def of_operator_and_api(
    *, etcd: EtcdServer, prometheus: PrometheusServer, api: Api, metrics: str, planning: Mapping[str, str]
) -> dict[str, Any]:
    """The file that operator and API read.

    Args:
        metrics: ``host:port`` of the operator's own metrics.
        planning: Fields of ``planning`` that are not to be as fast as they are.
    """
    return {
        "mesh": MESH,
        "etcd": {"endpoint": f"{etcd.host}:{etcd.port}"},
        "prometheus": {**FAST["prometheus"], "url": prometheus.url},
        "planning": {**FAST["planning"], **planning},
        "api": {
            **FAST["api"],
            "listen": api.listen,
            "metricsListen": api.inside,
            "certFile": str(api.certificate.cert_file),
            "keyFile": str(api.certificate.key_file),
        },
        "metricsListen": metrics,
    }


def of_agent(node: Node, namespace: str, *, api: Api, ca_file: Path, token_file: Path, state: Path) -> dict[str, Any]:
    """The file that the agent of a gateway or workload reads; ``namespace`` is its MeshResource's."""
    metrics = f"{node.mgmt_address}:{METRICS_PORT}"
    settings = {
        "resource": f"{namespace}/{node.name}",
        "apiUrl": f"https://{api.listen}",
        "caFile": str(ca_file),
        "tokenFile": str(token_file),
        "stateDir": str(state),
        "metricsListen": metrics,
        "metricsEndpoint": metrics,
        "beaconInterval": "1s",
        "reconcileInterval": "2s",
    }
    if node.underlay_address:
        settings["endpoint"] = f"{node.underlay_address}:{HOP_PORT}"
        settings["attachEndpoint"] = f"{node.lan_address}:{ATTACH_PORT}"
    return settings
