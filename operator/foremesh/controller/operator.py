"""The operator's loop: read what is declared, let the pipeline decide, publish.

The order of publishing keeps the record ahead of the network: allocations are written to status before any gateway is
told to use them, and what is no longer wanted is deleted last.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from foremesh.controller import manifests, metrics, verdicts
from foremesh.controller.kubernetes import Kubernetes, KubernetesUnavailable
from foremesh.controller.replanner import Replanner, Work
from foremesh.decide import Decision, Declared, Observed, carry_on, decide
from foremesh.discovery.store import StoreUnavailable
from foremesh.model import tokens
from foremesh.model.circuit import Circuit
from foremesh.model.intent import Intent
from foremesh.model.manifest import ManifestError, read, write
from foremesh.model.meta import API_VERSION, Meta, Ref
from foremesh.model.policy import Policy
from foremesh.model.resource import Resource
from foremesh.model.status import IntentStatus, PolicyStatus, ResourceStatus
from foremesh.pipeline import Pipeline
from foremesh.settings import Settings

log = logging.getLogger(__name__)

HEARTBEAT_S = 2.0
"""Seconds between two looks at acknowledgements and probes; what a person waits for after ``kubectl apply``."""


class Operator:
    """One mesh's controller."""

    def __init__(self, kubernetes: Kubernetes, pipeline: Pipeline, settings: Settings) -> None:
        self._kubernetes = kubernetes
        self._pipeline = pipeline
        self._settings = settings
        self._seen: dict[str, tuple[int, str]] = {}
        self._declared: Declared | None = None
        self._bodies: dict[tuple[str, str], Mapping[str, Any]] = {}
        self._decision: Decision | None = None
        self._policies: dict[tuple[str, str, Ref], Any] | None = None
        self._away_since: float | None = None
        self.replanner = Replanner(
            self._work, quiet_s=settings.planning.quiet, interval_s=settings.planning.interval, patience_s=5.0
        )

    # What handlers tell

    async def noticed(self, event: str | None, body: Mapping[str, Any]) -> None:
        """Ask for a plan if what is declared changed; status alone does not count."""
        meta = body["metadata"]
        uid, state = meta["uid"], (meta.get("generation") or 0, str(sorted((meta.get("labels") or {}).items())))
        if event == "DELETED":
            self._seen.pop(uid, None)
        elif self._seen.get(uid) == state:
            return
        else:
            self._seen[uid] = state
            if not (body.get("status") or {}).get("conditions"):
                await self._first_sight(body)
        self.replanner.request(Work.PLAN, f"{body['kind']} {meta.get('namespace', '')}/{meta['name']}")

    async def run(self) -> None:
        """Serve until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.replanner.run())
            tasks.create_task(self._heartbeat())
            tasks.create_task(self._pipeline.follow(lambda reason: self.replanner.request(Work.PLAN, reason)))

    async def _heartbeat(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            self.replanner.request(Work.PROGRESS, "heartbeat")

    async def _first_sight(self, body: Mapping[str, Any]) -> None:
        conditions = verdicts.first_sight(body["metadata"].get("generation") or 0, _now())
        try:
            await self._kubernetes.apply(
                manifests.with_status(body, {"conditions": write(conditions)}), subresource="status"
            )
        except KubernetesUnavailable as error:
            log.warning("first condition not written error=%s", error)

    # Planning

    async def _work(self, work: Work, reasons: tuple[str, ...]) -> None:
        try:
            await (self._plan(reasons) if work is Work.PLAN or self._decision is None else self._progress())
            metrics.DEPENDENCY_UP.labels("kubernetes").set(1)
            metrics.DEPENDENCY_UP.labels("etcd").set(1)
            await self._say_kubernetes_is_back()
        except KubernetesUnavailable:
            metrics.DEPENDENCY_UP.labels("kubernetes").set(0)
            metrics.ATTEMPTS_FAILED.labels("kubernetes").inc()
            self._away_since = self._away_since or time.monotonic()
            raise
        except StoreUnavailable as error:
            metrics.DEPENDENCY_UP.labels("etcd").set(0)
            metrics.ATTEMPTS_FAILED.labels("etcd").inc()
            await self._say_store_is_away(error)
            raise

    async def _plan(self, reasons: tuple[str, ...]) -> None:
        started = time.monotonic()
        self._declared = await self._read()
        await self._pipeline.declare(self._declared)
        observed = await self._pipeline.observe()
        await self._give_tokens(self._declared)
        forecasts = await self._pipeline.forecast(now_s=time.time())
        metrics.DEPENDENCY_UP.labels("prometheus").set(not forecasts.problem)
        decision = await asyncio.to_thread(
            decide, self._declared, observed, forecasts, self._settings, previous=self._decision, now_s=time.time()
        )
        await self._publish(decision, observed)
        metrics.PLANS.inc()
        metrics.PLAN_SECONDS.observe(time.monotonic() - started)
        log.info(
            "planned reasons=%d first=%r intents=%d circuits=%d changed=%d seconds=%.2f",
            len(reasons),
            reasons[0],
            len(self._declared.intents),
            len(decision.state.circuits),
            len(decision.changed),
            time.monotonic() - started,
        )

    async def _progress(self) -> None:
        assert self._declared is not None
        assert self._decision is not None
        observed = await self._pipeline.observe()
        decision = carry_on(self._declared, observed, self._decision.chosen, self._settings, now_s=time.time())
        await self._publish(decision, observed)

    async def _read(self) -> Declared:
        """What is declared now. An object that cannot be read says so in its status and is left out."""
        found: dict[str, dict[str, Any]] = {}
        status: dict[str, Any] = {}
        intent_status: dict[str, Any] = {}
        policy_status: dict[str, Any] = {}
        self._bodies = {}
        for kind, structure in (
            ("MeshResource", Resource),
            ("Intent", Intent),
            ("MeshPolicy", Policy),
            ("Circuit", Circuit),
        ):
            objects = found[kind] = {}
            for body in await self._kubernetes.list(API_VERSION, kind):
                if body["metadata"].get("deletionTimestamp"):
                    continue
                try:
                    parsed = structure.from_manifest(body)
                    says = body.get("status") or {}
                    if kind == "MeshResource":
                        status[parsed.id] = read(ResourceStatus, says)
                    elif kind == "Intent":
                        intent_status[parsed.id] = read(IntentStatus, says)
                    elif kind == "MeshPolicy":
                        policy_status[parsed.id] = read(PolicyStatus, says)
                except ManifestError as error:
                    await self._refuse(body, error)
                    continue
                objects[parsed.id] = parsed
                self._bodies[kind, parsed.id] = body
        return Declared(
            resources=found["MeshResource"],
            resource_status=status,
            intents=found["Intent"],
            intent_status=intent_status,
            policies=found["MeshPolicy"],
            policy_status=policy_status,
            circuits=found["Circuit"],
        )

    async def _refuse(self, body: Mapping[str, Any], error: ManifestError) -> None:
        log.error("object not understood error=%s", error)
        generation = body["metadata"].get("generation") or 0
        conditions = verdicts.refused(generation, str(error), _now())
        await self._kubernetes.apply(
            manifests.with_status(body, {"conditions": write(conditions)}), subresource="status"
        )

    async def _give_tokens(self, declared: Declared) -> None:
        """Every resource that can have an agent gets a Secret with its token; the store gets the token's digest."""
        for resource in declared.resources.values():
            if not manifests.wants_agent(resource):
                continue
            ref = Ref(namespace=resource.meta.namespace, name=manifests.secret_name(resource))
            if self._pipeline.knows_token(resource.id):
                continue
            secret = await self._kubernetes.get("v1", "Secret", ref)
            token = manifests.token_in(secret)
            if token is None:
                token = tokens.new(resource.meta.namespace, resource.meta.name)
                await self._kubernetes.apply(manifests.agent_secret(resource, token))
            await self._pipeline.accept_token(resource.id, tokens.digest(token))

    # Publishing

    async def _publish(self, decision: Decision, observed: Observed) -> None:
        assert self._declared is not None
        now = _now()
        before = self._declared
        resources = await self._write_resources(decision, observed, now)
        circuits = await self._write_circuits(decision, observed, now)
        await self._pipeline.publish(decision)
        self._decision = decision
        intents = await self._write_intents(decision, observed, circuits, now)
        policies = await self._write_policies(decision, now)
        await self._pin_workloads(decision)
        for id_ in sorted(set(before.circuits) - set(circuits)):
            circuit = before.circuits[id_]
            if manifests.is_managed(circuit.meta.labels):
                await self._kubernetes.delete(API_VERSION, "Circuit", circuit.meta.ref)
                log.info("circuit removed circuit=%s", id_)
            else:
                status = await self._write_status(
                    "Circuit", id_, circuit.status, verdicts.unwanted_circuit(circuit, now)
                )
                circuits[id_] = msgspec.structs.replace(circuit, status=status)
        self._declared = Declared(
            resources=before.resources,
            resource_status=resources,
            intents=before.intents,
            intent_status=intents,
            policies=before.policies,
            policy_status=policies,
            circuits=circuits,
        )

    async def _write_resources(self, decision: Decision, observed: Observed, now: str) -> dict[str, ResourceStatus]:
        assert self._declared is not None
        members = {member.id: member for member in decision.state.members}
        written = {}
        for id_, resource in self._declared.resources.items():
            old = self._declared.resource_status.get(id_, ResourceStatus())
            secret = manifests.secret_name(resource) if manifests.wants_agent(resource) else ""
            new = verdicts.resource_status(resource, members.get(id_), old, observed, secret=secret, now=now)
            written[id_] = await self._write_status("MeshResource", id_, old, new)
        return written

    async def _write_circuits(self, decision: Decision, observed: Observed, now: str) -> dict[str, Circuit]:
        assert self._declared is not None
        written: dict[str, Circuit] = {}
        for placed in decision.state.circuits:
            old = self._declared.circuits.get(placed.id)
            if old is None or old.spec != placed.spec:
                owners = [
                    self._bodies["Intent", intent]
                    for intent in decision.served.get(placed.id, ())
                    if ("Intent", intent) in self._bodies
                ]
                body = await self._kubernetes.apply(manifests.circuit(placed, owners))
                self._bodies["Circuit", placed.id] = body
                self._seen[body["metadata"]["uid"]] = _seen_state(body)
                parsed = Circuit.from_manifest(body)
                old = Circuit(meta=parsed.meta, spec=placed.spec, status=old.status if old else parsed.status)
            status = verdicts.circuit_status(placed.id, placed, old, decision, observed, now=now)
            if old.status.path and status.path != old.status.path:
                metrics.MOVES.inc()
                await self._event(
                    "Circuit", placed.id, "Normal", "Moved", f"{old.status.path_text} to {status.path_text}"
                )
            kept = await self._write_status("Circuit", placed.id, old.status, status)
            written[placed.id] = Circuit(meta=old.meta, spec=old.spec, status=kept)
        return written

    async def _write_intents(
        self, decision: Decision, observed: Observed, circuits: Mapping[str, Circuit], now: str
    ) -> dict[str, IntentStatus]:
        assert self._declared is not None
        ready = frozenset(id_ for id_, circuit in circuits.items() if verdicts.is_ready(circuit.status.conditions))
        written = {}
        counts = dict.fromkeys(("True", "False", "Unknown"), 0)
        for id_, intent in self._declared.intents.items():
            old = self._declared.intent_status.get(id_, IntentStatus())
            new = verdicts.intent_status(intent, old, decision, ready, observed, now=now)
            for event in verdicts.events(old, new):
                await self._event("Intent", id_, *event)
            written[id_] = await self._write_status("Intent", id_, old, new)
            counts[verdicts.ready_status(new.conditions)] += 1
        for status, count in counts.items():
            metrics.INTENTS.labels(status).set(count)
        return written

    async def _write_policies(self, decision: Decision, now: str) -> dict[str, PolicyStatus]:
        assert self._declared is not None
        written = {}
        for id_, policy in self._declared.policies.items():
            old = self._declared.policy_status.get(id_, PolicyStatus())
            new = verdicts.policy_status(policy, old, decision.chosen.matched.get(id_, 0), now=now)
            written[id_] = await self._write_status("MeshPolicy", id_, old, new)
        return written

    async def _write_status(self, kind: str, id_: str, old: Any, new: Any) -> Any:
        """Write a status if it says something new; returns what the object says now."""
        if not verdicts.differs(old, new):
            return old
        body = self._bodies[kind, id_]
        await self._kubernetes.apply(manifests.with_status(body, write(new)), subresource="status")
        return new

    async def _pin_workloads(self, decision: Decision) -> None:
        """Network policies that let a workload talk to its gateways only; those nobody needs any more are deleted."""
        if self._policies is None:
            self._policies = await self._find_policies()
        wanted = {
            (
                policy["apiVersion"],
                policy["kind"],
                Ref(namespace=policy["metadata"].get("namespace", ""), name=policy["metadata"]["name"]),
            ): policy
            for policy in decision.network_policies
        }
        for key, policy in wanted.items():
            if self._policies.get(key) != policy:
                workload = f"{key[2].namespace}/{key[2].name.removeprefix('foremesh-')}"
                owner = self._bodies.get(("MeshResource", workload))
                await self._kubernetes.apply(manifests.owned(policy, [owner]) if owner else policy)
                self._policies[key] = policy
        for api_version, kind, ref in set(self._policies) - set(wanted):
            await self._kubernetes.delete(api_version, kind, ref)
            del self._policies[api_version, kind, ref]

    async def _find_policies(self) -> dict[tuple[str, str, Ref], Any]:
        """Policies of an earlier run, of the flavour in use; what they say is not known."""
        if self._settings.network_policies == "None":
            return {}
        api_version, kind = manifests.POLICY_KINDS[self._settings.network_policies]
        found = await self._kubernetes.list(api_version, kind)
        return {
            (api_version, kind, Meta.from_manifest(body).ref): None
            for body in found
            if manifests.is_managed(body["metadata"].get("labels") or {})
        }

    async def _say_store_is_away(self, error: StoreUnavailable) -> None:
        """Conditions for people, while agents go on with what they have."""
        if self._declared is None:
            return
        now = _now()
        try:
            for id_, old in self._declared.intent_status.items():
                new = verdicts.store_away(old, str(error), now)
                await self._write_status("Intent", id_, old, new)
        except KubernetesUnavailable as also:
            log.warning("condition not written error=%s", also)

    async def _say_kubernetes_is_back(self) -> None:
        """What could not be written while the API server was away: that it was."""
        if self._away_since is None or self._declared is None:
            return
        away_s, self._away_since = time.monotonic() - self._away_since, None
        message = f"the API server could not be used for {away_s:.0f} s; circuits stayed as they were"
        log.warning("API server is back away_s=%.0f", away_s)
        for id_ in self._declared.intents:
            await self._event("Intent", id_, "Warning", "PlanningInterrupted", message)

    async def _event(self, kind: str, id_: str, type_: str, reason: str, message: str) -> None:
        """Tell what was decided; an event that cannot be written is not worth an attempt at planning."""
        body = self._bodies.get((kind, id_))
        if body is None:
            return
        try:
            await self._kubernetes.create(manifests.event(body, type_, reason, message))
        except KubernetesUnavailable as error:
            log.warning("event not written error=%s", error)


def _seen_state(body: Mapping[str, Any]) -> tuple[int, str]:
    meta = body["metadata"]
    return meta.get("generation") or 0, str(sorted((meta.get("labels") or {}).items()))


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
