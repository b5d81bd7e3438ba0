"""The one way into this room: series in, quantiles over the horizon out. A pure function of its inputs.

All series are worked out at once; nothing here, nor in what it calls, goes through them one by one but to look up
names and, if somebody reads them, to write reasons.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from foremesh.forecast.alarm import alarm
from foremesh.forecast.choose import Judgement, row_samples
from foremesh.forecast.fit import Fit
from foremesh.forecast.fitted import FittedModels
from foremesh.forecast.forecasters import Forecaster, LastValue, RollingMedian, View
from foremesh.forecast.judged import judged
from foremesh.forecast.levels import quantile
from foremesh.forecast.parts import Part, parts, worked
from foremesh.forecast.reasons import Reasons
from foremesh.model.forecast import QUANTILES, UNKNOWN, Forecast
from foremesh.model.series import Floats, Metric, SeriesBatch, SeriesKey
from foremesh.model.units import Bandwidth

LONGEST_AGE_S = 120.0
"""Seconds that a newest sample may be old; a minute of rate and a few lost scrapes. Older ones say nothing of now."""

LONGEST_AGE_STEPS = 4
"""The same in steps, for series that are sampled less often."""

DEAD_LOSS = 1.0
"""Share of probes lost in the newest sample from which a link is dead now, whatever the hour before says."""

CLEAN_S = 300.0
"""Seconds without a single lost probe after which nothing is lost any more, whatever the hour before says: with a probe
a second, a link that loses one in a hundred would have shown with 95 %."""


class HorizonError(ValueError):
    """A horizon that is no positive multiple of the step; carries ``horizon_s`` and ``step_s``."""

    def __init__(self, horizon_s: float, step_s: float) -> None:
        self.horizon_s = horizon_s
        self.step_s = step_s
        super().__init__(
            f"horizon of {horizon_s:g} s is no positive multiple of the step of {step_s:g} s; nothing is forecast"
        )


def quantile_forecast(
    batch: SeriesBatch,
    *,
    horizon_s: float,
    step_s: float | None = None,
    past: SeriesBatch | None = None,
    fitted: FittedModels | None = None,
    max_age_s: float | None = None,
) -> Forecast:
    """Forecast every series of a batch.

    Each series gets the mixture of forecasters that its own past favours (see ``choose`` and ``gate``), started at its
    newest samples and named by the one believed most: a jump
    is followed within three of them, and a link that lost every probe is dead from the next forecast on. What was
    never usual raises the highest quantile at once and for a while, and is over for the others as soon as a minute is
    usual again (see ``alarm``). Without
    enough past, or where it is flat, the newest sample (of loss the hour's median) is held, and the hour's range is the
    spread. A series whose newest sample is too old is unknown.

    Args:
        batch: The series up to now; its last hour, or what it has of it, says where they stand.
        horizon_s: Seconds ahead; a positive multiple of the step. Forecasters are compared at this distance.
        step_s: Seconds between predicted values; the batch's step if None.
        past: The same series over days, if the batch does not reach so far; its step may be coarser. Steps ahead are
            then as uncertain as the next of its steps.
        fitted: Models from ``refit``; without them only forecasters that need no process of their own take part.
        max_age_s: Seconds that a newest sample may be old.

    Returns:
        Quantiles 0.1, 0.5 and 0.9 in the metric's unit: ordered, not negative, not over 1 for shares. Reasons are
        written when they are read.

    Raises:
        HorizonError: If the horizon is not a positive multiple of the step.
    """
    step_s = batch.step_s if step_s is None else step_s
    steps = round(horizon_s / step_s) if step_s > 0 and np.isfinite(horizon_s) else 0
    if steps < 1 or abs(steps * step_s - horizon_s) > 1e-6 * step_s:
        raise HorizonError(horizon_s, step_s)
    if max_age_s is None:
        max_age_s = max(LONGEST_AGE_S, LONGEST_AGE_STEPS * batch.step_s)

    def part(one: Part) -> Forecast:
        return _forecast(one.batch, one.past, fitted, horizon_s, step_s * np.arange(1.0, steps + 1), max_age_s)

    some = parts(batch, past)
    found = worked(part, some)
    return found[0] if len(found) == 1 else _joined(batch, some, found)


def _joined(batch: SeriesBatch, some: Sequence[Part], found: Sequence[Forecast]) -> Forecast:
    series = len(batch.keys)
    values = np.empty((len(QUANTILES), series, found[0].values.shape[2]))
    models = np.empty(series, dtype=object)
    part, place = np.empty((2, series), dtype=np.int64)
    for index, (one, forecast) in enumerate(zip(some, found, strict=True)):
        values[:, one.rows] = forecast.values
        models[one.rows] = forecast.models
        part[one.rows] = index
        place[one.rows] = np.arange(len(forecast.keys))

    def reason(row: int) -> str:
        said: str = found[part[row]].reasons[int(place[row])]
        return said

    first = found[0]
    return Forecast(
        batch.metric, batch.keys, first.step_s, first.start_s, values, tuple(models.tolist()), Reasons(series, reason)
    )


def _forecast(
    batch: SeriesBatch,
    past: SeriesBatch | None,
    fitted: FittedModels | None,
    horizon_s: float,
    ahead_s: Floats,
    max_age_s: float,
) -> Forecast:
    newest, ages_s = batch.newest()
    work = _Work.of(batch, newest, ages_s <= max_age_s, ahead_s)
    found = _fits(fitted, batch, horizon_s)
    for held in (past, batch):
        if held is not None and work.pending.any():
            work.take(held, horizon_s, found)
    work.hold(_held(batch.metric))
    if batch.metric is Metric.LOSS:
        work.middle[newest >= DEAD_LOSS] = 1.0
        work.middle[_lossless(batch)] = 0.0
    alarmed = alarm(batch, past, horizon_s)
    if alarmed is not None:
        over = alarmed.over(work.middle[:, 0])
        work.middle[over] = alarmed.newest[over, None]
    low, high = work.middle + np.minimum(work.low, 0), work.middle + np.maximum(work.high, 0)
    if alarmed is not None:
        high = np.maximum(high, alarmed.worst[:, None])
    values = np.clip([low, work.middle, high], 0.0, batch.metric.ceiling)
    values[:, ~work.alive] = np.nan
    return Forecast(
        metric=batch.metric,
        keys=batch.keys,
        step_s=float(ahead_s[0]),
        start_s=batch.end_s,
        values=values,
        models=tuple(work.models.tolist()),
        reasons=_reasons(work, found, batch.metric, max_age_s),
        errors=work.errors,
    )


def _lossless(batch: SeriesBatch) -> NDArray[np.bool_]:
    """Series that lost nothing for ``CLEAN_S``, all of it known."""
    samples = max(1, round(CLEAN_S / batch.step_s))
    if batch.values.shape[1] < samples:
        return np.zeros(len(batch.keys), dtype=np.bool_)
    clean: NDArray[np.bool_] = np.all(batch.values[:, -samples:] == 0.0, axis=1)
    return clean


@dataclass(eq=False)
class _Work:
    """A forecast in the making: what is known, and what is predicted so far."""

    keys: tuple[SeriesKey, ...]
    rows: Floats
    times_s: Floats
    step_s: float
    newest: Floats
    alive: NDArray[np.bool_]
    ahead_s: Floats
    pending: NDArray[np.bool_]
    """Series that no past had anything to say about yet."""
    middle: Floats
    low: Floats
    high: Floats
    models: NDArray[np.object_]
    errors: Floats
    """Per series, how far the mixture was off at the horizon; NaN where no backtest says it."""
    source: NDArray[np.int64]
    """Per series, which of the judgements was looked at last; -1 for none."""
    judgements: list[tuple[Judgement, NDArray[np.int64]]] = field(default_factory=list)
    """Each with the row of every series in it."""

    @classmethod
    def of(cls, batch: SeriesBatch, newest: Floats, alive: NDArray[np.bool_], ahead_s: Floats) -> _Work:
        width = row_samples(batch.step_s)
        shape = len(batch.keys), len(ahead_s)
        return cls(
            keys=batch.keys,
            rows=batch.values[:, None, -width:].astype(np.float64, copy=False),
            times_s=batch.times_s[None, -width:],
            step_s=batch.step_s,
            newest=newest,
            alive=alive,
            ahead_s=ahead_s,
            pending=alive.copy(),
            middle=np.full(shape, np.nan),
            low=np.zeros(shape),
            high=np.zeros(shape),
            models=np.where(alive, _held(batch.metric).name, UNKNOWN).astype(object),
            errors=np.full(len(batch.keys), np.nan),
            source=np.full(len(batch.keys), -1),
        )

    def take(self, held: SeriesBatch, horizon_s: float, found: Sequence[Fit | str]) -> None:
        """Predict the pending series that this past says anything of."""
        row = _rows(self.keys, held.keys)
        asked = np.flatnonzero(self.pending & (row >= 0))
        if not len(asked):
            return
        fits: list[Fit | None] = []
        if Fit in map(type, found):
            fits = [None] * len(held.keys)
            for place, fit in zip(row.tolist(), found, strict=True):
                if place >= 0 and isinstance(fit, Fit):
                    fits[place] = fit
        judgement = judged(held, horizon_s, fits)
        self.source[asked] = len(self.judgements)
        self.judgements.append((judgement, row))
        self.pending[asked[judgement.flat[row[asked]]]] = False
        chosen = judgement.chosen[row[asked]]
        told = asked[chosen >= 0]
        chosen = chosen[chosen >= 0]
        self.pending[told] = False
        view = self._view(held, row)
        mixed = judgement.mixed(view, self.ahead_s)
        self.middle[told] = mixed.middle[row[told], 0]
        self.low[told], self.high[told] = mixed.spread[:, row[told], 0]
        self.errors[told] = judgement.gate.error[-1, row[told], -1]
        self.models[told] = np.array([model.name for model in judgement.models], dtype=object)[chosen]

    def hold(self, model: Forecaster) -> None:
        """The simplest model for the alive that nothing else is known of, as wide as the hour's range."""
        rest = np.flatnonzero(self.alive & np.isnan(self.middle).all(axis=1))
        if not len(rest):
            return
        self.middle[rest] = model.predict(View(self.rows[rest], self.times_s), self.ahead_s)[:, 0]
        seen = self.rows[rest, 0] - self.middle[rest, :1]
        self.low[rest], self.high[rest] = (quantile(seen, share)[:, None] for share in (QUANTILES[0], QUANTILES[-1]))

    def _view(self, held: SeriesBatch, row: NDArray[np.int64]) -> View:
        rows = self.rows
        if len(held.keys) != len(row) or not np.array_equal(row, np.arange(len(row))):
            rows = np.full((len(held.keys), 1, rows.shape[2]), np.nan)
            rows[row[row >= 0]] = self.rows[row >= 0]
        return View(rows, self.times_s, held.step_s if held.step_s > 1.5 * self.step_s else 0.0)


def _held(metric: Metric) -> Forecaster:
    """What stands in where no past says anything: of loss a single probe is no sign, but for a link that is dead."""
    return RollingMedian() if metric is Metric.LOSS else LastValue()


def _rows(keys: tuple[SeriesKey, ...], held: tuple[SeriesKey, ...]) -> NDArray[np.int64]:
    """Where each key is among others; -1 for one that is not."""
    if keys == held:
        return np.arange(len(keys))
    place = {key: row for row, key in enumerate(held)}
    return np.array([place.get(key, -1) for key in keys], dtype=np.int64)


def _fits(fitted: FittedModels | None, batch: SeriesBatch, horizon_s: float) -> Sequence[Fit | str]:
    if fitted is None:
        return ("",) * len(batch.keys)
    from_s = batch.end_s - row_samples(batch.step_s) * batch.step_s
    until_s = batch.end_s + horizon_s
    return [fitted.find(batch.metric, key, from_s=from_s, until_s=until_s) for key in batch.keys]


def _reasons(work: _Work, found: Sequence[Fit | str], metric: Metric, max_age_s: float) -> Reasons:
    alive, source, judgements, show = work.alive, work.source, work.judgements, _writer(metric)

    def reason(series: int) -> str:
        if not alive[series]:
            return f"{UNKNOWN}: no sample in the last {max_age_s:g} s"
        judgement, row = judgements[source[series]]
        why = judgement.why(int(row[series]), show)
        fit = found[series]
        aside = f"; prophet: {fit}" if fit and isinstance(fit, str) else ""
        return (why if judgement.chosen[row[series]] >= 0 else f"{_held(metric).name}: {why}") + aside

    return Reasons(len(alive), reason)


def _writer(metric: Metric) -> Callable[[float], str]:
    match metric:
        case Metric.RTT:
            return "{:.3g} ms".format
        case Metric.THROUGHPUT | Metric.DEMAND:
            return lambda bps: f"{Bandwidth(float(f'{bps:.3g}'))}bit/s"
        case _:
            return lambda share: f"{100 * share:.3g} %"
