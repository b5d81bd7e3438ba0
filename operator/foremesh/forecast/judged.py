"""Backtests already done: a past serves many forecasts, and one that was renewed is judged again only now and then.

Judged is what a past held at the last full four hours of the clock, over a span that does not grow with the renewal. So
the answer depends on the past alone and not on who asked before, and a past that moved on by a few samples brings the
same one, found by comparing samples; the gate then takes those few. A past on another grid is judged at each renewal.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

import numpy as np

from foremesh.forecast.choose import Judgement, judge
from foremesh.forecast.fit import DAY_S, Fit
from foremesh.model.series import Floats, SeriesBatch, SeriesKey

REJUDGE_S = 4 * 3600.0
"""Seconds between judgements: rhythms change no sooner, and levels and weights are corrected all along.
Against two hours, errors of simulated links' medians grow by 0.3 %; with six hours it would be over 1 %."""

LONG_S = 2 * DAY_S
"""Seconds from which a past can do without its newest four hours; of a shorter one everything is judged."""

MOST_KEPT = 1024
"""Judgements kept for pasts that moved on: half a million series, a metric and horizon after the other."""


@dataclass(frozen=True, eq=False)
class _Kept:
    keys: tuple[SeriesKey, ...]
    values: Floats
    fits: tuple[Fit | None, ...]
    judgement: Judgement
    later: Floats
    """Samples that came since."""
    now: Judgement
    """The judgement after them."""

    def answers(self, keys: tuple[SeriesKey, ...], values: Floats, fits: Sequence[Fit | None]) -> bool:
        return _same(self.fits, fits) and self.keys == keys and _equal(self.values, values)

    def moved(self, judged_: slice, values: Floats, times_s: Floats) -> _Kept:
        """The same after the samples that came since: only those that are new are looked at. What held the samples
        before is let go."""
        since = np.arange(judged_.stop, len(times_s))
        later = values[:, since]
        seen = self.later.shape[1]
        seen, judgement = (seen, self.now) if _equal(self.later, later[:, :seen]) else (0, self.judgement)
        if seen < len(since) and judgement.told.any():
            judgement = judgement.moved(values, times_s, since[seen:])
        return replace(self, values=values[:, judged_], later=later, now=judgement)


_OF_BATCH: WeakKeyDictionary[SeriesBatch, dict[float, tuple[tuple[Fit | None, ...], Judgement]]] = WeakKeyDictionary()
_OF_SAMPLES: OrderedDict[tuple[object, ...], _Kept] = OrderedDict()
_LOCK = threading.Lock()


def judged(past: SeriesBatch, horizon_s: float, fits: Sequence[Fit | None] = ()) -> Judgement:
    """How far the forecasters of a past's series are to be believed at a horizon.

    Args:
        past: Days of samples.
        horizon_s: Seconds ahead at which forecasters are compared.
        fits: Fitted models, one a series, or none at all.
    """
    with _LOCK:
        before = _OF_BATCH.setdefault(past, {}).get(horizon_s)
    if before is not None and _same(before[0], fits):
        return before[1]
    times_s = past.times_s
    span_s = past.step_s * len(times_s)
    start, end = 0, len(times_s)
    if span_s >= LONG_S:
        cut_s = past.end_s // REJUDGE_S * REJUDGE_S
        start, end = np.searchsorted(times_s, [cut_s - span_s + REJUDGE_S, cut_s], side="right").tolist()
    values = past.values[:, start:end]
    name = (past.metric, past.step_s, horizon_s, times_s[end - 1] if end else 0.0, len(past.keys), past.keys[:1])
    with _LOCK:
        kept = _OF_SAMPLES.get(name)
    if kept is None or not kept.answers(past.keys, values, fits):
        judgement = judge(values, times_s[start:end], past.step_s, horizon_s=horizon_s, fits=fits, metric=past.metric)
        kept = _Kept(past.keys, values, tuple(fits), judgement, values[:, :0], judgement)
    kept = kept.moved(slice(start, end), past.values, times_s)
    with _LOCK:
        _OF_BATCH.setdefault(past, {})[horizon_s] = kept.fits, kept.now
        if span_s >= LONG_S:
            _keep(name, kept)
    return kept.now


def _keep(name: tuple[object, ...], kept: _Kept) -> None:
    """What was judged up to another hour is of no use any more, and holds on to samples that nobody else needs."""
    for other in [other for other in _OF_SAMPLES if other[:3] == name[:3] and other[3] != name[3]]:
        del _OF_SAMPLES[other]
    _OF_SAMPLES[name] = kept
    _OF_SAMPLES.move_to_end(name)
    while len(_OF_SAMPLES) > MOST_KEPT:
        _OF_SAMPLES.popitem(last=False)


def forget() -> None:
    """Forget all judgements; they are found again as they were."""
    with _LOCK:
        _OF_BATCH.clear()
        _OF_SAMPLES.clear()


def _same(one: Sequence[Fit | None], other: Sequence[Fit | None]) -> bool:
    return len(one) == len(other) and all(mine is theirs for mine, theirs in zip(one, other, strict=True))


def _equal(one: Floats, other: Floats) -> bool:
    """Whether samples are the same; NaN equals itself."""
    bits = f"i{one.itemsize}"
    return one.shape == other.shape and one.dtype == other.dtype and np.array_equal(one.view(bits), other.view(bits))
