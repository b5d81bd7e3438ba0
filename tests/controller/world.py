"""An operator between a Kubernetes in memory and a store in memory, and agents that do what they are told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from prometheus_client import REGISTRY

from controller.fake import FakeKubernetes
from controller.scene import (
    DB,
    GATEWAYS,
    WEB,
    attached,
    forecasts,
    mesh_bodies,
    registration,
)
from foremesh.controller.operator import HEARTBEAT_S, Operator
from foremesh.controller.replanner import Work
from foremesh.decide import Declared, Forecasts, as_told
from foremesh.discovery.memory import MemoryStore
from foremesh.discovery.registry import Registry
from foremesh.model.registration import Acknowledgement, ProbeReport
from foremesh.pipeline import Pipeline
from foremesh.settings import ApiSettings, Settings

MEMBERS = (*(f"mesh/{name}" for name in GATEWAYS), WEB, DB)
CIRCUIT_KIND = "Circuit"


class FixedForecasts(Pipeline):
    """A pipeline whose Prometheus says what a test wants."""

    answer: Forecasts

    async def forecast(self, declared: Declared, *, now_s: float) -> Forecasts:
        return self.answer


class World:
    """An operator, what it talks to, and agents that do what they are told when asked to."""

    def __init__(self, *bodies: dict[str, Any], settings: Settings | None = None) -> None:
        self.settings = settings or Settings(api=ApiSettings(presence=3600.0))  # type: ignore[arg-type]
        self.kubernetes = FakeKubernetes(*mesh_bodies(), *bodies)
        self.store = MemoryStore(timeout_s=0.05)
        self.registry = Registry(self.store, presence_ttl_s=3600.0)
        self.pipeline = FixedForecasts(self.registry, self.settings, lambda: ThreadPoolExecutor(1))
        self.pipeline.answer = forecasts()
        self.rtt_ms = 20.0
        self.now: datetime | None = None
        """What the operator's clock is stopped at, if it is."""
        self.ahead = timedelta()
        """How far it runs ahead otherwise: ``settle`` puts it on, so that nobody has to wait."""
        self.operator = self.restart()

    def restart(self) -> Operator:
        """Another life of the operator, with nothing but what others remember."""
        self.operator = Operator(self.kubernetes, self.pipeline, self.settings, clock=self.clock)  # type: ignore[arg-type]
        return self.operator

    def clock(self) -> datetime:
        return self.now or datetime.now(UTC) + self.ahead

    async def agents(self, *ids: str) -> None:
        """They register and are heard."""
        for id_ in ids or MEMBERS:
            await self.registry.register_agent(registration(id_))
            await self.registry.beacon(id_, attached(id_))

    async def acknowledge(self, *ids: str, error: str = "") -> None:
        """They apply what they were told last, and hear hellos on every label; or they refuse it."""
        beacons = await self.registry.beacons()
        for id_, config in (await self.registry.configs()).items():
            if not ids or id_ in ids:
                ack = Acknowledgement(
                    gateway=id_,
                    epoch=config.epoch,
                    revision=config.revision,
                    applied=not error,
                    error=error,
                    labels=config.labels,
                )
                await self.registry.acknowledge(ack)
                if id_ in beacons and not error:
                    await self.registry.beacon(id_, as_told(beacons[id_], config))

    async def probe(self) -> None:
        """Ends of circuits report on them."""
        for id_, config in (await self.registry.configs()).items():
            if id_ in await self.registry.beacons():
                report = ProbeReport(answering=True, rtt_ms=self.rtt_ms, loss=0.0, mtu_fits=True)
                circuits = {end.circuit: report for end in config.circuits}
                beacon = (await self.registry.beacons())[id_]
                await self.registry.beacon(id_, msgspec.structs.replace(beacon, probes={**beacon.probes, **circuits}))

    async def plan(self) -> None:
        await self.operator._work(Work.PLAN, ("test",))

    async def progress(self) -> None:
        await self.operator._work(Work.PROGRESS, ("test",))

    async def settle(self) -> None:
        """Plan, then agents and operator in turn until nothing is written any more."""
        await self.plan()
        for _ in range(12):
            before = len(self.kubernetes.written)
            self.ahead += timedelta(seconds=2 * HEARTBEAT_S)
            await self.acknowledge()
            await self.progress()
            await self.probe()
            await self.progress()
            if len(self.kubernetes.written) == before:
                return
        raise AssertionError("twelve steps, and statuses still change")

    @property
    def circuit(self) -> dict[str, Any]:
        (found,) = self.kubernetes.of_kind(CIRCUIT_KIND)
        return found

    def ready(self, kind: str, name: str, namespace: str = "shop") -> tuple[str, str]:
        condition = self.kubernetes.condition(kind, name, "Ready", namespace)
        return condition["status"], condition["reason"]


@asynccontextmanager
async def running(world: World) -> AsyncIterator[None]:
    task = asyncio.create_task(world.operator.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def metric(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0
