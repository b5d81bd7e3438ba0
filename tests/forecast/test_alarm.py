"""What was never usual is reckoned with at once, for a while, and by the pessimistic quantile alone."""

from __future__ import annotations

import numpy as np
import pytest

from foremesh.forecast import quantile_forecast
from foremesh.forecast.alarm import MEMORY, alarm
from foremesh.model.forecast import Forecast
from foremesh.model.series import Floats, Metric, SeriesBatch

MINUTE_S = 60.0
HORIZON_S = 600.0
REMEMBERED = round(MEMORY * HORIZON_S / MINUTE_S)
NOW_S = 1_700_000_400.0


def past(metric: Metric, values: Floats) -> SeriesBatch:
    return SeriesBatch(metric, ("link",), values[None], 5 * MINUTE_S, NOW_S)


def recent(metric: Metric, values: Floats) -> SeriesBatch:
    return SeriesBatch(metric, ("link",), values[None], MINUTE_S, NOW_S)


def quiet_ms(samples: int, seed: int = 1) -> Floats:
    return 20.0 + 0.1 * np.random.default_rng(seed).standard_normal(samples)


def chance(samples: int, probes: int, seed: int = 1) -> Floats:
    """Loss of one probe in five hundred."""
    return np.random.default_rng(seed).binomial(probes, 0.002, samples) / probes


def worst(metric: Metric, hour: Floats, week: Floats | None) -> float:
    found = alarm(recent(metric, hour), None if week is None else past(metric, week), HORIZON_S)
    return -np.inf if found is None else float(found.worst[0])


def forecast(metric: Metric, hour: Floats, week: Floats) -> Forecast:
    return quantile_forecast(recent(metric, hour), horizon_s=HORIZON_S, past=past(metric, week))


@pytest.mark.parametrize("minutes_ago", [0, 1, REMEMBERED - 1])
def test_a_jump_that_never_was_raises_the_pessimistic_quantile_at_once_and_for_a_while(minutes_ago: int) -> None:
    hour = quiet_ms(60)
    hour[-1 - minutes_ago] = 70.0
    found = forecast(Metric.RTT, hour, quiet_ms(2016, 2)).values[:, 0]
    assert (found[2] == 70.0).all()
    if minutes_ago:
        assert (found[1] < 21).all(), "one sample moves no median"


def test_it_is_forgotten_after_a_while() -> None:
    hour = quiet_ms(60)
    hour[-1 - REMEMBERED] = 70.0
    assert (forecast(Metric.RTT, hour, quiet_ms(2016, 2)).values[2] < 21).all()


def test_what_a_series_does_every_day_is_no_alarm() -> None:
    week = quiet_ms(2016, 2)
    week[::40] = 70.0
    hour = quiet_ms(60)
    hour[-1] = 70.0
    assert worst(Metric.RTT, hour, week) < 21


def test_a_probe_lost_by_chance_is_no_alarm_and_an_episode_is() -> None:
    week = chance(2016, 300, 2)
    hour = np.zeros(60)
    hour[-1] = 1 / 60
    assert worst(Metric.LOSS, hour, week) == -np.inf
    hour[-2:] = 4 / 60
    assert worst(Metric.LOSS, hour, week) == pytest.approx(4 / 60)  # as bad as its minutes, not as the mean of five
    assert forecast(Metric.LOSS, hour, week).values[2] == pytest.approx(4 / 60)


def test_an_episode_that_ended_is_remembered_and_then_forgotten() -> None:
    week, hour = chance(2016, 300, 2), np.zeros(60)
    hour[-25:-15] = 0.05
    assert worst(Metric.LOSS, hour, week) == pytest.approx(0.05)
    hour[:] = 0.0
    hour[:30] = 0.05
    assert worst(Metric.LOSS, hour, week) == -np.inf


@pytest.mark.parametrize(
    ("metric", "week"),
    [
        pytest.param(Metric.RTT, None, id="without-a-past"),
        pytest.param(Metric.RTT, quiet_ms(100), id="with-less-than-a-day"),
        pytest.param(Metric.RTT, np.full(2016, np.nan), id="with-a-past-of-gaps"),
        pytest.param(Metric.THROUGHPUT, 1e6 * quiet_ms(2016), id="of-what-no-requirement-limits"),
    ],
)
def test_nothing_is_known_of_what_is_usual(metric: Metric, week: Floats | None) -> None:
    hour = np.where(np.arange(60) == 59, 1e9, 20.0)
    assert worst(metric, hour, week) < 21


def test_gaps_are_no_alarm() -> None:
    hour = quiet_ms(60)
    hour[-10:] = np.nan
    assert worst(Metric.RTT, hour, quiet_ms(2016, 2)) < 21


def test_series_without_a_past_stand_beside_those_with_one() -> None:
    values = np.array([quiet_ms(60), quiet_ms(60)])
    values[:, -1] = 70.0
    both = SeriesBatch(Metric.RTT, ("new", "link"), values, MINUTE_S, NOW_S)
    found = alarm(both, past(Metric.RTT, quiet_ms(2016, 2)), HORIZON_S)
    assert found is not None
    new, known = found.worst
    assert new < 21
    assert known == 70.0


@pytest.mark.parametrize("minutes", [5, 15])
def test_the_end_of_what_was_never_usual_is_believed_at_once(minutes: int) -> None:
    hour = quiet_ms(60)
    hour[-1 - minutes : -1] = 70.0
    _, middle, high = forecast(Metric.RTT, hour, quiet_ms(2016, 2)).values[:, 0]
    assert (middle < 21).all()
    assert (high == 70.0).all(), "and yet it is reckoned with"
    hour[-1] = 70.0
    assert (forecast(Metric.RTT, hour, quiet_ms(2016, 2)).values[1] > 60).all(), "while it lasts it is what is expected"


def test_a_link_that_was_dead_is_alive_again_after_a_minute() -> None:
    hour = np.zeros(60)
    hour[-10:-1] = 1.0
    _, middle, high = forecast(Metric.LOSS, hour, chance(2016, 300, 2)).values[:, 0]
    assert (middle == 0).all()
    assert (high == 1).all()


def test_a_minute_is_a_minute_whatever_the_step() -> None:
    """Four samples in a minute: one good one among them ends nothing."""
    values = np.zeros(240)
    values[-40:-1] = 0.5
    quick = SeriesBatch(Metric.LOSS, ("link",), values[None], 15.0, NOW_S)
    week = past(Metric.LOSS, chance(2016, 300, 2))
    assert (quantile_forecast(quick, horizon_s=HORIZON_S, past=week).values[1] > 0.3).all()
    values[-4:] = 0.0
    quick = SeriesBatch(Metric.LOSS, ("link",), values[None], 15.0, NOW_S)
    assert (quantile_forecast(quick, horizon_s=HORIZON_S, past=week).values[1] == 0).all()


def test_five_minutes_without_a_lost_probe_end_a_loss_that_is_usual() -> None:
    """Where nothing is known of what is usual, a median of the hour would remember a loss for half of it."""
    hour = np.random.default_rng(2).binomial(60, 0.035, 60) / 60

    def expected() -> Floats:
        return quantile_forecast(recent(Metric.LOSS, hour), horizon_s=HORIZON_S).values[1]

    hour[-4:] = 0.0
    assert (expected() > 0.01).all()
    hour[-5:] = 0.0
    assert (expected() == 0).all()
    hour[-3] = np.nan
    assert (expected() > 0.01).all(), "what nobody measured is not clean"
