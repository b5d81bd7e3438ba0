"""Prophet for a whole batch at once, in a bounded number of processes of its own."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from typing import Any

from foremesh.forecast.fit import Fit
from foremesh.forecast.fitted import FittedModels, refit
from foremesh.model.series import SeriesBatch


class FitPool:
    """Fits batches and counts the processor time of it; a ``Fitter``. Has to be closed.

    Args:
        processes: At most so many at once.
    """

    def __init__(self, processes: int) -> None:
        spawn = multiprocessing.get_context("spawn")  # a fork of a program with threads may hang
        self._pool = ProcessPoolExecutor(processes, mp_context=spawn)

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
    began_s = time.process_time()
    return job(*args, **kwargs), time.process_time() - began_s
