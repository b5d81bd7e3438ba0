"""A mesh of four gateways and two workloads, in values: what people declared, what agents said, what is forecast.

ams ---- lon          web is at ams, db at fra. ams > lon > fra is the fastest way (20 ms), ams > par > fra the
 |  \\    |           next (30 ms), the direct one the slowest (200 ms).
par ---- fra
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import numpy as np

from foremesh.decide import Decision, Declared, Forecasts, Observed, Problem, as_told, carry_on, decide
from foremesh.model.circuit import Circuit, CircuitStatus, LabelState
from foremesh.model.config import GatewayConfig
from foremesh.model.forecast import Forecast
from foremesh.model.intent import Intent
from foremesh.model.link import LinkId
from foremesh.model.meta import Meta, Ref
from foremesh.model.policy import Policy
from foremesh.model.registration import Acknowledgement, Beacon, ProbeReport, PublicKeys, Registration
from foremesh.model.resource import Resource
from foremesh.model.series import Metric
from foremesh.model.status import IntentStatus, PlacementStatus, ResourceStatus
from foremesh.settings import Settings

NOW_S = 2_000_000_000.0
GATEWAYS = ("ams", "fra", "lon", "par")
RTTS_MS = {
    ("ams", "lon"): 10.0,
    ("lon", "fra"): 10.0,
    ("ams", "par"): 15.0,
    ("par", "fra"): 15.0,
    ("ams", "fra"): 200.0,
    ("lon", "par"): 40.0,
}
BY_LON, BY_PAR = ("mesh/ams", "mesh/lon", "mesh/fra"), ("mesh/ams", "mesh/par", "mesh/fra")
WEB, DB, REPLICA, ORDERS = "shop/web", "shop/db", "shop/replica", "shop/orders"


def body(kind: str, name: str, namespace: str | None = "shop", **fields: Any) -> dict[str, Any]:
    """A manifest as the API server would send it; ``labels`` go into metadata, all else into spec."""
    labels = fields.pop("labels", {})
    meta = {"name": name, "uid": f"{kind}-{name}", "generation": 1, "labels": labels, "resourceVersion": "1"}
    if namespace:
        meta["namespace"] = namespace
    return {"apiVersion": "foremesh.io/v1alpha1", "kind": kind, "metadata": meta, "spec": fields}


def gateway_body(name: str, **spec: Any) -> dict[str, Any]:
    gateway = {"role": "Core", "endpoint": f"203.0.113.{1 + GATEWAYS.index(name)}:51820"}
    return body(
        "MeshResource", name, "mesh", **{"type": "Gateway", "gateway": gateway, "location": {"site": name}, **spec}
    )


def workload_body(name: str, site: str, **spec: Any) -> dict[str, Any]:
    workload = {"selector": {"matchLabels": {"app": name}}}
    return body("MeshResource", name, **{"type": "Container", "workload": workload, "location": {"site": site}, **spec})


def replica_body() -> dict[str, Any]:
    """What db offers, nearer to web: at lon."""
    return workload_body("replica", "lon", services=[{"name": "db", "port": 5432}])


def intent_body(name: str = "orders", **spec: Any) -> dict[str, Any]:
    return body("Intent", name, **{"from": {"resource": "web"}, "to": {"service": "db"}, "requirements": {}, **spec})


def policy_body(name: str = "word", **spec: Any) -> dict[str, Any]:
    return body("MeshPolicy", name, None, **spec)


def mesh_bodies() -> list[dict[str, Any]]:
    """Manifests of all gateways and both workloads."""
    services = [{"name": "db", "port": 5432}]
    return [
        *(gateway_body(name) for name in GATEWAYS),
        workload_body("web", "ams"),
        workload_body("db", "fra", services=services),
    ]


def registration(resource: str) -> Registration:
    keys = PublicKeys(hop=f"hop {resource}", circuit=f"circuit {resource}", attach=f"attach {resource}")
    return Registration(
        resource=resource,
        keys=keys,
        endpoint="203.0.113.9:51820",
        attach_endpoint="203.0.113.9:51821" if resource.startswith("mesh/") else None,
        metrics_endpoint="203.0.113.9:9466",
    )


def forecasts(changed_ms: Mapping[tuple[str, str], float] | None = None) -> Forecasts:
    """Round trips as in ``RTTS_MS``, some of them changed; nothing is lost."""
    both = {}
    for (a, b), rtt_ms in {**RTTS_MS, **(changed_ms or {})}.items():
        for src, dst in ((a, b), (b, a)):
            both[LinkId(src=f"mesh/{src}", dst=f"mesh/{dst}")] = rtt_ms

    def flat(metric: Metric, values: list[float]) -> Forecast:
        steps = np.tile(np.array(values)[None, :, None], (3, 1, 2))
        names = ("last-value",) * len(values)
        return Forecast(metric, tuple(both), 60.0, NOW_S, steps, names, names)

    rtt, loss = flat(Metric.RTT, list(both.values())), flat(Metric.LOSS, [0.0] * len(both))
    return Forecasts({Metric.RTT: rtt, Metric.LOSS: loss}, newest_s=NOW_S)


AWAY = Forecasts(problem="Prometheus does not answer")


@dataclass
class Mesh:
    """One decision after another, with agents that do at once what they are told, unless a test keeps them from it.

    What the operator would write into statuses is kept as far as decisions read it back.
    """

    declared: Declared
    observed: Observed = field(default_factory=Observed)
    settings: Settings = field(default_factory=Settings)
    forecasts: Forecasts = field(default_factory=forecasts)
    now_s: float = NOW_S
    decision: Decision | None = None

    @classmethod
    def of(cls, *bodies: dict[str, Any], agents: bool = True, **fields: Any) -> Mesh:
        """The mesh with further manifests; those of kind MeshResource replace others of their name."""
        resources, intents, policies = {}, {}, {}
        for one in (*mesh_bodies(), *bodies):
            if one["kind"] == "MeshResource":
                resource = Resource.from_manifest(one)
                resources[resource.id] = resource
            elif one["kind"] == "Intent":
                intent = Intent.from_manifest(one)
                intents[intent.id] = intent
            else:
                policy = Policy.from_manifest(one)
                policies[policy.id] = policy
        mesh = cls(Declared(resources=resources, intents=intents, policies=policies), **fields)
        if agents:
            mesh.observed = Observed(
                registrations={id_: registration(id_) for id_ in resources},
                beacons={id_: attached(id_) for id_ in resources},
            )
        return mesh

    def declare(self, *bodies: dict[str, Any]) -> None:
        """Add or replace objects."""
        other = Mesh.of(*bodies, agents=False).declared
        names = [Ref(namespace=b["metadata"].get("namespace", ""), name=b["metadata"]["name"]) for b in bodies]
        new = {str(ref).removeprefix("/") for ref in names}
        self.declared = replace(
            self.declared,
            resources={**self.declared.resources, **{k: v for k, v in other.resources.items() if k in new}},
            intents={**self.declared.intents, **other.intents},
            policies={**self.declared.policies, **other.policies},
        )

    def forget(self, kind: str, id_: str) -> None:
        """Take an object away."""
        kept = {key: value for key, value in getattr(self.declared, kind).items() if key != id_}
        self.declared = replace(self.declared, **{kind: kept})

    def silence(self, *ids: str) -> None:
        """Their beacons stop."""
        beacons = {id_: one for id_, one in self.observed.beacons.items() if id_ not in ids}
        self.observed = replace(self.observed, beacons=beacons)

    def plan(self) -> Decision:
        """Decide anew."""
        self.now_s += 30
        decision = decide(self.declared, self.observed, self.forecasts, self.settings, now_s=self.now_s)
        return self._take(decision)

    def progress(self, **options: Any) -> Decision:
        """Carry the decision on."""
        assert self.decision is not None
        self.now_s += 2
        chosen = self.decision.chosen
        return self._take(carry_on(self.declared, self.observed, chosen, self.settings, now_s=self.now_s, **options))

    def settle(self) -> Decision:
        """Plan, then let agents apply what they are told until nothing changes any more."""
        decision = self.plan()
        for _ in range(12):
            self.acknowledge(*self.observed.configs)
            decision = self.progress()
            if not decision.changed and not decision.removed:
                return decision
        raise AssertionError("twelve steps, and configs still change")

    def acknowledge(self, *ids: str, error: str = "") -> None:
        """They apply their config in force, and hear hellos on every label; or they refuse it."""
        acks, beacons = dict(self.observed.acks), dict(self.observed.beacons)
        for id_ in ids:
            config = self.observed.configs[id_]
            if id_ in beacons and not error:
                beacons[id_] = as_told(beacons[id_], config)
            acks[id_] = Acknowledgement(
                gateway=id_,
                epoch=config.epoch,
                revision=config.revision,
                applied=not error,
                error=error,
                labels=config.labels,
            )
        self.observed = replace(self.observed, acks=acks, beacons=beacons)

    def report(self, *ids: str, **fields: Any) -> None:
        """Their next beacons say something else."""
        beacons = {**self.observed.beacons}
        beacons |= {id_: msgspec.structs.replace(beacons[id_], **fields) for id_ in ids}
        self.observed = replace(self.observed, beacons=beacons)

    def fall_over(self, *ids: str) -> None:
        """These ends of the one circuit went to the standby, where alone hellos pass, and say so."""
        (standby,) = [label.number for label in self.circuit.status.labels if label.state == "Standby"]
        self.report(*ids, sending={self.circuit.id: standby}, heard=(standby,))

    @property
    def circuit(self) -> Circuit:
        """The one circuit on record."""
        (circuit,) = self.declared.circuits.values()
        return circuit

    @property
    def states(self) -> dict[tuple[str, ...], LabelState]:
        """The states of that circuit's labels, by path."""
        return {label.path: label.state for label in self.circuit.status.labels}

    def _take(self, decision: Decision) -> Decision:
        self.decision = decision
        configs: dict[str, GatewayConfig] = {
            id_: config for id_, config in self.observed.configs.items() if id_ not in decision.removed
        }
        configs |= {id_: decision.configs[id_] for id_ in decision.changed}
        self.observed = replace(self.observed, configs=configs)
        circuits = {one.id: self._recorded(one.id, decision) for one in decision.state.circuits}
        members = decision.state.members
        self.declared = replace(
            self.declared,
            circuits=circuits,
            resource_status={m.id: ResourceStatus(number=m.number, mesh_address=m.address or "") for m in members},
            intent_status={id_: self._placements(id_, decision) for id_ in self.declared.intents},
        )
        return decision

    def _recorded(self, id_: str, decision: Decision) -> Circuit:
        placed = next(one for one in decision.state.circuits if one.id == id_)
        before = self.declared.circuits.get(id_)
        active = next((label.path for label in placed.labels if label.state == "Active"), ())
        ref = Ref.parse(id_)
        return Circuit(
            meta=Meta(name=ref.name, namespace=ref.namespace),
            spec=placed.spec,
            status=CircuitStatus(
                number=placed.number,
                class_number=placed.class_number,
                tunnels=placed.tunnels,
                labels=placed.labels,
                intents=decision.served.get(id_, ()),
                path=active or (before.status.path if before else ()) or placed.labels[0].path,
            ),
        )

    def _placements(self, intent: str, decision: Decision) -> IntentStatus:
        placements = [one for one in decision.chosen.plan.placements if one.intent == intent]
        return IntentStatus(
            placements=tuple(
                PlacementStatus(
                    source=one.source,
                    destination=one.destination or "",
                    circuit=decision.circuit_of(one),
                    path=one.path.text if one.path else "",
                    reason=one.reason,
                )
                for one in placements
            )
        )


