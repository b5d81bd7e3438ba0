"""Where a series stands: quick after a jump, deaf to a spike, and no different for samples that are missing."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from foremesh.forecast import kernels
from foremesh.forecast.kernels import FEW
from foremesh.forecast.levels import RUN, median, newest, recent_mean, settled
from foremesh.model.series import Floats

numbers = st.one_of(st.floats(-1e6, 1e6), st.just(np.nan))
rows = arrays.arrays(np.float64, st.tuples(st.integers(1, 5), st.integers(1, 20)), elements=numbers)


@given(rows)
def test_median_is_numpys(sample: Floats) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # numpy's, about rows of NaN
        np.testing.assert_allclose(median(sample), np.nanmedian(sample, axis=1))


@pytest.mark.parametrize("samples", [FEW, FEW + 1, 59, 60, 97])
@pytest.mark.parametrize("digits", [0, 9], ids=["many-are-equal", "all-differ"])
def test_the_median_of_many_is_numpys(samples: int, digits: int) -> None:
    sample = np.round(np.random.default_rng(samples).normal(0.0, 3.0, (50, samples)), digits)
    sample[::3, ::4] = np.nan
    found = np.empty(50)
    kernels.medians(sample, found)
    np.testing.assert_array_equal(found, np.nanmedian(sample, axis=1))


@given(rows)
def test_a_level_is_known_exactly_if_a_sample_is_and_lies_among_them(sample: Floats) -> None:
    for level in (newest(sample), settled(sample)):
        known = np.isfinite(sample).any(axis=1)
        assert np.isfinite(level).tolist() == known.tolist()
        for row, value in zip(sample[known], level[known], strict=True):
            assert np.nanmin(row) <= value <= np.nanmax(row)


@given(rows, st.data())
def test_missing_samples_change_nothing(sample: Floats, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, sample.shape[1]))
    wider = np.insert(sample, place, np.nan, axis=1)
    if sample.shape[1] > RUN:
        np.testing.assert_array_equal(settled(wider), settled(sample))
    np.testing.assert_array_equal(newest(wider), newest(sample))


@pytest.mark.parametrize("held", range(3, 60))
def test_a_jump_is_followed_from_its_third_sample_on(held: int) -> None:
    noise = np.random.default_rng(held).normal(0, 1, (50, 60))
    noise[:, -held:] += 60
    assert np.abs(settled(noise) - 60).max() < 4


@pytest.mark.parametrize("spikes", [1, 2])
def test_spikes_are_no_level(spikes: int) -> None:
    noise = np.random.default_rng(spikes).normal(0, 1, (50, 60))
    noise[:, -spikes:] += 60
    assert np.abs(settled(noise)).max() < 4


def test_noise_is_smoothed() -> None:
    noise = np.random.default_rng(0).normal(0, 1, (500, 60))
    assert settled(noise).std() < 0.3
    assert newest(noise).std() > 0.9


@given(
    arrays.arrays(np.float64, st.tuples(st.integers(1, 3), st.integers(1, 12)), elements=numbers), st.integers(1, 15)
)
def test_a_recent_mean_is_of_the_known_among_the_newest(rows: Floats, width: int) -> None:
    found = recent_mean(rows, width)
    for row, means in zip(rows, found, strict=True):
        for end, mean in enumerate(means, start=1):
            near = row[max(0, end - width) : end]
            near = near[np.isfinite(near)]
            assert np.isnan(mean) if not len(near) else np.isclose(mean, near.mean(), atol=1e-6)
