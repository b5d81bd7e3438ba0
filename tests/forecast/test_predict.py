"""The room's one entry: quantiles that make sense for any input, a jump followed, and never a forecast from nothing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from foremesh.forecast import FittedModels, HorizonError, quantile_forecast
from foremesh.model.forecast import Forecast
from foremesh.model.series import Floats, Metric, SeriesBatch

from .made import (
    DAY_S,
    FINE_S,
    NOW_S,
    WEEK,
    batch,
    congested,
    daily,
    knowing,
    noisy,
    random_walk,
    times,
    wandering,
    wave,
)

HOUR_S = 3600.0
RECENT = 60

values = arrays.arrays(
    np.float64,
    st.tuples(st.integers(0, 3), st.integers(0, 120)),
    elements=st.one_of(st.floats(0, 1e9), st.just(np.nan)),
    fill=st.sampled_from([np.nan, 0.0, 20.0]),
)


@given(values, st.sampled_from(Metric), st.integers(1, 30), st.booleans())
def test_quantiles_are_ordered_and_possible_or_all_unknown(
    rows: Floats, metric: Metric, steps: int, split: bool
) -> None:
    rows = np.minimum(rows, metric.ceiling)
    held = batch(*rows, step_s=60, metric=metric) if len(rows) else SeriesBatch(metric, (), rows, 60, NOW_S)
    past = held if split else None
    answer = quantile_forecast(held, horizon_s=60.0 * steps, past=past)
    assert answer.values.shape == (3, len(rows), steps)
    for index, key in enumerate(held.keys):
        predicted = answer.values[:, index]
        if np.isfinite(rows[index, -4:]).any():
            low, middle, high = predicted
            assert (low >= 0).all()
            assert (low <= middle).all()
            assert (middle <= high).all()
            assert (high <= metric.ceiling).all()
            known = rows[index][np.isfinite(rows[index])]
            assert (known.min() <= middle).all()
            assert (middle <= known.max()).all()
        elif not np.isfinite(rows[index]).any():
            assert np.isnan(predicted).all()
            assert answer.model(key) == "unknown"
            assert answer.figure(key) is None
        assert "\n" not in answer.reason(key)
        assert answer.reason(key).startswith(answer.model(key))


def test_the_same_input_gives_the_same_answer_in_any_unit() -> None:
    held = batch(noisy(), random_walk())
    first, again = quantile_forecast(held, horizon_s=3600), quantile_forecast(held, horizon_s=3600)
    np.testing.assert_array_equal(first.values, again.values)
    assert tuple(first.reasons) == tuple(again.reasons)
    micros = quantile_forecast(batch(*held.values * 1000), horizon_s=3600)
    # Errors are kept in single precision, so weights differ by its last digit.
    np.testing.assert_allclose(micros.values, first.values * 1000, rtol=1e-6)
    assert micros.models == first.models


@pytest.mark.parametrize(
    ("horizon_s", "step_s"),
    [
        pytest.param(0, 60, id="no-horizon"),
        pytest.param(-60, 60, id="in-the-past"),
        pytest.param(90, 60, id="no-multiple"),
        pytest.param(60, 0, id="no-step"),
        pytest.param(np.inf, 60, id="for-ever"),
        pytest.param(200, None, id="no-multiple-of-the-batchs-step"),
    ],
)
def test_horizons_that_are_none(horizon_s: float, step_s: float | None) -> None:
    with pytest.raises(HorizonError, match="nothing is forecast") as caught:
        quantile_forecast(batch(noisy(10)), horizon_s=horizon_s, step_s=step_s)
    assert caught.value.horizon_s == horizon_s


def test_steps_lie_after_the_newest_sample() -> None:
    answer = quantile_forecast(batch(noisy()), horizon_s=600, step_s=60)
    assert (answer.start_s, answer.step_s, answer.values.shape) == (NOW_S, 60, (3, 1, 10))


# Never a forecast from nothing


def test_a_short_series_is_held_and_the_reason_counts() -> None:
    answer = quantile_forecast(batch(noisy(40)), horizon_s=300)
    assert tuple(answer.reasons) == ("last: series too short (40 of 49 samples)",)
    low, middle, high = answer.values[:, 0, 0]
    assert middle == noisy(40)[-1]
    assert high - low > 1, "it may be wherever it has been"
    one = quantile_forecast(batch(np.array([20.0])), horizon_s=300)
    assert one.values.ravel().tolist() == [20.0] * 3


def test_a_flat_series_is_held() -> None:
    answer = quantile_forecast(batch(np.full(WEEK, 20.0)), horizon_s=300)
    assert tuple(answer.reasons) == ("last: series is flat",)
    assert answer.values.ravel().tolist() == [20.0] * 3


def test_a_flat_past_does_not_hide_what_is_new() -> None:
    recent = np.full(RECENT, 20.0)
    recent[-3:] = 80
    answer = quantile_forecast(batch(recent, step_s=FINE_S), horizon_s=600, step_s=60, past=batch(np.full(WEEK, 20.0)))
    assert answer.values[1, 0].tolist() == [80.0] * 10


def test_gaps_are_not_zeros() -> None:
    series = noisy()
    series[np.random.default_rng(0).random(WEEK) < 0.4] = np.nan
    answer = quantile_forecast(batch(series), horizon_s=600)
    assert answer.values.min() > 35


@pytest.mark.parametrize(
    ("missing", "known"),
    [
        pytest.param(8, True, id="newest-sample-of-two-minutes-ago-will-do"),
        pytest.param(9, False, id="an-older-one-says-nothing-of-now"),
    ],
)
def test_an_old_newest_sample(missing: int, known: bool) -> None:
    recent = noisy(RECENT)
    recent[-missing:] = np.nan
    answer = quantile_forecast(batch(recent, step_s=FINE_S), horizon_s=60)
    assert bool(np.isfinite(answer.values).all()) is known
    assert known or tuple(answer.reasons) == ("unknown: no sample in the last 120 s",)


def test_a_new_series_has_no_past_and_one_that_is_gone_no_forecast() -> None:
    past = SeriesBatch(Metric.RTT, ("gone", "s0"), np.array([wandering(), wandering()]), 300, NOW_S)
    answer = quantile_forecast(batch(noisy(RECENT), noisy(RECENT), step_s=FINE_S), horizon_s=600, step_s=60, past=past)
    assert answer.keys == ("s0", "s1")
    assert answer.models == ("median", "last")
    assert "too short (60 of 88 samples)" in answer.reason("s1")
    assert "gone" not in answer
    assert answer.figure("gone") is None


def test_a_share_stays_a_share() -> None:
    loss = np.clip(np.random.default_rng(0).normal(0.95, 0.1, WEEK), 0, 1)
    answer = quantile_forecast(batch(loss, metric=Metric.LOSS), horizon_s=600)
    assert answer.values.max() == 1.0
    assert answer.figure("s0").pessimistic == 1.0


# A jump: an incident in the newest samples goes before any model


@pytest.mark.parametrize("horizon_s", [600.0, 6 * 3600.0])
@pytest.mark.parametrize(
    ("shape", "fitted", "model"),
    [
        pytest.param(lambda times_s: wandering(len(times_s)), None, {"median"}, id="median"),
        pytest.param(lambda times_s: random_walk(len(times_s)) / 10, None, {"last"}, id="last"),
        pytest.param(daily, None, {"additive"}, id="additive"),
        pytest.param(wave, knowing(wave), {"prophet"}, id="prophet"),
    ],
)
def test_a_jump_of_three_samples_is_followed(
    shape, fitted: FittedModels | None, model: set[str], horizon_s: float
) -> None:
    if model == {"last"} and horizon_s > HOUR_S:
        model = {"last", "median"}  # of a walk over hours, the hour's median is as near and moves less
    times_s = times()
    past = batch(shape(times_s))
    recent_s = times(RECENT, FINE_S)
    before = np.interp(recent_s, times_s, past.values[0])
    before += np.random.default_rng(3).normal(0, 0.5, RECENT)
    jumped = before.copy()
    jumped[-3:] += 60

    def predict(recent: Floats) -> tuple[str, Floats]:
        answer = quantile_forecast(
            batch(recent, step_s=FINE_S), horizon_s=horizon_s, step_s=60, past=past, fitted=fitted
        )
        return answer.models[0], answer.values[1, 0]

    name, after = predict(jumped)
    assert {name} <= model
    _, quiet = predict(before)
    assert after == pytest.approx(quiet + 60, rel=0.1)


@pytest.mark.parametrize("shift", [8.0, -12.0, 40.0])
def test_a_reroute_in_a_rhythm_is_followed_and_the_rhythm_goes_on(shift: float) -> None:
    past = batch(congested(times()))
    recent = congested(times(RECENT, 60), seed=9)
    quiet = quantile_forecast(batch(recent, step_s=60), horizon_s=600, step_s=60, past=past)
    recent[-3:] += shift
    answer = quantile_forecast(batch(recent, step_s=60), horizon_s=600, step_s=60, past=past)
    assert answer.models == ("additive",)
    assert answer.values[1] == pytest.approx(quiet.values[1] + shift, abs=1.5)


# A link that lost every probe


def losses(*newest: float) -> Forecast:
    """Forecast of a link that loses a little, from its newest minutes."""
    random = np.random.default_rng(4)
    past = batch(random.binomial(50, 0.01, WEEK) / 50, metric=Metric.LOSS)
    recent = np.concatenate([np.zeros(RECENT - len(newest)), newest])
    return quantile_forecast(batch(recent, step_s=60, metric=Metric.LOSS), horizon_s=600, step_s=60, past=past)


def test_a_dead_link_is_dead_in_the_next_forecast() -> None:
    assert (losses(1.0).values[1:] == 1.0).all()
    assert losses(0.9).values[1].max() < 0.5, "a bad minute is none"


@pytest.mark.parametrize("dead", [1, 2, 3, 5, 20, 57])
def test_a_link_that_is_back_is_believed_after_three_samples(dead: int) -> None:
    back = losses(*[1.0] * dead, 0.0, 0.0, 0.0)
    assert back.values[1].max() < 0.05
    assert back.values[2].max() > 0.15, "who must keep a limit reckons with it for a while longer"


def test_a_flat_past_does_not_hide_a_dead_link() -> None:
    recent = np.zeros(RECENT)
    recent[-1] = 1.0
    past = batch(np.zeros(WEEK), metric=Metric.LOSS)
    answer = quantile_forecast(batch(recent, step_s=60, metric=Metric.LOSS), horizon_s=600, step_s=60, past=past)
    assert (answer.values[1] == 1.0).all()


def test_one_lost_probe_on_a_clean_link_is_no_sign() -> None:
    recent = np.zeros(RECENT)
    recent[-1] = 1 / 60
    past = batch(np.zeros(WEEK), metric=Metric.LOSS)
    answer = quantile_forecast(batch(recent, step_s=60, metric=Metric.LOSS), horizon_s=600, step_s=60, past=past)
    assert answer.models == ("median",)
    assert answer.values[1].max() == 0


def test_the_newest_sample_counts_where_it_carries_no_noise() -> None:
    """The past is of five-minute means; a smooth climb is followed to its newest minute, and noise is not."""
    minutes = times(RECENT, 60)
    past = batch(random_walk(seed=3))
    climb = 500 + np.arange(RECENT) * 0.5
    smooth = quantile_forecast(batch(climb, step_s=60), horizon_s=600, step_s=60, past=past).values[1, 0, 0]
    rough = quantile_forecast(
        batch(500 + np.random.default_rng(1).normal(0, 1, len(minutes)), step_s=60), horizon_s=600, step_s=60, past=past
    ).values[1, 0, 0]
    assert smooth == pytest.approx(climb[-1], abs=1.5), "the hour's level lies 15 behind"
    assert rough == pytest.approx(500, abs=1)


# What lies ahead


@pytest.mark.parametrize("samples", [0, 1, 2, 4, 60, 120])
def test_newest_samples_may_span_less_than_one_of_the_past(samples: int) -> None:
    """A past in steps of minutes, and a reader that has just begun to look every second."""
    recent = 20.0 + np.random.default_rng(5).normal(0, 0.1, samples)
    newest = batch(recent, step_s=1.0)
    answer = quantile_forecast(newest, horizon_s=20.0, step_s=5.0, past=batch(noisy(WEEK)))
    assert answer.values.shape == (3, 1, 4)
    assert np.isfinite(answer.values).all() == bool(samples)


def test_a_rush_hour_is_seen_before_it_comes() -> None:
    """Over the hours of a day: the change over the next half hour, and not only where it stands."""
    series = congested(times(WEEK + 288, end_s=NOW_S + 288 * 300))
    off, held = [], []
    for now in range(WEEK, WEEK + 282, 6):
        past = batch(series[:WEEK])
        recent = batch(series[now - 12 : now], end_s=NOW_S + (now - WEEK) * 300)
        answer = quantile_forecast(recent, horizon_s=1800, past=past)
        off.append(abs(answer.values[1, 0, -1] - series[now + 5]))
        held.append(abs(series[now - 1] - series[now + 5]))
    assert np.mean(off) < 0.6 * np.mean(held)


def test_quantiles_are_wider_in_restless_hours() -> None:
    random = np.random.default_rng(0)
    restless = np.sin(2 * np.pi * times() / DAY_S) > 0
    series = 40 + random.normal(0, 1, WEEK) * np.where(restless, 3.0, 0.5)
    widths = []
    for back in (0, 144):  # half a day apart
        end = WEEK - back
        recent = batch(series[end - 12 : end], end_s=NOW_S - back * 300)
        values = quantile_forecast(recent, horizon_s=600, past=batch(series)).values
        widths.append((values[2] - values[0]).mean())
    wide, narrow = widths if restless[-1] else widths[::-1]
    assert wide > 2 * narrow