def attached(id_: str) -> Beacon:
    """A beacon; a workload's with a millisecond to its gateway."""
    gateway = {WEB: "mesh/ams", DB: "mesh/fra", REPLICA: "mesh/lon"}.get(id_)
    return Beacon(probes={gateway: ProbeReport(answering=True, rtt_ms=1.0, loss=0.0)} if gateway else {})


SLOW_LON = forecasts({("ams", "lon"): 90.0})
"""By par is now the best way."""
DIRECT = ("mesh/ams", "mesh/fra")
FAST_DIRECT = forecasts({("ams", "fra"): 1.0})
"""The direct way is now the best, which was not even the standby."""
ALL_SLOW = forecasts(dict.fromkeys((("ams", "lon"), ("ams", "par")), 90.0))
HASTY = {"requirements": {"maxLatency": "40ms"}}


def path_of(decision: Decision, intent: str = ORDERS) -> tuple[str, ...] | None:
    (placement,) = [one for one in decision.chosen.plan.placements if one.intent == intent]
    return placement.path.gateways if placement.path else None


def infeasible(decision: Decision) -> str | None:
    (placement,) = decision.chosen.plan.placements
    return placement.infeasible.requirement if placement.infeasible else None


def problem(mesh: Mesh) -> Problem | None:
    return mesh.plan().chosen.resolved[ORDERS].problem
