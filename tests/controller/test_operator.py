"""The operator between a Kubernetes in memory and a store in memory: what it writes, in which order, and when not."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from prometheus_client import REGISTRY

from controller.fake import FakeKubernetes
from controller.scene import (
    AWAY,
    DB,
    GATEWAYS,
    WEB,
    attached,
    body,
    forecasts,
    gateway_body,
    intent_body,
    mesh_bodies,
    policy_body,
    registration,
    workload_body,
)
from foremesh.controller import operator as module
from foremesh.controller.operator import Operator
from foremesh.controller.replanner import NotNow, Work
from foremesh.decide import Forecasts
from foremesh.discovery.memory import MemoryStore
from foremesh.discovery.registry import Registry
from foremesh.model import tokens
from foremesh.model.registration import Acknowledgement, ProbeReport
from foremesh.pipeline import Pipeline
from foremesh.settings import ApiSettings, PlanningSettings, Settings
from lab.process import wait_until_async

MEMBERS = (*(f"mesh/{name}" for name in GATEWAYS), WEB, DB)
SLOW_LON = forecasts({("ams", "lon"): 90.0})
CIRCUIT_KIND = "Circuit"


class FixedForecasts(Pipeline):
    """A pipeline whose Prometheus says what a test wants."""

    answer: Forecasts

    async def forecast(self, *, now_s: float) -> Forecasts:
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
        self.operator = self.restart()

    def restart(self) -> Operator:
        """Another life of the operator, with nothing but what others remember."""
        self.operator = Operator(self.kubernetes, self.pipeline, self.settings)  # type: ignore[arg-type]
        return self.operator

    async def agents(self, *ids: str) -> None:
        """They register and are heard."""
        for id_ in ids or MEMBERS:
            await self.registry.register_agent(registration(id_))
            await self.registry.beacon(id_, attached(id_))

    async def acknowledge(self, *ids: str, error: str = "") -> None:
        """They apply, or refuse, what they were told last."""
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

    async def probe(self) -> None:
        """Ends of circuits report on them."""
        for id_, config in (await self.registry.configs()).items():
            if id_ in await self.registry.beacons():
                report = ProbeReport(answering=True, rtt_ms=self.rtt_ms, loss=0.0, mtu_fits=True)
                circuits = {end.circuit: report for end in config.circuits}
                beacon = attached(id_)
                await self.registry.beacon(id_, msgspec.structs.replace(beacon, probes={**beacon.probes, **circuits}))

    async def plan(self) -> None:
        await self.operator._work(Work.PLAN, ("test",))

    async def progress(self) -> None:
        await self.operator._work(Work.PROGRESS, ("test",))

    async def settle(self) -> None:
        """Plan, then agents and operator in turn until nothing is written any more."""
        await self.plan()
        for _ in range(12):
            before = (len(self.kubernetes.written), self.store._number)
            await self.acknowledge()
            await self.progress()
            await self.probe()
            await self.progress()
            if len(self.kubernetes.written) == before[0]:
                return
        raise AssertionError("twelve steps, and statuses still change")

    @property
    def circuit(self) -> dict[str, Any]:
        (found,) = self.kubernetes.of_kind(CIRCUIT_KIND)
        return found

    def ready(self, kind: str, name: str, namespace: str = "shop") -> tuple[str, str]:
        condition = self.kubernetes.condition(kind, name, "Ready", namespace)
        return condition["status"], condition["reason"]


@pytest.fixture
async def world() -> World:
    """With one Intent, agents there, everything set up."""
    world = World(intent_body())
    await world.plan()
    await world.agents()
    await world.settle()
    return world


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


# From declarations to circuits


async def test_an_intent_is_ready_once_packets_pass(world: World) -> None:
    assert world.ready("Intent", "orders") == ("True", "Placed")
    status = world.kubernetes.status("Intent", "orders")
    assert status["path"] == "ams > lon > fra"
    assert status["observed"] == {"latencyMs": 22.0, "loss": 0.0}
    assert world.kubernetes.condition("Intent", "orders", "Satisfied")["status"] == "True"
    assert world.ready("Circuit", world.circuit["metadata"]["name"], "mesh") == ("True", "Forwarding")
    assert all(world.ready("MeshResource", name, "mesh") == ("True", "Serving") for name in GATEWAYS)


async def test_an_allocation_is_on_record_before_anybody_is_told() -> None:
    world = World(intent_body())
    await world.plan()
    await world.agents()
    order: list[str] = []
    world.kubernetes.on_write = lambda verb, manifest: order.append(f"{verb} {manifest['kind']}")
    real = world.registry.put_config

    async def put_config(config: Any) -> None:
        order.append("config")
        recorded = world.kubernetes.status("Circuit", world.circuit["metadata"]["name"], "mesh")
        assert {label["number"] for label in recorded["labels"]} >= set(config.labels)
        await real(config)

    world.registry.put_config = put_config  # type: ignore[method-assign]
    await world.plan()
    assert order.index("apply Circuit") < order.index("apply status Circuit") < order.index("config")
    assert order.index("config") < order.index("apply status Intent")


async def test_nothing_is_published_while_kubernetes_is_away(world: World) -> None:
    before = await world.registry.configs()
    world.pipeline.answer = SLOW_LON
    world.kubernetes.away = True
    for step in (world.plan, world.progress):
        with pytest.raises(NotNow):
            await step()
        assert metric("foremesh_dependency_up", dependency="kubernetes") == 0
    assert await world.registry.configs() == before
    world.kubernetes.away = False
    await world.settle()
    assert metric("foremesh_dependency_up", dependency="kubernetes") == 1
    assert world.kubernetes.status("Intent", "orders")["path"] == "ams > par > fra"


async def test_kubernetes_going_away_midway_leaves_the_network_as_it_was(world: World) -> None:
    before = await world.registry.configs()
    world.pipeline.answer = SLOW_LON

    def fail(verb: str, manifest: Any) -> None:
        world.kubernetes.away = True

    world.kubernetes.on_write = fail
    with pytest.raises(NotNow):
        await world.plan()
    assert await world.registry.configs() == before


@pytest.mark.parametrize(("seconds", "told"), [(34, True), (1, False)], ids=["long", "a-restart-of-one-of-several"])
async def test_after_an_outage_of_kubernetes_intents_tell_of_it(
    world: World, monkeypatch: pytest.MonkeyPatch, seconds: int, told: bool
) -> None:
    start = datetime(2030, 1, 1, 12, 0, 1, tzinfo=UTC)
    monkeypatch.setattr(module, "clock", lambda: start)
    world.kubernetes.away = True
    with pytest.raises(NotNow):
        await world.plan()
    world.kubernetes.away = False
    monkeypatch.setattr(module, "clock", lambda: start + timedelta(seconds=seconds))
    await world.progress()
    said = "did not answer from 2030-01-01T12:00:01Z to 2030-01-01T12:00:35Z"
    assert (said in world.kubernetes.condition("Intent", "orders", "Ready")["message"]) is told
    assert world.ready("Intent", "orders") == ("True", "Placed")
    written = len(world.kubernetes.written)
    await world.progress()
    assert len(world.kubernetes.written) == written, "once is enough"
    assert ("PlanningInterrupted" in {event["reason"] for event in world.kubernetes.events("orders")}) is told


async def test_the_store_away_is_said_once_and_taken_back(world: World) -> None:
    await world.store.go_away()
    for _ in range(2):
        with pytest.raises(NotNow):
            await world.progress()
    assert metric("foremesh_dependency_up", dependency="etcd") == 0
    condition = world.kubernetes.condition("Intent", "orders", "Satisfied")
    assert (condition["status"], condition["reason"]) == ("Unknown", "StoreUnavailable")
    assert condition["observedGeneration"] == 1
    assert world.ready("Intent", "orders") == ("True", "Placed")
    written = len(world.kubernetes.written)
    with pytest.raises(NotNow):
        await world.progress()
    assert len(world.kubernetes.written) == written
    await world.store.come_back()
    await world.progress()
    assert world.kubernetes.condition("Intent", "orders", "Satisfied")["status"] == "True"
    assert metric("foremesh_dependency_up", dependency="etcd") == 1


async def test_telemetry_away_is_said_and_the_path_stays(world: World) -> None:
    configs = await world.registry.configs()
    world.pipeline.answer = AWAY
    await world.plan()
    assert metric("foremesh_dependency_up", dependency="prometheus") == 0
    assert world.kubernetes.condition("Intent", "orders", "Satisfied")["reason"] == "TelemetryUnavailable"
    assert world.ready("Intent", "orders") == ("True", "Placed")
    assert await world.registry.configs() == configs


async def test_a_store_that_lost_everything_is_filled_again_without_a_path_being_touched(world: World) -> None:
    before = await world.registry.configs()
    await world.store.wipe()
    await world.plan()
    after = await world.registry.configs()
    assert {id_: config.revision for id_, config in after.items()} == {id_: c.revision for id_, c in before.items()}
    assert min(config.epoch for config in after.values()) >= max(config.epoch for config in before.values())


async def test_a_new_operator_waits_for_agents_that_a_lost_store_does_not_know(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.store.wipe()
    world.restart()
    await world.agents("mesh/ams", "mesh/fra")
    with pytest.raises(NotNow, match="mesh/lon"):
        await world.plan()
    assert await world.registry.configs() == {}
    monkeypatch.setattr(module.time, "monotonic", lambda: 1e9)
    await world.plan()
    assert set(await world.registry.configs()) == {"mesh/ams", "mesh/fra"}
    assert world.ready("MeshResource", "lon", "mesh")[0] == "False"


# What is written, and what not


async def test_new_figures_alone_are_not_written_between_plans(world: World) -> None:
    written = len(world.kubernetes.written)
    world.rtt_ms = 90.0
    await world.probe()
    await world.progress()
    assert len(world.kubernetes.written) == written


@pytest.mark.parametrize(("rtt_ms", "shown_ms"), [(22.0, 22.0), (40.0, 42.0)], ids=["near", "far-off"])
async def test_a_plan_refreshes_figures_that_mislead(world: World, rtt_ms: float, shown_ms: float) -> None:
    world.rtt_ms = rtt_ms
    await world.probe()
    await world.plan()
    assert world.kubernetes.status("Intent", "orders")["observed"]["latencyMs"] == shown_ms


async def test_a_plan_that_changes_nothing_writes_nothing(world: World) -> None:
    written, number = len(world.kubernetes.written), world.store._number
    await world.plan()
    assert world.store._number == number
    world.restart()
    await world.plan()
    assert len(world.kubernetes.written) == written


async def test_decisions_are_told_as_events(world: World) -> None:
    told = [(event["type"], event["reason"]) for event in world.kubernetes.events("orders")]
    assert told == [("Warning", "NoAgent"), ("Normal", "PathChosen")]
    world.pipeline.answer = SLOW_LON
    await world.settle()
    told = world.kubernetes.events("orders")[-1]
    assert (told["type"], told["reason"]) == ("Normal", "PathChanged")
    assert told["note"].startswith("ams > par > fra; moved from ams > lon > fra")
    moved = world.kubernetes.events(world.circuit["metadata"]["name"])[-1]
    assert (moved["reason"], moved["note"]) == ("Moved", "from ams > lon > fra to ams > par > fra")
    assert world.circuit["status"]["moves"] == 1


async def test_an_event_that_is_refused_holds_nothing_up(world: World) -> None:
    world.kubernetes.refuse = lambda verb, manifest: "no" if manifest["kind"] == "Event" else ""
    world.pipeline.answer = SLOW_LON
    await world.settle()
    assert world.kubernetes.status("Intent", "orders")["path"] == "ams > par > fra"


async def test_a_move_shows_the_path_that_packets_take(world: World) -> None:
    world.pipeline.answer = SLOW_LON
    await world.plan()
    assert world.kubernetes.status("Intent", "orders")["path"] == "ams > lon > fra"
    planned = world.kubernetes.condition("Circuit", world.circuit["metadata"]["name"], "Planned", "mesh")
    assert planned["reason"] == "Moving"
    assert world.ready("Intent", "orders") == ("True", "Placed")


# First sight, objects that cannot be read, edits


@pytest.mark.parametrize(
    "new",
    [
        intent_body("new"),
        workload_body("new", "lon"),
        policy_body("new"),
        body("Circuit", "new", "mesh", **{"from": "mesh/ams", "to": "mesh/fra", "class": "mine"}),
    ],
    ids=lambda one: one["kind"],
)
async def test_at_first_sight_ready_is_unknown(world: World, new: dict[str, Any]) -> None:
    seen = world.kubernetes.put(new)
    await world.operator.noticed("ADDED", seen)
    condition = world.kubernetes.condition(new["kind"], "new", "Ready", new["metadata"].get("namespace", ""))
    assert (condition["status"], condition["reason"], condition["observedGeneration"]) == ("Unknown", "Pending", 1)


async def test_first_sight_overwrites_no_decision(world: World) -> None:
    """The event is older than what a plan wrote since."""
    stale = world.kubernetes.put(intent_body("new"))
    await world.plan()
    before = world.kubernetes.status("Intent", "new")
    await world.operator.noticed("ADDED", stale)
    assert world.kubernetes.status("Intent", "new") == before


async def test_an_object_that_cannot_be_read_says_so_and_keeps_its_record(world: World) -> None:
    broken = gateway_body("par", tomorrow="what no version of today knows")
    world.kubernetes.put(broken)
    number = world.kubernetes.status("MeshResource", "par", "mesh")["number"]
    await world.plan()
    assert world.ready("MeshResource", "par", "mesh") == ("False", "Invalid")
    assert "tomorrow" in world.kubernetes.condition("MeshResource", "par", "Ready", "mesh")["message"]
    assert world.kubernetes.status("MeshResource", "par", "mesh")["number"] == number
    written = len(world.kubernetes.written)
    await world.plan()
    assert ("apply status", "MeshResource", "par") not in world.kubernetes.written[written:]


async def test_a_status_that_cannot_be_read_is_made_again_from_what_runs(world: World) -> None:
    before = world.circuit["status"]
    name = world.circuit["metadata"]["name"]
    world.kubernetes.objects["Circuit", "mesh", name]["status"] = {**before, "labels": "none of your business"}
    configs = await world.registry.configs()
    await world.plan()
    assert world.circuit["status"]["labels"] == before["labels"]
    assert await world.registry.configs() == configs


async def test_fifty_edits_within_a_second_cause_two_plans_at_most() -> None:
    planning = PlanningSettings(interval=3600.0, quiet=0.2)  # type: ignore[arg-type]
    world = World(intent_body(), settings=Settings(planning=planning))
    plans = metric("foremesh_plans_total")
    async with running(world):
        await wait_until_async(lambda: metric("foremesh_plans_total") > plans, 5, what="first plan")
        async with asyncio.timeout(10):
            while (busy := metric("foremesh_plans_total")) == plans or world.operator.replanner._wanted:
                plans = busy
                await asyncio.sleep(0.3)
        plans = metric("foremesh_plans_total")
        for number in range(50):
            edited = world.kubernetes.put(intent_body(priority=number + 1))
            await world.operator.noticed("MODIFIED", edited)
            await asyncio.sleep(0.01)
        generation = edited["metadata"]["generation"]
        await wait_until_async(
            lambda: world.kubernetes.status("Intent", "orders").get("observedGeneration") == generation,
            5,
            what="newest edit seen",
        )
        assert metric("foremesh_plans_total") - plans <= 2


@pytest.mark.parametrize(
    ("change", "plans"),
    [
        (lambda one: one.update(status={"anything": 1}), False),
        (lambda one: one["metadata"].update(annotations={"a": "b"}), False),
        (lambda one: one["metadata"].update(generation=9), True),
        (lambda one: one["metadata"].update(labels={"a": "b"}), True),
    ],
    ids=["status", "annotation", "spec", "label"],
)
async def test_what_counts_as_an_edit(world: World, change: Callable[[dict], None], plans: bool) -> None:
    one = (await world.kubernetes.list("", "Intent"))[0]
    await world.operator.noticed(None, one)
    world.operator.replanner._wanted = None
    change(one)
    one["status"] = {"conditions": world.kubernetes.status("Intent", "orders")["conditions"]}
    await world.operator.noticed("MODIFIED", one)
    assert (world.operator.replanner._wanted is Work.PLAN) is plans


async def test_of_its_own_circuits_only_a_pin_and_a_deletion_make_it_plan(world: World) -> None:
    circuit = (await world.kubernetes.list("", "Circuit"))[0]
    wanted = []
    world.operator.replanner.request = lambda work, reason: wanted.append(reason)  # type: ignore[method-assign]
    await world.operator.noticed("ADDED", circuit)
    circuit["metadata"]["generation"] += 1
    circuit["spec"]["firewall"] = []
    await world.operator.noticed("MODIFIED", circuit)
    assert wanted == []
    circuit["spec"]["path"] = ["mesh/ams", "mesh/par", "mesh/fra"]
    await world.operator.noticed("MODIFIED", circuit)
    await world.operator.noticed("DELETED", circuit)
    assert len(wanted) == 2


async def test_what_is_gone_is_not_remembered(world: World) -> None:
    for one in world.kubernetes.of_kind("Intent"):
        await world.operator.noticed(None, one)
    world.kubernetes.drop("Intent", "orders")
    await world.plan()
    assert world.operator._seen == {}
    world.kubernetes.drop("MeshResource", "par", "mesh")
    await world.plan()
    assert "mesh/par" not in {*world.operator._heard, *world.operator._registrations}


async def test_an_object_deleted_while_its_status_is_written_holds_nothing_up(world: World) -> None:
    world.kubernetes.put(intent_body("other"))
    world.kubernetes.on_write = lambda verb, manifest: (
        world.kubernetes.objects.pop(("Intent", "shop", "other"), None) and None
    )
    await world.plan()
    assert metric("foremesh_dependency_up", dependency="kubernetes") == 1


# Circuits as objects


async def test_a_circuit_goes_when_its_labels_are_free(world: World) -> None:
    world.kubernetes.drop("Intent", "orders")
    await world.plan()
    circuit = world.circuit
    assert [label["state"] for label in circuit["status"]["labels"]] == ["Draining"]
    assert circuit["spec"].get("firewall", []) == []
    assert circuit["metadata"].get("ownerReferences", []) == []
    assert (
        world.kubernetes.condition("Circuit", circuit["metadata"]["name"], "Planned", "mesh")["reason"] == "NotWanted"
    )
    await world.settle()
    assert world.kubernetes.of_kind("Circuit") == []
    assert not any(config.circuits or config.transits for config in (await world.registry.configs()).values())


async def test_a_circuit_that_kubernetes_collected_is_made_again_and_drains(world: World) -> None:
    name = world.circuit["metadata"]["name"]
    world.kubernetes.drop("Intent", "orders")
    world.kubernetes.drop("Circuit", name, "mesh")
    await world.plan()
    assert [label["state"] for label in world.circuit["status"]["labels"]] == ["Draining"]
    await world.settle()
    assert world.kubernetes.of_kind("Circuit") == []


async def test_a_circuit_whose_namespace_is_gone_is_taken_down_without_a_record(world: World) -> None:
    for kind, namespace, name in list(world.kubernetes.objects):
        if kind != "Event":
            world.kubernetes.drop(kind, name, namespace)
    world.kubernetes.refuse = lambda verb, manifest: "namespace not found" if manifest["kind"] == "Circuit" else ""
    await world.settle()
    configs = await world.registry.configs()
    assert not any(config.circuits or config.hop_peers or config.uplinks for config in configs.values())
    await world.acknowledge()
    await world.plan()
    assert await world.registry.configs() == {}
    await world.plan()
    assert await world.registry.token_digests() == {}


@pytest.mark.parametrize(
    ("others", "owned"),
    [([], False), (["mesh"], False)],
    ids=["of-another-namespace", "of-both"],
)
async def test_intents_of_other_namespaces_own_no_circuit(world: World, others: list[str], owned: bool) -> None:
    for namespace in others:
        near = intent_body("near", **{"from": {"resource": "shop/web"}})
        near["metadata"] |= {"namespace": namespace, "uid": "near"}
        world.kubernetes.put(near)
    await world.plan()
    assert bool(world.circuit["metadata"].get("ownerReferences")) is owned


async def test_intents_of_the_circuits_namespace_own_it_and_owners_follow() -> None:
    def here(name: str) -> dict[str, Any]:
        one = intent_body(name, **{"from": {"resource": "shop/web"}})
        one["metadata"] |= {"namespace": "mesh", "uid": name}
        return one

    world = World(here("one"))
    await world.plan()
    await world.agents()
    await world.settle()
    assert [owner["uid"] for owner in world.circuit["metadata"]["ownerReferences"]] == ["one"]
    generation = world.circuit["metadata"]["generation"]
    world.kubernetes.put(here("two"))
    await world.plan()
    assert {owner["uid"] for owner in world.circuit["metadata"]["ownerReferences"]} == {"one", "two"}
    assert world.circuit["metadata"]["generation"] == generation, "only owners changed"


async def test_a_circuit_made_by_hand_is_left_alone_and_says_that_it_is_not_served(world: World) -> None:
    mine = body("Circuit", "mine", "mesh", **{"from": "mesh/ams", "to": "mesh/fra", "class": "mine"})
    world.kubernetes.put(mine)
    for _ in range(2):
        await world.settle()
    assert world.ready("Circuit", "mine", "mesh") == ("False", "NoIntent")
    assert world.kubernetes.objects["Circuit", "mesh", "mine"]["spec"] == mine["spec"]
    assert [c for _, kind, c in world.kubernetes.written if (kind, c) == ("Circuit", "mine")] == ["mine"]


async def test_a_pinned_path_is_followed_and_never_written(world: World) -> None:
    name = world.circuit["metadata"]["name"]
    pinned = {**world.circuit, "spec": {**world.circuit["spec"], "path": ["mesh/ams", "mesh/par", "mesh/fra"]}}
    world.kubernetes.put(pinned)
    world.kubernetes.on_write = lambda verb, manifest: (
        pytest.fail("spec.path written") if verb == "apply" and "path" in manifest.get("spec", {}) else None
    )
    await world.settle()
    assert world.kubernetes.status("Circuit", name, "mesh")["pathText"] == "ams > par > fra"


async def test_a_circuit_that_kubernetes_does_not_take_stalls_nobody_else(world: World) -> None:
    world.kubernetes.put(intent_body("batch", profile="Cost"))
    known = world.circuit["metadata"]["name"]
    world.kubernetes.refuse = lambda verb, manifest: (
        "too many rules" if manifest["kind"] == "Circuit" and manifest["metadata"]["name"] != known else ""
    )
    await world.settle()
    assert world.ready("Intent", "batch") == ("False", "CircuitRefused")
    assert "too many rules" in world.kubernetes.condition("Intent", "batch", "Ready")["message"]
    assert world.ready("Intent", "orders") == ("True", "Placed")
    told = {end.circuit for config in (await world.registry.configs()).values() for end in config.circuits}
    assert told == {f"mesh/{known}"}
    world.kubernetes.refuse = lambda verb, manifest: ""
    await world.settle()
    assert world.ready("Intent", "batch") == ("True", "Placed")


# Agents


async def test_a_gateway_falling_silent_is_said_with_the_time_it_was_last_heard(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "clock", lambda: datetime(2030, 1, 1, tzinfo=UTC))
    await world.progress()
    monkeypatch.setattr(module, "clock", lambda: datetime(2030, 1, 2, tzinfo=UTC))
    await world.store.delete("presence/mesh/lon")
    await world.plan()
    assert world.ready("MeshResource", "lon", "mesh") == ("False", "NotReachable")
    assert world.kubernetes.condition("MeshResource", "lon", "Reachable", "mesh")["reason"] == "NoBeacon"
    assert world.kubernetes.status("MeshResource", "lon", "mesh")["lastBeaconTime"] == "2030-01-01T00:00:00Z"


async def test_a_refused_config_is_said_of_the_gateway_and_of_the_circuit(world: World) -> None:
    world.pipeline.answer = SLOW_LON
    await world.plan()
    await world.acknowledge("mesh/par", error="block overlaps route eth7")
    await world.progress()
    assert world.ready("MeshResource", "par", "mesh") == ("False", "ConfigRefused")
    programmed = world.kubernetes.condition("Circuit", world.circuit["metadata"]["name"], "Programmed", "mesh")
    assert (programmed["status"], programmed["reason"]) == ("False", "ConfigRefused")
    assert "mesh/par (block overlaps route eth7)" in programmed["message"]
    assert "traffic stays on ams > lon > fra" in programmed["message"]


async def test_every_agent_gets_a_token_that_survives_the_operator(world: World) -> None:
    secrets = {body["metadata"]["name"]: body for body in world.kubernetes.of_kind("Secret")}
    assert set(secrets) == {f"{name}-foremesh-agent" for name in (*GATEWAYS, "web", "db")}
    owner = secrets["ams-foremesh-agent"]["metadata"]["ownerReferences"]
    assert [one["uid"] for one in owner] == ["MeshResource-ams"]
    digests = await world.registry.token_digests()
    world.restart()
    await world.plan()
    await world.store.wipe()
    await world.agents()
    await world.plan()
    assert await world.registry.token_digests() == digests
    assert not any("token" in record.key and b"." in record.value for record in (await world.store.list("tokens"))[0])


async def test_a_resource_that_is_made_again_gets_its_secret_again(world: World) -> None:
    world.kubernetes.drop("MeshResource", "par", "mesh")
    world.kubernetes.drop("Secret", "par-foremesh-agent", "mesh")
    again = gateway_body("par")
    again["metadata"]["uid"] = "another-life"
    world.kubernetes.put(again)
    await world.plan()
    secret = world.kubernetes.objects["Secret", "mesh", "par-foremesh-agent"]
    assert secret["metadata"]["ownerReferences"][0]["uid"] == "another-life"


async def test_a_secret_that_cannot_be_made_stalls_nobody_else() -> None:
    world = World(intent_body())
    world.kubernetes.refuse = lambda verb, manifest: (
        "namespace is being terminated" if manifest["metadata"]["name"] == "par-foremesh-agent" else ""
    )
    await world.plan()
    assert len(world.kubernetes.of_kind("Secret")) == len(MEMBERS) - 1


async def test_a_forged_secret_is_not_taken(world: World) -> None:
    """Whoever may write Secrets of one namespace must not speak for a resource of another."""
    forged = tokens.new("mesh", "fra")
    data = {"token": base64.b64encode(forged.encode()).decode()}
    world.kubernetes.objects["Secret", "mesh", "par-foremesh-agent"]["data"] = data
    await world.store.delete("tokens/mesh/par")
    await world.plan()
    assert (await world.registry.token_digests())["mesh/par"] != tokens.digest(forged)


# Network policies


PINNING = Settings(api=ApiSettings(address="203.0.113.200:8443", presence=3600.0))  # type: ignore[arg-type]


async def test_workloads_are_pinned_and_their_policies_go_with_them() -> None:
    world = World(settings=PINNING)
    await world.plan()
    await world.agents()
    await world.plan()
    policies = {one["metadata"]["name"]: one for one in world.kubernetes.of_kind("NetworkPolicy")}
    assert set(policies) == {"foremesh-web", "foremesh-db"}
    assert policies["foremesh-web"]["metadata"]["ownerReferences"][0]["uid"] == "MeshResource-web"
    world.kubernetes.drop("MeshResource", "web")
    await world.plan()
    assert [one["metadata"]["name"] for one in world.kubernetes.of_kind("NetworkPolicy")] == ["foremesh-db"]


async def test_policies_of_an_earlier_life_are_found_and_deleted_but_nobody_elses() -> None:
    world = World(settings=PINNING)
    await world.plan()
    await world.agents()
    await world.plan()
    theirs = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy"}
    world.kubernetes.put({**theirs, "metadata": {"name": "theirs", "namespace": "shop"}, "spec": {}})
    world.kubernetes.drop("MeshResource", "web")
    world.restart()
    await world.plan()
    assert [one["metadata"]["name"] for one in world.kubernetes.of_kind("NetworkPolicy")] == ["foremesh-db", "theirs"]


async def test_a_policy_that_somebody_deletes_is_made_again_by_the_next_plan() -> None:
    world = World(settings=PINNING)
    await world.plan()
    await world.agents()
    await world.plan()
    world.kubernetes.drop("NetworkPolicy", "foremesh-web")
    await world.plan()
    assert ("NetworkPolicy", "shop", "foremesh-web") in world.kubernetes.objects


async def test_a_calico_tier_goes_after_its_policies() -> None:
    world = World(settings=msgspec.structs.replace(PINNING, network_policies="Calico"))
    await world.plan()
    await world.agents()
    await world.plan()
    policies = world.kubernetes.of_kind("NetworkPolicy")
    assert {one["metadata"]["ownerReferences"][0]["uid"] for one in policies} == {"MeshResource-web", "MeshResource-db"}
    for one in policies:  # as Calico's API server does
        one["metadata"]["labels"]["projectcalico.org/tier"] = "foremesh"
    for name in ("web", "db"):
        world.kubernetes.drop("MeshResource", name)
    await world.plan()
    deleted = [kind for verb, kind, _ in world.kubernetes.written if verb == "delete"]
    assert deleted == ["NetworkPolicy", "NetworkPolicy", "Tier"]
