"""What the operator publishes: in which order, and what when something is away."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from controller.scene import (
    AWAY,
    FAST_DIRECT,
    GATEWAYS,
    SLOW_LON,
    intent_body,
)
from controller.world import World, metric
from foremesh.controller import operator as module
from foremesh.controller.replanner import NotNow

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
async def test_after_an_outage_of_kubernetes_intents_tell_of_it(world: World, seconds: int, told: bool) -> None:
    start = datetime(2030, 1, 1, 12, 0, 1, tzinfo=UTC)
    world.now = start
    world.kubernetes.away = True
    with pytest.raises(NotNow):
        await world.plan()
    world.kubernetes.away = False
    world.now = start + timedelta(seconds=seconds)
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


async def test_gateways_that_come_back_one_by_one_are_waited_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after the mesh API was away: the path by lon is not left because lon is a second late."""
    path = world.circuit["status"]["path"]
    for id_ in await world.registry.beacons():
        await world.store.delete(f"presence/{id_}")
    await world.plan()
    assert world.circuit["status"]["path"] == path
    await world.agents("mesh/ams", "mesh/fra", "mesh/par")
    with pytest.raises(NotNow, match="mesh/lon"):
        await world.plan()
    await world.agents("mesh/lon")
    await world.plan()
    assert world.circuit["status"]["path"] == path
    await world.store.delete("presence/mesh/lon")
    await world.plan()  # it alone, while others are heard: nobody waits


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
    world.pipeline.answer = FAST_DIRECT
    await world.plan()
    assert world.kubernetes.status("Intent", "orders")["path"] == "ams > lon > fra"
    planned = world.kubernetes.condition("Circuit", world.circuit["metadata"]["name"], "Planned", "mesh")
    assert planned["reason"] == "Moving"
    assert world.ready("Intent", "orders") == ("True", "Placed")
