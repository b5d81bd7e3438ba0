"""A mesh of two sites and two ways between them, as declared, observed and forecast: for tests of whole decisions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from foremesh.decide import Decision, Declared, Forecasts, Observed, as_told
from foremesh.model.circuit import Circuit, CircuitStatus, LabelState
from foremesh.model.forecast import Forecast
from foremesh.model.intent import Intent
from foremesh.model.link import LinkId
from foremesh.model.manifest import read, write
from foremesh.model.meta import Meta, Ref
from foremesh.model.registration import Acknowledgement, Beacon, ProbeReport, PublicKeys, Registration
from foremesh.model.resource import Resource
from foremesh.model.series import Metric
from foremesh.model.status import IntentStatus, PlacementStatus, ResourceStatus
from foremesh.settings import Settings

NOW_S = 1_900_000_000.0
SETTINGS = Settings()
RTT_MS = {("ams", "fra"): 50.0, ("ams", "lon"): 18.0, ("lon", "fra"): 18.0, ("ams", "par"): 21.0, ("par", "fra"): 21.0}
"""Round trips between gateways; lon is the best way, par the next."""
GATEWAYS = {"ams": ("Core", "a"), "fra": ("Core", "b"), "lon": ("Transit", "lon"), "par": ("Transit", "par")}


def gateway_manifest(name: str) -> dict[str, Any]:
    role, site = GATEWAYS[name]
    return {
        "apiVersion": "foremesh.io/v1alpha1",
        "kind": "MeshResource",
        "metadata": {"name": name, "namespace": "lab"},
        "spec": {
            "type": "Gateway",
            "network": "internet",
            "location": {"site": site},
            "gateway": {"role": role, "endpoint": f"203.0.113.{len(name) + ord(name[0])}:51820", "capacity": "1G"},
        },
    }


def workload_manifest(name: str, site: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "foremesh.io/v1alpha1",
        "kind": "MeshResource",
        "metadata": {"name": name, "namespace": "lab"},
        "spec": {"type": "VirtualMachine", "machine": {"address": "10.0.0.7"}, "location": {"site": site}, **spec},
    }


def intent_manifest(name: str = "app-to-db", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "foremesh.io/v1alpha1",
        "kind": "Intent",
        "metadata": {"name": name, "namespace": "lab"},
        "spec": {"from": {"resource": "app"}, "to": {"service": "db"}, "profile": "Latency", **spec},
    }


def manifests(**intent: Any) -> list[dict[str, Any]]:
    """Everything declared: gateways, workloads app and db, and one Intent between them."""
    return [
        *(gateway_manifest(name) for name in GATEWAYS),
        workload_manifest("app", "a"),
        workload_manifest("db", "b", services=[{"name": "db", "port": 5432}]),
        intent_manifest(**intent),
    ]


def declared(**intent: Any) -> Declared:
    resources = [Resource.from_manifest(body) for body in manifests() if body["kind"] == "MeshResource"]
    wanted = Intent.from_manifest(intent_manifest(**intent))
    return Declared(resources={one.id: one for one in resources}, intents={wanted.id: wanted})


def registration(id_: str) -> Registration:
    address = f"203.0.113.{sum(map(ord, id_)) % 200 + 1}"
    return Registration(
        resource=id_,
        keys=PublicKeys(hop=f"{id_} hop", circuit=f"{id_} circuit", attach=f"{id_} attach"),
        endpoint=f"{address}:51820",
        attach_endpoint=f"{address}:51821",
    )


def observed(of: Declared, *, silent: frozenset[str] = frozenset()) -> Observed:
    """All agents registered and present, workloads 1 ms from their gateways."""
    ways = {"lab/app": "lab/ams", "lab/db": "lab/fra"}
    near = {id_: {gateway: ProbeReport(answering=True, rtt_ms=1.0)} for id_, gateway in ways.items()}
    return Observed(
        registrations={id_: registration(id_) for id_ in of.resources},
        beacons={id_: Beacon(probes=near.get(id_, {})) for id_ in of.resources if id_ not in silent},
    )


def forecasts(rtt_ms: Mapping[tuple[str, str], float] = RTT_MS) -> Forecasts:
    """Flat forecasts: round trips as given, no loss, idle links. A pair that is left out is unknown."""
    links, values = [], []
    for (one, other), ms in rtt_ms.items():
        for src, dst in ((one, other), (other, one)):
            links.append(LinkId(src=f"lab/{src}", dst=f"lab/{dst}"))
            values.append(ms)

    def flat(metric: Metric, numbers: list[float]) -> Forecast:
        steps = np.tile(np.array(numbers)[None, :, None], (3, 1, 5))
        names = ("last",) * len(links)
        return Forecast(metric, tuple(links), 60.0, NOW_S, steps, names, names)

    zeros = [0.0] * len(links)
    return Forecasts(
        {
            Metric.RTT: flat(Metric.RTT, values),
            Metric.LOSS: flat(Metric.LOSS, zeros),
            Metric.THROUGHPUT: flat(Metric.THROUGHPUT, zeros),
        }
    )


def acknowledged(seen: Observed, decision: Decision) -> Observed:
    """The same a moment later: configs are in force, every agent has applied its own and hears all its labels."""
    acks = {
        id_: Acknowledgement(gateway=id_, epoch=config.epoch, revision=config.revision, applied=True)
        for id_, config in decision.configs.items()
    }
    beacons = {
        id_: as_told(beacon, decision.configs[id_]) if id_ in decision.configs else beacon
        for id_, beacon in seen.beacons.items()
    }
    return replace(seen, configs=dict(decision.configs), acks=acks, beacons=beacons)


def recorded(before: Declared, decision: Decision) -> Declared:
    """The same with what the decision allocates and chooses on record, as the operator writes it."""
    circuits = {}
    for placed in decision.state.circuits:
        ref = Ref.parse(placed.id)
        path = next((label.path for label in placed.labels if label.state is LabelState.ACTIVE), ())
        old = before.circuits.get(placed.id)
        status = {
            "number": placed.number,
            "classNumber": placed.class_number,
            "path": path,
            "intents": decision.served.get(placed.id, ()),
        }
        circuit = Circuit(meta=old.meta if old else Meta(name=ref.name, namespace=ref.namespace), spec=placed.spec)
        full = read(CircuitStatus, {**status, "labels": write(placed.labels), "tunnels": write(placed.tunnels)})
        circuits[placed.id] = Circuit(meta=circuit.meta, spec=circuit.spec, status=full)
    placements = decision.chosen.plan.placements
    statuses = {
        id_: IntentStatus(
            observed_generation=intent.meta.generation,
            placements=tuple(
                PlacementStatus(source=p.source, destination=p.destination or "", circuit=decision.circuit_of(p))
                for p in placements
                if p.intent == id_
            ),
        )
        for id_, intent in before.intents.items()
    }
    resources = {
        member.id: ResourceStatus(number=member.number, mesh_address=member.address or "")
        for member in decision.state.members
    }
    return replace(before, circuits=circuits, intent_status=statuses, resource_status=resources)
