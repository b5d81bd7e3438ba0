"""The additive model: rhythms found through spikes, gaps and new levels, and none where there is none."""

import numpy as np
import pytest

from foremesh.forecast.additive import Scale
from foremesh.forecast.rhythm import Rhythm, binned, fit_rhythm
from foremesh.model.series import Floats

from .made import COARSE_S, DAY_S, WEEK, congested, daily, noisy, times

DAY = times(288, end_s=1_700_000_000.0 + DAY_S)
SWING = daily(DAY, noise=0) - 60


def fitted(series: Floats, *, weekly: bool = False) -> Rhythm:
    return fit_rhythm(*binned(series[None].astype(np.float32), times(len(series)), COARSE_S), weekly=weekly)


def found(series: Floats) -> Floats:
    """The rhythm of the coming day."""
    return fitted(series).at(DAY)[0]


def spiked(series: Floats) -> Floats:
    series = series.copy()
    series[np.random.default_rng(0).random(WEEK) < 0.1] += 500
    return series


def gapped(series: Floats) -> Floats:
    gone = np.random.default_rng(1).random(WEEK) < 0.3
    gone[400:700] = True
    return np.where(gone, np.nan, series)


def moved(series: Floats) -> Floats:
    return series + np.where(np.arange(WEEK) > 1100, 45.0, 0.0)


@pytest.mark.parametrize(
    ("spoilt", "off"),
    [(lambda series: series, 1.0), (spiked, 1.5), (gapped, 1.5), (moved, 5.0)],
    ids=["as-it-is", "spikes", "gaps", "a-new-level"],
)
def test_a_rhythm_is_found(spoilt, off: float) -> None:
    assert np.abs(found(spoilt(daily(times()))) - SWING).mean() < off


def test_noise_has_no_rhythm() -> None:
    assert np.abs(found(noisy())).max() < 0.5


def test_less_than_two_days_are_no_rhythm() -> None:
    series = np.where(np.arange(WEEK) < WEEK - 500, np.nan, daily(times()))
    assert np.isnan(found(series)).all()


def test_two_weeks_show_a_weekly_rhythm() -> None:
    times_s = times(3 * WEEK)
    weekend = times_s // DAY_S % 7 >= 5
    series = noisy(3 * WEEK) + np.where(weekend, -20.0, 0.0)
    rhythm = fitted(series, weekly=True)
    ahead_s = times_s + 7 * DAY_S
    apart = rhythm.at(ahead_s)[0]
    assert apart[~weekend].mean() - apart[weekend].mean() == pytest.approx(20, abs=3)


def test_a_scale_goes_there_and_back() -> None:
    values = congested(times())[None]
    for scale in (Scale.above_idle(values), Scale.measured(values)):
        np.testing.assert_allclose(scale.back(scale.of(values)), values, rtol=1e-5)


def test_congestion_is_even_above_idle() -> None:
    """What queueing multiplies is as far from its rhythm in rush hours as at night."""
    values = congested(times(), noise=0.0)
    calm = congested(times(), seed=2, noise=0.0)
    rush = values > np.quantile(values, 0.9)
    scale = Scale.above_idle(values[None])
    plain = np.abs(values - calm)
    scaled = np.abs(scale.of(values[None]) - scale.of(calm[None]))[0]
    assert plain[rush].mean() > 4 * plain[~rush].mean()
    assert scaled[rush].mean() < 2 * scaled[~rush].mean()
