"""What the forecast benchmark compares is the same for all, and judged the right way round."""

import numpy as np
import pytest
from dataplane.figures import Figure
from forecasting import speed
from forecasting.beside import HORIZONS_S, Sample, _filled, _ours
from forecasting.world import STEP_S, made

from foremesh.forecast.fit import DAY_S


@pytest.fixture(scope="module")
def sample() -> Sample:
    return Sample("some", made(4, samples=2016 + 360).astype(np.float64), STEP_S)


@pytest.mark.parametrize("coarse", [False, True], ids=["five-minutes", "half-hours"])
def test_every_truth_lies_behind_what_was_learnt_and_within_the_sample(sample: Sample, coarse: bool) -> None:
    one = sample.coarser() if coarse else sample
    assert one.season == round(DAY_S / one.step_s)
    assert len(one.origins) == 48
    assert one.origins[0] == one.learnt - 1
    assert one.origins[-1] + round(HORIZONS_S[-1] / one.step_s) < one.values.shape[1]


def test_the_last_value_is_the_sample_at_each_origin(sample: Sample) -> None:
    predicted, seconds = _ours(sample, "last")
    assert predicted.shape == (len(HORIZONS_S), 4, 48)
    for each in predicted:
        np.testing.assert_allclose(each, sample.values[:, sample.origins])
    assert seconds > 0


def test_a_gap_has_the_sample_before_it() -> None:
    row = np.array([np.nan, 1.0, np.nan, np.nan, 4.0])
    assert _filled(row).tolist() == [1.0, 1.0, 1.0, 1.0, 4.0]


def test_the_additive_model_predicts_for_every_kind_of_series() -> None:
    speed._additive(made(8).astype(np.float64))  # raises if any prediction is not finite


@pytest.mark.parametrize(
    ("value", "judged", "ok"),
    [
        pytest.param(1.01, "ratio <= target", True, id="at-the-target"),
        pytest.param(1.02, "ratio <= target", False, id="above-what-may-not-be-more"),
        pytest.param(1.02, "ratio >= target", True, id="above-what-may-not-be-less"),
        pytest.param(1.0, "ratio >= target", False, id="below-what-may-not-be-less"),
    ],
)
def test_a_ratio_is_judged(value: float, judged: str, ok: bool) -> None:
    assert Figure("b", "m", 2 * value, "", baseline=2.0, target=1.01, judged=judged).ok is ok
