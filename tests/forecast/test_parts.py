"""Many series are worked on in parts: it is the same answer, in any order of keys, and nothing is judged twice."""

import numpy as np
import pytest

from foremesh.forecast import judged, parts, quantile_forecast
from foremesh.model.forecast import Forecast
from foremesh.model.series import Metric, SeriesBatch

from .made import COARSE_S, NOW_S, WEEK, daily, noisy, random_walk, times

SERIES = np.array(
    [daily(times(WEEK + 2)), noisy(WEEK + 2), np.full(WEEK + 2, 20.0), random_walk(WEEK + 2), noisy(WEEK + 2, seed=5)]
)
KEYS = ("daily", "noisy", "flat", "walk", "other")


def batch(keys: tuple[str, ...], *, samples: int = WEEK, later: int = 0) -> SeriesBatch:
    rows = [SERIES[KEYS.index(key)] if key in KEYS else noisy(WEEK + 2, seed=9) for key in keys]
    values = np.array(rows)[:, WEEK + later - samples : WEEK + later]
    return SeriesBatch(Metric.RTT, keys, values, COARSE_S, NOW_S + later * COARSE_S)


def told(forecast: Forecast) -> dict[object, tuple[object, ...]]:
    return {
        key: (*forecast.values[:, row].ravel(), forecast.model(key), forecast.reason(key))
        for row, key in enumerate(forecast.keys)
    }


@pytest.mark.parametrize(
    ("recent", "past"),
    [
        pytest.param(KEYS, None, id="no-past-beside"),
        pytest.param(KEYS, KEYS, id="the-same-keys"),
        pytest.param(KEYS[::-1], KEYS, id="another-order"),
        pytest.param(("new", *KEYS[1:], "newer"), KEYS, id="some-new-and-one-gone"),
        pytest.param(("walk",), KEYS, id="few-of-many"),
        pytest.param(("new", "newer", "newest"), KEYS, id="all-new"),
    ],
)
def test_parts_say_what_the_whole_says(
    recent: tuple[str, ...], past: tuple[str, ...] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    newest = batch(recent, samples=WEEK if past is None else 12)
    days = batch(past) if past else None
    whole = quantile_forecast(newest, horizon_s=3600, past=days)
    judged.forget()
    monkeypatch.setattr(parts, "TOGETHER", 2)
    apart = quantile_forecast(newest, horizon_s=3600, past=days)
    assert apart.keys == recent
    for key, (*values, model, reason) in told(whole).items():
        *others, other_model, other_reason = told(apart)[key]
        assert others == pytest.approx(values, rel=1e-4)  # rhythms have the digits of float32
        assert (other_model, other_reason) == (model, reason)


def test_a_batch_that_moved_on_by_a_sample_is_not_judged_again(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    judge, moved = judged.judge, judged.Judgement.moved
    monkeypatch.setattr(
        judged, "judge", lambda values, *args, **named: (seen.append(0), judge(values, *args, **named))[1]
    )
    monkeypatch.setattr(
        judged.Judgement, "moved", lambda self, *args: (seen.append(len(args[-1])), moved(self, *args))[1]
    )
    monkeypatch.setattr(parts, "TOGETHER", 2)
    judged.forget()
    quantile_forecast(batch(KEYS), horizon_s=3600)
    assert sorted(seen)[:3] == [0, 0, 0], "one judgement for each part"
    seen.clear()
    quantile_forecast(batch(KEYS, later=1), horizon_s=3600)
    assert seen == [1, 1, 1], "one sample for each part"


def test_single_precision_is_half_the_memory_and_the_same_answer() -> None:
    double = batch(KEYS)
    values = double.values.astype(np.float32)
    single = SeriesBatch(Metric.RTT, KEYS, values, COARSE_S, NOW_S)
    assert single.values.dtype == np.float32
    assert single.values is not values, "whoever may still write it cannot change the batch"
    one, other = (quantile_forecast(each, horizon_s=3600) for each in (single, double))
    assert one.models == other.models
    np.testing.assert_allclose(one.values, other.values, rtol=1e-3)
