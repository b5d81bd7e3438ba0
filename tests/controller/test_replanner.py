"""The replanner's promises: one plan for a burst, none lost, the interval kept. Waits are real but short."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from foremesh.controller.replanner import Replanner, Work
from lab.process import wait_until_async

LONG_S = 3600.0


class Recorder:
    """Counts what it is asked to do; fails as often as told."""

    def __init__(self, failures: int = 0) -> None:
        self.done: list[tuple[Work, tuple[str, ...]]] = []
        self.failures = failures

    async def __call__(self, work: Work, reasons: tuple[str, ...]) -> None:
        self.done.append((work, reasons))
        if self.failures:
            self.failures -= 1
            raise RuntimeError("the API server is away")

    def plans(self) -> int:
        return sum(work is Work.PLAN for work, _ in self.done)


@asynccontextmanager
async def running(recorder: Recorder, **settings: float) -> AsyncIterator[Replanner]:
    replanner = Replanner(recorder, **({"quiet_s": 0.1, "interval_s": LONG_S} | settings))  # type: ignore[arg-type]
    task = asyncio.create_task(replanner.run())
    try:
        await wait_until_async(lambda: recorder.plans() == 1, 5, what="the first plan, which needs no request")
        yield replanner
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_fifty_requests_in_a_burst_make_one_plan() -> None:
    recorder = Recorder()
    async with running(recorder) as replanner:
        for number in range(50):
            replanner.request(Work.PLAN, f"intent {number}")
            await asyncio.sleep(0)
        await wait_until_async(lambda: recorder.plans() == 2, 5, what="the plan after the burst")
        assert len(recorder.done[-1][1]) == 50


async def test_requests_without_a_pause_are_served_after_patience() -> None:
    recorder = Recorder()
    async with running(recorder, quiet_s=0.2, patience_s=0.6) as replanner:

        async def never_quiet() -> bool:
            replanner.request(Work.PLAN, "another")
            return recorder.plans() >= 2

        await wait_until_async(never_quiet, 5, what="a plan although requests keep coming")


async def test_progress_is_served_at_once_and_is_no_plan() -> None:
    recorder = Recorder()
    async with running(recorder, quiet_s=LONG_S) as replanner:
        replanner.request(Work.PROGRESS, "ack")
        await wait_until_async(lambda: len(recorder.done) == 2, 5, what="progress without waiting for quiet")
        assert recorder.done[-1] == (Work.PROGRESS, ("ack",))


async def test_a_plan_outranks_progress_asked_for_with_it() -> None:
    recorder = Recorder()
    async with running(recorder) as replanner:
        replanner.request(Work.PROGRESS, "ack")
        replanner.request(Work.PLAN, "intent")
        await wait_until_async(lambda: recorder.plans() == 2, 5, what="the plan")
        assert recorder.done[-1] == (Work.PLAN, ("ack", "intent"))


async def test_a_failed_attempt_is_repeated() -> None:
    recorder = Recorder(failures=2)
    async with running(recorder, retry_s=0.05):
        await wait_until_async(lambda: recorder.plans() == 3, 5, what="a third attempt")


async def test_a_failed_plan_is_owed_although_progress_fails_after_it() -> None:
    recorder = Recorder(failures=2)
    replanner = Replanner(recorder, quiet_s=0.05, interval_s=LONG_S, retry_s=0.3)
    task = asyncio.create_task(replanner.run())
    try:
        await wait_until_async(lambda: len(recorder.done) == 1, 5, what="the plan that fails")
        replanner.request(Work.PROGRESS, "heartbeat")
        await wait_until_async(lambda: recorder.plans() == 2, 5, what="the plan again")
        assert [work for work, _ in recorder.done] == [Work.PLAN, Work.PROGRESS, Work.PLAN]
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_the_interval_plans_without_a_request() -> None:
    recorder = Recorder()
    async with running(recorder, interval_s=0.2):
        await wait_until_async(lambda: recorder.plans() >= 3, 5, what="plans by the interval alone")


@pytest.mark.parametrize("quiet_s", [0.05, 0.3])
async def test_a_request_during_work_is_not_lost(quiet_s: float) -> None:
    started, go_on = asyncio.Event(), asyncio.Event()
    seen: list[tuple[str, ...]] = []

    async def slow(work: Work, reasons: tuple[str, ...]) -> None:
        seen.append(reasons)
        started.set()
        await go_on.wait()

    replanner = Replanner(slow, quiet_s=quiet_s, interval_s=LONG_S)
    task = asyncio.create_task(replanner.run())
    try:
        await asyncio.wait_for(started.wait(), 5)
        replanner.request(Work.PLAN, "meanwhile")
        go_on.set()
        await wait_until_async(lambda: ("meanwhile",) in seen, 5, what="the request made while work went on")
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
