"""What the operator makes of edits: at first sight, what counts, what it cannot read, what it forgets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from controller.scene import (
    body,
    gateway_body,
    intent_body,
    policy_body,
    workload_body,
)
from controller.world import World, metric, running
from foremesh.controller.replanner import Work
from foremesh.settings import PlanningSettings, Settings
from lab.process import wait_until_async

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
    for label, other in zip(world.circuit["status"]["labels"], before["labels"], strict=True):
        assert {**label, "epoch": 0} == {**other, "epoch": 0}, "configs show all of it but the epochs"
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
