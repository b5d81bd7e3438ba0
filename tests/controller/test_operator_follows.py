"""What agents do is followed at once: no heartbeat is waited for."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import msgspec
import pytest

from controller.scene import DIRECT, FAST_DIRECT
from controller.world import World, metric, running
from foremesh.controller import operator as module
from foremesh.decide import Forecasts
from foremesh.model.circuit import LabelState
from foremesh.network.programmed import DRAIN_S
from lab.process import patience, wait_until_async

DEADLINE_S = 10.0
ENDS = ("mesh/ams", "mesh/fra")


@pytest.fixture(autouse=True)
def _no_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HEARTBEAT_S", 1000 * DEADLINE_S)


async def until(world: World, states: dict[tuple[str, ...], str], *, obeying: bool = False) -> None:
    """Wait until the one circuit's labels are in these states, by path."""
    async with asyncio.timeout(DEADLINE_S * patience()):
        while True:
            labels = world.circuit["status"].get("labels", ())
            if {tuple(label["path"]): label["state"] for label in labels} == states:
                return
            if obeying:
                await world.acknowledge()
            await asyncio.sleep(0.01)


async def test_a_move_takes_no_longer_than_its_acknowledgements(world: World) -> None:
    before = {tuple(label["path"]): label["state"] for label in world.circuit["status"]["labels"]}
    active, standby = (next(path for path, is_ in before.items() if is_ == state) for state in ("Active", "Standby"))
    moved = {DIRECT: LabelState.ACTIVE, standby: LabelState.STANDBY}
    world.pipeline.answer = FAST_DIRECT
    async with running(world):
        await until(world, {**moved, active: LabelState.DRAINING}, obeying=True)
    world.ahead += timedelta(seconds=2 * DRAIN_S)
    await world.acknowledge()
    await world.progress()
    assert {tuple(label["path"]): label["state"] for label in world.circuit["status"]["labels"]} == moved


def made_again() -> float:
    return metric("foremesh_plans_made_total", made="again", why="")


async def test_a_fail_over_is_on_record_and_planned_for_at_once(world: World) -> None:
    active, standby = (
        next(label for label in world.circuit["status"]["labels"] if label["state"] == state)
        for state in (LabelState.ACTIVE, LabelState.STANDBY)
    )
    id_ = f"mesh/{world.circuit['metadata']['name']}"
    plans: list[tuple[str, ...]] = []
    busy = False
    plan = world.operator._plan

    async def counted(reasons: tuple[str, ...], *, urgent: bool) -> None:
        nonlocal busy
        busy = True
        try:
            await plan(reasons, urgent=urgent)
            plans.append(reasons)
        finally:
            busy = False

    async def away(*_: object, **__: object) -> Forecasts:
        raise AssertionError("what was just lost is in no forecast")

    world.operator._plan = counted  # type: ignore[method-assign]
    async with running(world):
        replanner = world.operator.replanner
        at_rest = lambda: plans and not busy and replanner._wanted is None  # noqa: E731
        await wait_until_async(at_rest, DEADLINE_S, what="plans of the start")
        plans.clear()
        world.pipeline.forecast = away  # type: ignore[method-assign]
        before = made_again()
        for end in ENDS:
            beacon = (await world.registry.beacons())[end]
            said = msgspec.structs.replace(beacon, sending={id_: standby["number"]}, heard=(standby["number"],))
            await world.registry.beacon(end, said)
        third = {tuple(standby["path"]): LabelState.ACTIVE, tuple(active["path"]): LabelState.STANDBY}
        await until(world, {**third, DIRECT: LabelState.STAGING})
        await wait_until_async(lambda: plans, DEADLINE_S, what="the plan made again")
    assert made_again() == before + 1
    assert world.circuit["status"]["failovers"] == 1
    assert plans == [(f"failed over: {id_}",)]


async def test_beacons_that_say_nothing_new_of_labels_cause_no_work(world: World) -> None:
    told: list[str] = []
    follow = asyncio.create_task(world.pipeline.follow(told.append, told.append))
    try:
        await wait_until_async(lambda: len(told) == 3, DEADLINE_S, what="folders listed")
        for load in (0.1, 0.2, 0.3):
            beacon = msgspec.structs.replace((await world.registry.beacons())["mesh/ams"], load=load)
            await world.registry.beacon("mesh/ams", beacon)
        await world.registry.beacon("mesh/ams", msgspec.structs.replace(beacon, heard=()))
        await wait_until_async(lambda: len(told) > 3, DEADLINE_S, what="the last one is noticed")
        assert told[3:] == ["presence/mesh/ams changed"]
    finally:
        follow.cancel()
        await asyncio.gather(follow, return_exceptions=True)
