"""Publishing a decision, so that the record is always ahead of the network: allocations are in statuses before any
gateway is told to use them, and an object goes only after the gateways were told to do without it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from foremesh.controller import manifests, metrics, verdicts
from foremesh.controller.conditions import readiness
from foremesh.controller.dependencies import Outage
from foremesh.controller.kubernetes import NOT_FOUND, Kubernetes, KubernetesError, KubernetesRefused
from foremesh.controller.pins import Pins
from foremesh.controller.record import Body, Record, conditions_of, parse_circuit
from foremesh.controller.times import text
from foremesh.controller.verdicts import News
from foremesh.decide import Decision, Gateways, Observed, doubles
from foremesh.model.circuit import Circuit, Condition
from foremesh.model.manifest import write
from foremesh.model.mesh import PlacedCircuit
from foremesh.model.meta import API_VERSION, Ref
from foremesh.model.status import IntentStatus, PolicyStatus, ResourceStatus
from foremesh.pipeline import Pipeline

log = logging.getLogger(__name__)

T = TypeVar("T")


class CircuitRefused(RuntimeError):
    """A circuit that an Intent needs cannot be recorded; carries ``circuit`` and ``cause``."""

    def __init__(self, circuit: str, cause: str) -> None:
        self.circuit = circuit
        self.cause = cause
        super().__init__(f"circuit {circuit} cannot be recorded: {cause}; it is not set up")


class Publisher:
    """Writes what a decision means to the API server and the store, and keeps the record in step with every write."""

    def __init__(self, kubernetes: Kubernetes, pipeline: Pipeline, pins: Pins) -> None:
        self._kubernetes = kubernetes
        self._pipeline = pipeline
        self._pins = pins

    async def publish(
        self,
        decision: Decision,
        observed: Observed,
        record: Record,
        *,
        heard: Mapping[str, str],
        outage: Outage | None,
        figures: bool,
        now: str,
    ) -> None:
        """Publish in order; what fails midway is found again by the next decision.

        Args:
            record: What the API server has; brought up to date with what is written.
            heard: Resource id to the RFC 3339 time when its agent was last known to be present.
            outage: Of the API server, for Intents to tell.
            figures: Whether it is time to write latencies that have moved far from what statuses show.
            now: RFC 3339.

        Raises:
            CircuitRefused: If a circuit that an Intent needs cannot be recorded; nothing was told to any agent then.
            KubernetesUnavailable: If the API server is away.
            StoreUnavailable: If the store is away.
        """
        await self._write_resources(decision, observed, record, heard, now)
        await self._write_circuits(decision, observed, record, figures, now)
        await self._pipeline.publish(decision)
        await self._write_intents(decision, observed, record, outage, figures, now)
        await self._write_policies(decision, record, now)
        for id_, body in record.by_hand.items():
            generation = body["metadata"].get("generation") or 0
            said = verdicts.not_served(conditions_of(body), generation, now)
            record.by_hand[id_] = await self._say(body, said)
        await self._pins.keep(decision.pinned, record.bodies)
        await self._delete_circuits(decision, record)

    async def refuse_unreadable(self, record: Record, now: str) -> None:
        """Tell those who declared what this version cannot read."""
        for body, error in record.unreadable:
            log.error("object not understood error=%s", error)
            generation = body["metadata"].get("generation") or 0
            await self._say(body, verdicts.unreadable(conditions_of(body), generation, str(error), now))

    async def say_store_is_away(self, record: Record, error: object, now: str) -> None:
        """Conditions for people, while agents go on with what they have.

        Raises:
            KubernetesUnavailable: If the API server is away as well.
        """
        for id_, intent in record.intents.items():
            old = record.intent_status[id_]
            new = verdicts.store_is_away(old, intent.meta.generation, str(error), now)
            await self._write_status(record, "Intent", id_, record.intent_status, new)

    async def _write_resources(
        self, decision: Decision, observed: Observed, record: Record, heard: Mapping[str, str], now: str
    ) -> None:
        twice = doubles(record.resources)
        for id_, resource in record.resources.items():
            old = record.resource_status.get(id_, ResourceStatus())
            new = verdicts.resource_status(
                resource,
                old,
                decision.state,
                observed,
                secret=manifests.secret_name(resource) if manifests.wants_agent(resource) else "",
                heard_at=heard.get(id_, ""),
                now=now,
                double=twice.get(id_),
            )
            await self._tell(record, "MeshResource", id_, verdicts.resource_news(old, new))
            await self._write_status(record, "MeshResource", id_, record.resource_status, new)

    async def _write_circuits(
        self, decision: Decision, observed: Observed, record: Record, figures: bool, now: str
    ) -> None:
        for placed in decision.state.circuits:
            try:
                circuit = await self._declare_circuit(placed, decision, record)
            except KubernetesRefused as error:
                if placed.id in decision.served:
                    raise CircuitRefused(placed.id, error.cause) from error
                # Its namespace may be going. It is being taken down, and configs in force show what it still has.
                log.warning("circuit goes without a record circuit=%s error=%s", placed.id, error)
                continue
            status = verdicts.circuit_status(placed, circuit, decision, observed, now=now)
            metrics.MOVES.inc(max(0, status.moves - circuit.status.moves))
            metrics.FAILOVERS.inc(max(0, status.failovers - circuit.status.failovers))
            await self._tell(record, "Circuit", placed.id, verdicts.circuit_news(circuit.status, status))
            statuses = {placed.id: circuit.status}
            await self._write_status(record, "Circuit", placed.id, statuses, status, figures=figures)
            record.circuits[placed.id] = Circuit(meta=circuit.meta, spec=circuit.spec, status=statuses[placed.id])

    async def _declare_circuit(self, placed: PlacedCircuit, decision: Decision, record: Record) -> Circuit:
        """The Circuit object with the spec and the owners it should have."""
        intents = [record.bodies.get(("Intent", id_)) for id_ in decision.served.get(placed.id, ())]
        manifest = manifests.circuit(placed, [body for body in intents if body is not None])
        old = record.circuits.get(placed.id)
        if old is not None and write(old.spec) == write(placed.spec):
            body = record.bodies["Circuit", placed.id]
            if manifests.owners_of(body, "Intent") == manifests.owners_of(manifest, "Intent"):
                return old
        body = await self._kubernetes.apply(manifest)
        record.bodies["Circuit", placed.id] = body
        record.by_hand.pop(placed.id, None)
        applied = parse_circuit(body)
        return Circuit(meta=applied.meta, spec=placed.spec, status=old.status if old else applied.status)

    async def _delete_circuits(self, decision: Decision, record: Record) -> None:
        needed = {placed.id for placed in decision.state.circuits}
        for id_ in sorted(record.circuits.keys() - needed):
            if record.circuits[id_].status.labels:
                continue
            try:
                await self._kubernetes.delete(API_VERSION, "Circuit", Ref.parse(id_))
            except KubernetesRefused as error:
                log.error("circuit not removed circuit=%s error=%s", id_, error)
                continue
            del record.circuits[id_], record.bodies["Circuit", id_]
            log.info("circuit removed circuit=%s", id_)

    async def _write_intents(
        self,
        decision: Decision,
        observed: Observed,
        record: Record,
        outage: Outage | None,
        figures: bool,
        now: str,
    ) -> None:
        counts = dict.fromkeys((True, False, None), 0)
        declared, gateways = record.declared(), Gateways.of(record.resources.values())
        for id_, intent in record.intents.items():
            if id_ not in decision.chosen.resolved:
                continue  # declared since that plan was made; the next one is on its way
            old = record.intent_status.get(id_, IntentStatus())
            new = verdicts.intent_status(
                intent, old, decision, record.circuits, observed, now=now, declared=declared, gateways=gateways
            )
            counts[readiness(new.conditions)] += 1
            news = verdicts.intent_news(old, new)
            if outage is not None:
                new = verdicts.kubernetes_was_away(new, text(outage.since), text(outage.until), now)
                message = f"the Kubernetes API did not answer for {outage.seconds:.0f} s; circuits stayed as they were"
                news.append(("Warning", "PlanningInterrupted", message))
            await self._tell(record, "Intent", id_, news)
            told = outage is not None
            await self._write_status(
                record,
                "Intent",
                id_,
                record.intent_status,
                new,
                figures=figures,
                always=told,
                finish=lambda status, id_=id_: verdicts.told_at_length(status, id_, decision),  # type: ignore[misc]
            )
        for ready, name in ((True, "True"), (False, "False"), (None, "Unknown")):
            metrics.INTENTS.labels(name).set(counts[ready])

    async def _write_policies(self, decision: Decision, record: Record, now: str) -> None:
        gateways = Gateways.of(record.resources.values())
        for id_, policy in record.policies.items():
            old = record.policy_status.get(id_, PolicyStatus())
            new = verdicts.policy_status(
                policy,
                old,
                decision.chosen.matched.get(id_, 0),
                decision.chosen.shadows.get(id_),
                unnamed=gateways.unnamed_in_policy(policy),
                remark=decision.chosen.remarks.get(id_),
                now=now,
            )
            await self._tell(record, "MeshPolicy", id_, verdicts.names_news(old.conditions, new.conditions))
            await self._write_status(record, "MeshPolicy", id_, record.policy_status, new)

    async def _write_status(
        self,
        record: Record,
        kind: str,
        id_: str,
        statuses: dict[str, T],
        new: T,
        *,
        figures: bool = False,
        always: bool = False,
        finish: Callable[[T], T] | None = None,
    ) -> None:
        """Write a status if it says something new, and remember it; ``finish`` adds what is only worked out then."""
        if not always and id_ in statuses and not verdicts.worth_writing(statuses[id_], new, figures=figures):
            return
        if finish is not None:
            new = await asyncio.to_thread(finish, new)
        try:
            manifest = manifests.with_status(record.bodies[kind, id_], write(new))
            await self._kubernetes.apply(manifest, subresource="status")
        except KubernetesRefused as error:
            # One that was deleted meanwhile is no trouble; of any other the log has to tell.
            log.log(logging.INFO if error.status == NOT_FOUND else logging.ERROR, "status not written error=%s", error)
            return
        statuses[id_] = new

    async def _say(self, body: Body, conditions: tuple[Condition, ...]) -> Body:
        """Write conditions and leave the rest of a status alone; returns the object as it is then."""
        if verdicts.same_words(conditions_of(body), conditions):
            return body
        status: dict[str, Any] = {**(body.get("status") or {}), "conditions": write(conditions)}
        try:
            return await self._kubernetes.apply(manifests.with_status(body, status), subresource="status")
        except KubernetesRefused as error:
            log.error("condition not written error=%s", error)
            return body

    async def _tell(self, record: Record, kind: str, id_: str, news: Iterable[News]) -> None:
        """Events of what was decided; one that cannot be written is not worth another attempt."""
        for type_, reason, message in news:
            log.info("%s kind=%s object=%s message=%r", reason, kind, id_, message)
            try:
                await self._kubernetes.create(manifests.event(record.bodies[kind, id_], type_, reason, message))
            except KubernetesError as error:
                log.warning("event not written error=%s", error)
