"""Backtests already done: a past serves many forecasts, and one that was renewed is judged again only now and then.

Judged is what a past held at the last full four hours of the clock, over a span that does not grow with the renewal. So
the answer depends on the past alone and not on who asked before, and a past that moved on by a few samples brings the
same one, found by comparing samples. One whose samples lie on another grid is judged at each renewal.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np

from foremesh.forecast.choose import Judgement, judge
from foremesh.forecast.fit import DAY_S, Fit
from foremesh.model.series import Floats, SeriesBatch, SeriesKey

REJUDGE_S = 4 * 3600.0
"""Seconds between judgements: a few new errors among hundreds change no choice, and levels are corrected all along.
Against two hours, errors of simulated links' medians grow by 0.3 %; with six hours it would be over 1 %."""

LONG_S = 2 * DAY_S
"""Seconds from which a past can do without its newest four hours; of a shorter one everything is judged."""

MOST_KEPT = 32
"""Judgements kept for pasts that moved on: four metrics, a few horizons, a few worlds."""


@dataclass(frozen=True, eq=False)
class _Kept:
    keys: tuple[SeriesKey, ...]
    values: Floats
    fits: tuple[Fit | None, ...]
    judgement: Judgement

    def answers(self, keys: tuple[SeriesKey, ...], values: Floats, fits: Sequence[Fit | None]) -> bool:
        return (
            _same(self.fits, fits)
            and self.values.shape == values.shape
            and self.keys == keys
            and np.array_equal(self.values.view(np.int64), values.view(np.int64))  # NaN equals itself
        )


_OF_BATCH: WeakKeyDictionary[SeriesBatch, dict[float, tuple[tuple[Fit | None, ...], Judgement]]] = WeakKeyDictionary()
_OF_SAMPLES: OrderedDict[tuple[object, ...], _Kept] = OrderedDict()
_LOCK = threading.Lock()


def judged(past: SeriesBatch, horizon_s: float, fits: Sequence[Fit | None] = ()) -> Judgement:
    """The favourites of a past's series at a horizon.

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
    values = past.values
    span_s = past.step_s * len(times_s)
    if span_s >= LONG_S:
        cut_s = past.end_s // REJUDGE_S * REJUDGE_S
        used = (times_s <= cut_s) & (times_s > cut_s - span_s + REJUDGE_S)
        values, times_s = values[:, used], times_s[used]
    name = (past.metric, past.step_s, horizon_s, len(past.keys), times_s[-1] if len(times_s) else 0.0)
    with _LOCK:
        kept = _OF_SAMPLES.get(name)
    if kept is None or not kept.answers(past.keys, values, fits):
        judgement = judge(values, times_s, past.step_s, horizon_s=horizon_s, fits=fits, metric=past.metric)
        kept = _Kept(past.keys, values, tuple(fits), judgement)
    with _LOCK:
        _OF_BATCH.setdefault(past, {})[horizon_s] = kept.fits, kept.judgement
        if span_s >= LONG_S:
            _OF_SAMPLES[name] = kept
            _OF_SAMPLES.move_to_end(name)
            while len(_OF_SAMPLES) > MOST_KEPT:
                _OF_SAMPLES.popitem(last=False)
    return kept.judgement


def forget() -> None:
    """Forget all judgements; they are found again as they were."""
    with _LOCK:
        _OF_BATCH.clear()
        _OF_SAMPLES.clear()


def _same(one: Sequence[Fit | None], other: Sequence[Fit | None]) -> bool:
    return len(one) == len(other) and all(mine is theirs for mine, theirs in zip(one, other, strict=True))
