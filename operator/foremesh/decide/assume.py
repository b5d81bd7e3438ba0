"""A mesh whose agents have all joined, for planning without one: nobody has said anything, and everybody is there."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping

import msgspec

from foremesh.decide.values import Observed
from foremesh.model.config import GatewayConfig
from foremesh.model.registration import Beacon, ProbeReport, PublicKeys, Registration
from foremesh.model.resource import Resource

ATTACH_PORT = 51821
"""Where a gateway's attachment interface is taken to answer: the port after WireGuard's own."""


def joined(resources: Mapping[str, Resource], attachment_rtt_ms: Mapping[tuple[str, str], float]) -> Observed:
    """What the store would hold if an agent ran for every resource.

    Args:
        resources: By id.
        attachment_rtt_ms: Round trip between a workload and a gateway of its site, by both ids; a pair that is missing
            is unknown.

    Returns:
        Registrations and beacons. Keys stand for those that agents will make: they are well-formed, each is different,
        and nobody has their private halves.
    """
    probes: dict[str, dict[str, ProbeReport]] = {}
    for (end, gateway), rtt_ms in attachment_rtt_ms.items():
        probes.setdefault(end, {})[gateway] = ProbeReport(answering=True, rtt_ms=rtt_ms)
    return Observed(
        registrations={id_: _registration(resource) for id_, resource in resources.items()},
        beacons={id_: Beacon(probes=probes.get(id_, {})) for id_ in resources},
    )


def as_told(beacon: Beacon, config: GatewayConfig) -> Beacon:
    """What an agent reports that runs a config, sends as it is told and hears every label that ends at it."""
    return msgspec.structs.replace(
        beacon,
        applied_epoch=config.epoch,
        applied_revision=config.revision,
        sending={end.circuit: end.send_label for end in config.circuits if end.send_label is not None},
        detours={},
        heard=tuple(sorted(label.number for end in config.circuits for label in end.labels)),
        watching=True,
        tunnels_up=tuple(sorted(end.circuit for end in config.circuits if end.second)),
    )


def _registration(resource: Resource) -> Registration:
    gateway = resource.spec.gateway
    host = gateway.endpoint.rpartition(":")[0] if gateway and gateway.endpoint else ""
    return Registration(
        resource=resource.id,
        keys=PublicKeys(
            hop=_stand_in(f"hop of {resource.id}"),
            circuit=_stand_in(f"circuit of {resource.id}"),
            attach=_stand_in(f"attach of {resource.id}"),
        ),
        endpoint=gateway.endpoint if gateway else None,
        attach_endpoint=f"{host}:{ATTACH_PORT}" if host else None,
    )


def _stand_in(what: str) -> str:
    """32 bytes in base64, as a public key has, that are the same in every run."""
    return base64.b64encode(hashlib.sha256(what.encode()).digest()).decode()
