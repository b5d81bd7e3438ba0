"""Fitted models as a value: made in other processes now and then, and used by every forecast in between."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from concurrent.futures import BrokenExecutor, Executor
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from typing import TypeAlias

import numpy as np

from foremesh.forecast.choose import LOOKBACK_S, proof_s, row_samples
from foremesh.forecast.fit import DAY_S, Fit, fit, thinned
from foremesh.model.series import Floats, Metric, SeriesBatch, SeriesKey

log = logging.getLogger(__name__)

REFIT_S = 6 * 3600.0
"""Seconds that a fit serves: a rhythm learnt from a week changes no sooner, and the level is corrected all along."""

LATE = 0.05
"""Share of the interval that a series may be late for its turn and have its next one in time nevertheless."""

TAUGHT_S = 2 * DAY_S
"""Seconds of samples before the proof that a fit needs: a daily rhythm has to be seen twice."""

Name: TypeAlias = tuple[Metric, SeriesKey]


@dataclass(frozen=True)
class Refused:
    """A series that could not be fitted."""

    cause: str
    at_s: float
    """Unix time of the newest sample seen."""
    failed: bool = False
    """Whether a fit was tried; the next is due after the interval. Short and flat series are looked at each time."""


@dataclass(frozen=True, eq=False)
class FittedModels:
    """All fits there are. Immutable; ``refit`` returns the next."""

    fits: Mapping[Name, Fit] = field(default_factory=dict)
    refused: Mapping[Name, Refused] = field(default_factory=dict)

    def find(self, metric: Metric, key: SeriesKey, *, from_s: float, until_s: float) -> Fit | str:
        """The fit that serves from one Unix time until another, or why there is none."""
        found = self.fits.get((metric, key))
        if found is not None and found.curve.start_s <= from_s and until_s <= found.curve.end_s:
            return found
        if found is not None:
            return "its fit is too old"
        refused = self.refused.get((metric, key))
        return refused.cause if refused else "not fitted yet"


async def refit(
    fitted: FittedModels, past: SeriesBatch, *, pool: Executor, horizon_s: float, interval_s: float = REFIT_S
) -> FittedModels:
    """Fit the series of one metric that have no fit, or one older than the interval whose turn has come.

    Turns are spread evenly over the interval by the series' names, so that refits do not come all at once: the second
    fit comes up to two intervals after the first, and later ones an interval after each other.

    Args:
        fitted: The fits so far; not changed.
        past: The series, days of them; its ``end_s`` is the clock.
        pool: Where fits run: in processes of their own (started by spawn: a fork of a program with threads may hang),
            or on other machines. A fit takes about 0.2 s on an idle core.
        horizon_s: Seconds ahead that forecasts will ask for.
        interval_s: Seconds that a fit serves. Curves reach three times as far, so that no turn leaves a gap.

    Returns:
        The fits so far with the new ones, without those that are past use.

    Raises:
        BrokenExecutor: If the pool's processes died; it is of no use any more. Nothing is lost but this refit.
    """
    fits = {name: old for name, old in fitted.fits.items() if old.curve.end_s > past.end_s}
    refused = {name: old for name, old in fitted.refused.items() if name[0] is not past.metric}
    due: dict[Name, partial[Fit]] = {}
    for key, row in zip(past.keys, past.values, strict=True):
        name = (past.metric, key)
        if name in fits and past.end_s < _turn_s(name, fits[name].fitted_at_s, interval_s):
            continue
        values, step_s = thinned(row, past.step_s)
        values = values[np.argmax(np.isfinite(values)) :]
        proof = proof_s(len(values) * step_s, step_s, horizon_s)
        if cause := _unfit(values, step_s, proof):
            refused[name] = Refused(cause, past.end_s)
            fits.pop(name, None)
        elif (before := fitted.refused.get(name)) and before.failed and past.end_s - before.at_s < interval_s:
            refused[name] = before
        else:
            ahead_s = 3 * interval_s + horizon_s
            lookback_s = LOOKBACK_S + row_samples(past.step_s) * past.step_s
            due[name] = partial(fit, values, step_s, past.end_s, proof_s=proof, lookback_s=lookback_s, ahead_s=ahead_s)
    loop = asyncio.get_running_loop()
    results = await asyncio.gather(*(loop.run_in_executor(pool, job) for job in due.values()), return_exceptions=True)
    for name, result in zip(due, results, strict=True):
        if isinstance(result, Fit):
            fits[name] = result
        elif isinstance(result, BrokenExecutor) or not isinstance(result, Exception):
            raise result
        else:
            log.warning("fit failed metric=%s series=%s cause=%r", past.metric, name[1], result)
            refused[name] = Refused(f"fit failed: {result}", past.end_s, failed=True)
    return FittedModels(fits, refused)


def _turn_s(name: Name, fitted_at_s: float, interval_s: float) -> float:
    """Unix time of the next fit: a series' first turn at least an interval after the one before, but for ``LATE``."""
    # A checksum would not do: those of similar names lie close together.
    phase_s = int.from_bytes(blake2b(repr(name).encode(), digest_size=4).digest()) / 2**32 * interval_s
    turn_s = (fitted_at_s - phase_s) // interval_s * interval_s + phase_s + interval_s
    return turn_s if turn_s - fitted_at_s >= (1 - LATE) * interval_s else turn_s + interval_s


def _unfit(values: Floats, step_s: float, proof: float) -> str:
    known = values[np.isfinite(values)]
    needed = round((TAUGHT_S + proof) / step_s)
    if len(known) < needed:
        return f"series too short ({len(known)} of {needed} samples)"
    # Most of a week's samples equal: nothing to learn from the few others.
    return "series is flat" if np.ptp(np.quantile(known, [0.05, 0.95])) == 0 else ""
