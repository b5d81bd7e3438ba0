"""The operator's loop: read what is declared, let the rooms decide, publish."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from foremesh.controller import manifests, metrics, verdicts
from foremesh.controller.conditions import find
from foremesh.controller.dependencies import Dependency, Outage
from foremesh.controller.explanations import Explanations
from foremesh.controller.foretold import Foretold
from foremesh.controller.kubernetes import Kubernetes, KubernetesError, KubernetesUnavailable
from foremesh.controller.pins import Pins
from foremesh.controller.publisher import CircuitRefused, Publisher
from foremesh.controller.record import Record, conditions_of, read_all
from foremesh.controller.replanner import NotNow, Replanner, Work
from foremesh.controller.times import text, utc
from foremesh.controller.tokens import AgentTokens
from foremesh.decide import MAIN, Decision, Forecasts, Observed, Planners, as_measured, carry_on, decide
from foremesh.discovery.store import StoreUnavailable
from foremesh.model.manifest import write
from foremesh.model.registration import Registration
from foremesh.pipeline import Pipeline
from foremesh.settings import Settings

log = logging.getLogger(__name__)

HEARTBEAT_S = 2.0
"""Seconds between two looks at what is not told at once: probes, and labels that waited for something long enough."""

PATIENCE_S = 5.0
"""Seconds after which planning starts although edits keep coming."""

REJOIN_S = 30.0
"""Seconds that agents get to come back to a store that lost everything, or after none was heard, before those that do
not are left out: three presences. Until then everybody keeps the config he has."""

OUTAGE_WORTH_TELLING_S = 5.0
"""Seconds; a shorter outage is one API server of several being restarted."""


class Operator:
    """One mesh's controller."""

    def __init__(
        self,
        kubernetes: Kubernetes,
        pipeline: Pipeline,
        settings: Settings,
        *,
        clock: Callable[[], datetime] = utc,
    ) -> None:
        self._clock = clock
        self._kubernetes = kubernetes
        self._pipeline = pipeline
        self._settings = settings
        self._tokens = AgentTokens(kubernetes, pipeline)
        self._pins = Pins(kubernetes, settings.network_policies)
        self._publisher = Publisher(kubernetes, pipeline, self._pins)
        self._seen: dict[str, object] = {}
        """Uid to what of an object decisions depend on."""
        self._record: Record | None = None
        self._decision: Decision | None = None
        self._planners = Planners()
        self._figures: tuple[float, Forecasts, Observed] | None = None
        """Forecasts, and what agents said with them; and when that was, by the monotonic clock."""
        self._refused: dict[str, str] = {}
        """Circuits that the API server did not take since the last plan, with the reason."""
        self._registrations: dict[str, Registration] = {}
        self._rejoin_until_s: float | None = None
        self._silent: set[str] = set()
        """Gateways not heard yet since none was."""
        self._heard: dict[str, str] = {}
        self._outage: Outage | None = None
        self._newest_s = 0.0
        """Unix time of the newest link sample that was read; 0 if there was none yet."""
        self.foretold = Foretold()
        self.explanations = Explanations()
        self._dependencies = {name: Dependency(name) for name in ("kubernetes", "etcd", "prometheus")}
        self.replanner = Replanner(
            self._work, quiet_s=settings.planning.quiet, interval_s=settings.planning.interval, patience_s=PATIENCE_S
        )

    # What handlers tell

    async def noticed(self, event: str | None, body: Mapping[str, Any]) -> None:
        """Ask for a plan if what is declared changed; status alone does not count, nor what the operator wrote."""
        meta, uid = body["metadata"], body["metadata"]["uid"]
        if event == "DELETED":
            if uid not in self._seen:
                return
            del self._seen[uid]
        else:
            known, said = self._seen.get(uid), _said(body)
            self._seen[uid] = said
            if not conditions_of(body):
                await self._first_sight(body)
            if known == said or (known is None and said == UNPINNED):
                return
        self.replanner.request(Work.PLAN, f"{body['kind']} {meta.get('namespace', '')}/{meta['name']}")

    async def run(self) -> None:
        """Serve until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.replanner.run())
            tasks.create_task(self._heartbeat())
            tasks.create_task(
                self._pipeline.follow(
                    lambda reason: self.replanner.request(Work.PLAN, reason),
                    lambda reason: self.replanner.request(Work.PROGRESS, reason),
                )
            )

    async def _heartbeat(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            if self._newest_s:
                metrics.TELEMETRY_AGE.set(self._clock().timestamp() - self._newest_s)
            self.replanner.request(Work.PROGRESS, "heartbeat")

    async def _first_sight(self, body: Mapping[str, Any]) -> None:
        """Say that the object was seen, unless somebody wrote to it since: that may have been a plan."""
        conditions = verdicts.first_sight(body["metadata"].get("generation") or 0, text(self._clock()))
        manifest = manifests.with_status(body, {"conditions": write(conditions)})
        manifest["metadata"]["resourceVersion"] = body["metadata"]["resourceVersion"]
        try:
            await self._kubernetes.apply(manifest, subresource="status")
        except KubernetesError as error:
            log.info("first condition not written error=%s", error)

    # Planning

    async def _work(self, work: Work, reasons: tuple[str, ...]) -> None:
        try:
            await self._ask_kubernetes()
            if work >= Work.PLAN or self._decision is None:
                await self._plan(reasons, urgent=work is Work.URGENT)
            else:
                await self._progress()
        except KubernetesError as error:
            self._dependencies["kubernetes"].failed(error, self._clock())
            raise NotNow(str(error)) from error
        except StoreUnavailable as error:
            self._dependencies["etcd"].failed(error, self._clock())
            await self._say_store_is_away(error)
            raise NotNow(str(error)) from error
        self._dependencies["etcd"].answered(self._clock())

    async def _ask_kubernetes(self) -> None:
        """Nothing is carried on while nothing can be recorded; that the API server is away is known at once."""
        await self._kubernetes.ping()
        outage = self._dependencies["kubernetes"].answered(self._clock())
        if outage is not None and outage.seconds >= OUTAGE_WORTH_TELLING_S:
            self._outage = outage

    async def _plan(self, reasons: tuple[str, ...], *, urgent: bool) -> None:
        started = time.monotonic()
        self._record = record = await read_all(self._kubernetes)
        self._seen = {uid: said for uid, said in self._seen.items() if uid in record.uids}
        self._refused = {}
        await self._publisher.refuse_unreadable(record, text(self._clock()))
        await self._pins.look()
        await self._pipeline.declare(record.declared())
        await self._tokens.give(record)
        observed = await self._observe(record)
        self._wait_for_agents(record, observed)
        forecasts, measured = await self._measure(record, observed, urgent=urgent)
        self._newest_s = forecasts.newest_s or self._newest_s
        self.foretold.forecasts = forecasts
        if not forecasts.problem:
            metrics.FORECASTS.clear()
        for metric, forecast in forecasts.by_metric.items():
            for model in forecast.models:
                metrics.FORECASTS.labels(metric.value, model).inc()
        prometheus = self._dependencies["prometheus"]
        if forecasts.problem:
            prometheus.failed(forecasts.problem, self._clock())
        elif measured is observed:  # else nobody asked it
            prometheus.answered(self._clock())
        decision = await asyncio.to_thread(
            decide,
            record.declared(),
            measured,
            forecasts,
            self._settings,
            now_s=self._clock().timestamp(),
            planners=self._planners,
        )
        await self._publish(decision, observed, record, figures=True)
        metrics.CAPACITY.clear()
        for link in decision.chosen.graph.links:
            if link.capacity_bps is not None:
                metrics.CAPACITY.labels(link.id.src, link.id.dst, link.id.underlay).set(link.capacity_bps)
        metrics.PLANS.inc()
        made = self._planners.made.get(MAIN)
        how = "held" if made is None else "full" if made.why else "again"
        metrics.PLANS_MADE.labels(how, made.why if made else "telemetry").inc()
        metrics.PLAN_SECONDS.observe(time.monotonic() - started)
        log.info(
            "planned reasons=%d first=%r intents=%d circuits=%d changed=%d made=%s placed=%d of=%d why=%r seconds=%.2f",
            len(reasons),
            reasons[0],
            len(record.intents),
            len(decision.state.circuits),
            len(decision.changed),
            how,
            made.placed if made else 0,
            made.demands if made else 0,
            made.told if made else forecasts.problem,
            time.monotonic() - started,
        )
        await asyncio.to_thread(self._planners.warm)

    async def _measure(self, record: Record, observed: Observed, *, urgent: bool) -> tuple[Forecasts, Observed]:
        """What is forecast, and what agents say with the round trips to go with it.

        What was lost a moment ago is in no sample yet. A plan made for that reason takes the figures that there are,
        for as long as they could be in force anyway: it need not wait, and as little else has changed, it need not be
        made from nothing.
        """
        at_s, interval_s = time.monotonic(), self._settings.planning.interval
        if urgent and self._figures is not None and at_s - self._figures[0] < interval_s:
            return self._figures[1], as_measured(observed, self._figures[2])
        forecasts = await self._pipeline.forecast(record.declared(), now_s=self._clock().timestamp())
        self._figures = None if forecasts.problem else (at_s, forecasts, observed)
        return forecasts, observed

    async def _progress(self) -> None:
        assert self._record is not None
        assert self._decision is not None
        observed = await self._observe(self._record)
        decision = await self._carried_on(self._decision, observed, self._record)
        await self._publish(decision, observed, self._record, figures=False)
        if decision.outdated:
            self.replanner.request(Work.URGENT if decision.pressing else Work.PLAN, decision.outdated)

    async def _carried_on(self, decision: Decision, observed: Observed, record: Record) -> Decision:
        return await asyncio.to_thread(
            carry_on,
            record.declared(),
            observed,
            decision.chosen,
            self._settings,
            now_s=self._clock().timestamp(),
            refused=self._refused,
        )

    async def _observe(self, record: Record) -> Observed:
        """What agents said. A registration that the store has lost is still good: keys outlive the store."""
        observed = await self._pipeline.observe()
        known = {**self._registrations, **observed.registrations}
        self._registrations = {id_: one for id_, one in known.items() if id_ in record.resources}
        now = text(self._clock())
        self._heard = {id_: at for id_, at in self._heard.items() if id_ in record.resources}
        self._heard |= dict.fromkeys(observed.beacons.keys() & record.resources.keys(), now)
        return Observed(
            registrations=self._registrations,
            beacons=observed.beacons,
            acks=observed.acks,
            configs=observed.configs,
            unavailable=observed.unavailable,
        )

    def _wait_for_agents(self, record: Record, observed: Observed) -> None:
        """A plan made while known agents are missing from the store would take down what they carry; one made while
        gateways come back one by one, after nobody was heard, would lead around those that are a second late.

        Raises:
            NotNow: While some may still come back.
        """
        missing = self._not_back(record, observed) or sorted(
            id_
            for id_, status in record.resource_status.items()
            if id_ not in observed.registrations
            and (registered := find(status.conditions, "Registered")) is not None
            and registered.status == "True"
        )
        now_s = time.monotonic()
        if not missing:
            self._rejoin_until_s = None
            return
        if self._rejoin_until_s is None:
            self._rejoin_until_s = now_s + REJOIN_S
            log.warning("waiting for agents=%s at most_s=%g", ",".join(missing), REJOIN_S)
        if now_s < self._rejoin_until_s:
            raise NotNow(f"waiting for {', '.join(missing)} to come back")

    def _not_back(self, record: Record, observed: Observed) -> list[str]:
        """Gateways that are still missing since no gateway at all was heard, as while the mesh API is away."""
        gateways = {id_ for id_ in observed.registrations if record.resources[id_].is_gateway}
        present = gateways & observed.beacons.keys()
        if not present:
            self._silent = gateways
            return []
        self._silent = (self._silent & gateways) - present
        return sorted(self._silent)

    async def _publish(self, decision: Decision, observed: Observed, record: Record, *, figures: bool) -> None:
        while True:
            try:
                await self._publisher.publish(
                    decision,
                    observed,
                    record,
                    heard=self._heard,
                    outage=self._outage,
                    figures=figures,
                    now=text(self._clock()),
                )
            except CircuitRefused as error:
                log.error("%s", error)
                self._refused[error.circuit] = error.cause
                decision = await self._carried_on(decision, observed, record)
            else:
                break
        self._decision, self._outage = decision, None
        self.explanations.keep(decision, record.declared())

    async def _say_store_is_away(self, error: StoreUnavailable) -> None:
        if self._record is None:
            return
        try:
            await self._publisher.say_store_is_away(self._record, error, text(self._clock()))
        except KubernetesUnavailable as also:
            self._dependencies["kubernetes"].failed(also, self._clock())


UNPINNED: object = ("Circuit", ())
"""What a Circuit of the operator's own says of itself, without a path that somebody pinned: nothing to decide on."""


def _said(body: Mapping[str, Any]) -> object:
    """What of an object decisions depend on. Of a Circuit that foremesh made, only the pinned path is people's."""
    meta = body["metadata"]
    if body["kind"] == "Circuit" and manifests.is_managed(body):
        return ("Circuit", tuple((body.get("spec") or {}).get("path") or ()))
    return (meta.get("generation") or 0, tuple(sorted((meta.get("labels") or {}).items())))
