"""Many policies in many worlds, beside each other in processes of their own."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from foremesh.files import Bundle
from foremesh.model.addresses import Blocks
from foremesh.model.link import LinkId
from foremesh.simulation import scene as scenes
from foremesh.simulation import world as worlds
from foremesh.simulation.policies import POLICIES
from foremesh.simulation.replay import replay
from foremesh.simulation.run import EVERY_MINUTES, Run, run
from foremesh.simulation.scene import Scene
from foremesh.simulation.score import OURS, Score, score, side_by_side
from foremesh.simulation.topology import Topology
from foremesh.simulation.world import World
from foremesh.telemetry import Samples

LOOK_S = 0.2
"""Seconds between looks at how far the processes are."""


@dataclass(frozen=True, eq=False)
class Contest:
    """What to simulate; all that a process needs to know."""

    topology: Topology
    kind: str = "diurnal"
    days: float = 1.0
    """After the warm-up."""
    intents: int = scenes.INTENTS
    """Of a mesh that declares none."""
    policies: tuple[str, ...] = tuple(POLICIES)
    every: int = EVERY_MINUTES
    bundle: Bundle | None = None
    """Manifests; without them, Intents are made up."""
    trace: Mapping[LinkId, Samples] | None = None
    """A recording to replay instead of a world made from the seed."""

    def prepare(self, seed: int) -> tuple[Scene, World]:
        """The same scene and world for every policy."""
        if self.bundle is not None:
            scene = scenes.declared(self.bundle, self.topology, blocks=Blocks())
        else:
            scene = scenes.synthetic(self.topology, seed=seed, intents=self.intents)
        if self.trace is not None:
            return scene, replay(self.trace, days=self.days)
        return scene, worlds.build(self.topology, kind=self.kind, days=self.days, seed=seed)


def compete(
    contest: Contest, seeds: Iterable[int], *, jobs: int | None = None, progress: Callable[[float], None] | None = None
) -> dict[int, dict[str, Score]]:
    """Every policy's score in every world, by seed.

    Args:
        jobs: Processes; as many as there are processors if None.
        progress: Called with the share done.
    """
    found = _all(contest, seeds, _scored, jobs, progress or (lambda _: None))
    return {seed: side_by_side(scores) for seed, scores in found.items()}


def runs(
    contest: Contest, seed: int, *, jobs: int | None = None, progress: Callable[[float], None] | None = None
) -> dict[str, Run]:
    """Every policy's whole run in one world, by name."""
    return _all(contest, [seed], _whole, jobs, progress or (lambda _: None))[seed]


def _all(
    contest: Contest,
    seeds: Iterable[int],
    job: Callable[[int, str], Any],
    jobs: int | None,
    progress: Callable[[float], None],
) -> dict[int, dict[str, Any]]:
    # Seed by seed, as a process keeps the world that it made last. Who forecasts takes longest, and starts first, so
    # that nobody ends up waiting for it.
    seeds, ordered = list(seeds), sorted(contest.policies, key=lambda name: name != OURS)
    tasks = [(seed, name) for seed in seeds for name in ordered]
    done_tasks = multiprocessing.Value("d", 0.0)
    workers = min(jobs or os.cpu_count() or 1, len(tasks))
    with _pool(workers, _start, (contest, done_tasks)) as pool:
        with _deaf():
            waiting = {task: pool.submit(job, *task) for task in tasks}
        open_ = set(waiting.values())
        while open_:
            done, open_ = wait(open_, timeout=LOOK_S, return_when=FIRST_COMPLETED)
            for each in done:
                each.result()
            progress(min(1.0, done_tasks.value / len(tasks)))
    return {seed: {name: waiting[seed, name].result() for name in contest.policies} for seed in seeds}


@contextmanager
def _pool(workers: int, start: Callable[..., None], arguments: tuple[Any, ...]) -> Iterator[ProcessPoolExecutor]:
    """Processes that end when they are done, and at once when anything goes wrong here: an executor by itself waits for
    what has begun, which may take minutes."""
    others = {*multiprocessing.active_children()}
    pool = ProcessPoolExecutor(workers, initializer=start, initargs=arguments)
    try:
        yield pool
    except BaseException:
        for process in {*multiprocessing.active_children()} - others:
            process.kill()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _deaf() -> Iterator[None]:
    """Ctrl-C reaches every process of a terminal. The first one alone is to answer and ends the others: those that are
    started in here, and inherit what is blocked, never hear of it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_contest: Contest
_done_tasks: Any
"""How many tasks are done in all processes together, as a fraction."""


def _start(contest: Contest, done_tasks: Any) -> None:
    global _contest, _done_tasks
    threading.Thread(target=_end_with_parent, daemon=True).start()
    gc.freeze()  # what was loaded stays: no need to search it for garbage again and again
    _contest, _done_tasks = contest, done_tasks


def _end_with_parent() -> None:
    """Whoever is killed cannot end what it started."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@lru_cache(maxsize=1)
def _prepared(seed: int) -> tuple[Scene, World]:
    return _contest.prepare(seed)


def _whole(seed: int, name: str, *, explain: bool = True) -> Run:
    scene, world = _prepared(seed)
    minutes = world.minutes - world.warmup_minutes

    def went_by(some: int) -> None:
        with _done_tasks.get_lock():
            _done_tasks.value += some / minutes

    return run(scene, world, POLICIES[name], every=_contest.every, explain=explain, progress=went_by)


def _scored(seed: int, name: str) -> Score:
    return score(_whole(seed, name, explain=False))
