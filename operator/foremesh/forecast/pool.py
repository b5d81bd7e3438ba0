"""Prophet for a whole batch at once, in a bounded number of processes of its own."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import resource
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from typing import Any

from foremesh.forecast.fit import Fit
from foremesh.forecast.fitted import FittedModels, refit
from foremesh.model.series import SeriesBatch


def fitting_processes(processes: int, *, niceness: int = 0) -> ProcessPoolExecutor:
    """At most so many processes that fit, started when there is something to fit."""
    spawn = multiprocessing.get_context("spawn")  # a fork of a program with threads may hang
    return ProcessPoolExecutor(processes, mp_context=spawn, initializer=os.nice, initargs=(niceness,))


class FitPool:
    """Fits batches and counts the processor time of it; a ``Fitter``. Has to be closed.

    Args:
        processes: At most so many at once.
    """

    def __init__(self, processes: int) -> None:
        self._pool = fitting_processes(processes)

    def __call__(self, past: SeriesBatch, horizon_s: float, serve_s: float) -> tuple[Sequence[Fit | None], float]:
        timed = _Timed(self._pool)
        found = asyncio.run(refit(FittedModels(), past, pool=timed, horizon_s=horizon_s, interval_s=serve_s))
        return [found.fits.get((past.metric, key)) for key in past.keys], timed.seconds

    def close(self) -> None:
        """End the processes; what they are at is dropped."""
        self._pool.shutdown(wait=True, cancel_futures=True)


class _Timed(Executor):
    """Hands jobs on, and adds up what they took where they ran."""

    def __init__(self, inner: Executor) -> None:
        self._inner = inner
        self.seconds = 0.0

    def submit(self, job: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        ours: Future[Any] = Future()
        ours.set_running_or_notify_cancel()

        def done(theirs: Future[tuple[Any, float]]) -> None:
            try:
                result, took_s = theirs.result()
            except BaseException as error:  # whatever it is belongs to whoever waits
                ours.set_exception(error)
            else:
                self.seconds += took_s
                ours.set_result(result)

        self._inner.submit(_timed, job, args, kwargs).add_done_callback(done)
        return ours


def _timed(job: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, float]:
    began_s = _spent_s()
    return job(*args, **kwargs), _spent_s() - began_s


def _spent_s() -> float:
    """Processor time of this process and of those it waited for: Prophet's optimiser is a program of its own."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)
