"""The gate by itself: how experts gain and lose weight, how quantiles follow, and that no order of asking matters."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from foremesh.forecast.choose import HANDICAPS
from foremesh.forecast.gate import Gate, Mixed
from foremesh.forecast.kernels import FEWEST
from foremesh.model.series import Floats

STEP_S = 1800.0
EQUAL = np.array([1.0, 1.0, 1.0])


def world(series: int, samples: int, *, seed: int, gaps: float = 0.0) -> Floats:
    """Series of all kinds: noise, walks and jumps, with samples missing."""
    random = np.random.default_rng(seed)
    noise = random.normal(0, 1, (series, samples))
    walk = np.cumsum(random.normal(0, random.uniform(0, 1, (series, 1)), (series, samples)), axis=1)
    jump = 30.0 * (np.arange(samples) > random.integers(0, samples, (series, 1)))
    values = 100 + noise + walk + jump
    values[random.random(values.shape) < gaps] = np.nan
    return values


def experts(values: Floats, lags: NDArray[np.int64]) -> Floats:
    """The newest sample, the mean so far, and one that is always 0.1 off the truth or says nothing."""
    series, samples = values.shape
    at = np.arange(samples)
    known = np.isfinite(values)
    newest = np.maximum.accumulate(np.where(known, at, -1), axis=1)
    last = np.where(newest >= 0, np.take_along_axis(values, np.maximum(newest, 0), axis=1), np.nan)
    mean = np.cumsum(np.where(known, values, 0.0), axis=1) / np.maximum(np.cumsum(known, axis=1), 1)
    later = np.concatenate([values, np.full((series, lags[-1]), np.nan)], axis=1)
    truth = later[:, at[:, None] + lags] + 0.1
    held = [np.repeat(one[..., None], len(lags), axis=-1) for one in (last, mean)]
    return np.array([*held, truth])


def fresh(series: int, lags: NDArray[np.int64], *, stride: int = 1, tick: int = 999) -> Gate:
    return Gate.new(series, EQUAL, lags, step_s=STEP_S, stride=stride, tick=tick)


def run(gate: Gate, values: Floats, predicted: Floats) -> tuple[Gate, Mixed]:
    at = np.arange(values.shape[1])
    return gate.observe(values, at, predicted, np.ones(predicted.shape[1:]))


def same(mine: Gate, theirs: Gate, order: slice | NDArray[np.int64] = slice(None)) -> None:
    assert mine.tick == theirs.tick
    np.testing.assert_array_equal(mine.mass, theirs.mass[order])
    for name in ("error", "spread", "pending"):
        np.testing.assert_array_equal(getattr(mine, name), getattr(theirs, name)[:, order], err_msg=name)


CASES = {
    "seed": st.integers(0, 2**16),
    "samples": st.integers(1, 60),
    "stride": st.integers(1, 5),
    "lags": st.lists(st.integers(1, 20), min_size=1, max_size=3, unique=True).map(sorted),
    "gaps": st.sampled_from([0.0, 0.3, 1.0]),
    "tick": st.integers(0, 10_000),
}


@given(parts=st.lists(st.integers(0, 59), max_size=59, unique=True), **CASES)
@settings(max_examples=60)
def test_a_past_in_one_go_is_the_same_as_sample_by_sample(
    seed: int, samples: int, stride: int, lags: list[int], gaps: float, tick: int, parts: list[int]
) -> None:
    ahead, values = np.array(lags), world(4, samples, seed=seed, gaps=gaps)
    predicted = experts(values, ahead)
    whole, mixed = run(fresh(4, ahead, stride=stride, tick=tick), values, predicted)
    gate, middles, spreads = fresh(4, ahead, stride=stride, tick=tick), [], []
    for part in np.split(np.arange(samples), sorted(cut for cut in parts if cut < samples)):
        gate, some = run(gate, values[:, part], predicted[:, :, part])
        middles.append(some.middle)
        spreads.append(some.spread)
    same(gate, whole)
    np.testing.assert_array_equal(np.concatenate(middles, axis=1), mixed.middle)
    np.testing.assert_array_equal(np.concatenate(spreads, axis=2), mixed.spread)


@given(**CASES)
@settings(max_examples=30)
def test_the_order_of_series_makes_no_difference(
    seed: int, samples: int, stride: int, lags: list[int], gaps: float, tick: int
) -> None:
    ahead, values = np.array(lags), world(6, samples, seed=seed, gaps=gaps)
    order = np.random.default_rng(seed).permutation(6)
    predicted = experts(values, ahead)
    gate, mixed = run(fresh(6, ahead, stride=stride, tick=tick), values, predicted)
    other, permuted = run(fresh(6, ahead, stride=stride, tick=tick), values[order], predicted[:, order])
    same(other, gate, order)
    np.testing.assert_array_equal(permuted.middle, mixed.middle[order])


@given(**CASES)
@settings(max_examples=60)
def test_a_mixture_lies_between_its_experts_and_weights_sum_to_one(
    seed: int, samples: int, stride: int, lags: list[int], gaps: float, tick: int
) -> None:
    ahead, values = np.array(lags), world(4, samples, seed=seed, gaps=gaps)
    predicted = experts(values, ahead)
    gate, mixed = run(fresh(4, ahead, stride=stride, tick=tick), values, predicted)
    weights = gate.weights()
    assert ((weights >= 0) & (weights <= 1)).all()
    np.testing.assert_allclose(weights.sum(axis=0), 1.0, atol=1e-5)
    assert np.isfinite(gate.error).all(), "what is missing is not counted"
    assert np.isfinite(gate.spread).all()
    there = np.isfinite(predicted[0])
    np.testing.assert_array_equal(np.isfinite(mixed.middle), there)
    stood = np.where(np.isfinite(predicted), predicted, predicted[0])
    slack = 1e-4
    assert (mixed.middle[there] >= stood.min(axis=0)[there] - slack).all()
    assert (mixed.middle[there] <= stood.max(axis=0)[there] + slack).all()


def test_the_first_expert_speaks_alone_until_enough_truths_are_known() -> None:
    lags = np.array([3])
    values = world(3, 60, seed=2)
    predicted = experts(values, lags)
    gate, heard = fresh(3, lags), 0
    for sample in range(60):
        gate, mixed = run(gate, values[:, [sample]], predicted[:, :, [sample]])
        alone = (gate.weights()[0] == 1.0).all()
        assert alone == bool((gate.mass < FEWEST).all())
        if alone:
            np.testing.assert_array_equal(mixed.middle, predicted[0, :, [sample]].transpose(1, 0, 2))
        heard += not alone
    assert heard > 0


def test_where_nothing_beats_the_naive_model_it_is_the_naive_model() -> None:
    lags = np.array([1])
    values = np.cumsum(np.random.default_rng(3).normal(0, 1, (5, 300)), axis=1)
    predicted = experts(values, lags)[:2]
    predicted[1] = predicted[0] + np.random.default_rng(4).normal(0, 2, predicted[0].shape)
    gate = Gate.new(5, EQUAL[:2], lags, step_s=STEP_S, stride=1, tick=0)
    gate, mixed = run(gate, values, predicted)
    assert (gate.weights()[0] > 0.99).all()
    np.testing.assert_allclose(mixed.middle[:, 100:], predicted[0][:, 100:], atol=0.2)


def test_who_knows_the_truth_is_believed_and_who_stops_knowing_is_not() -> None:
    lags = np.array([2])
    values = world(4, 400, seed=5)
    predicted = experts(values, lags)
    gate, _ = run(fresh(4, lags), values[:, :200], predicted[:, :, :200])
    assert (gate.weights()[2] > 0.99).all()
    predicted[2, :, 200:] += 500.0
    gate, _ = run(gate, values[:, 200:260], predicted[:, :, 200:260])
    assert (gate.weights()[2] < 0.01).all()


def test_a_handicap_halves_the_weight_of_an_equal() -> None:
    lags = np.array([1])
    values = world(2, 100, seed=6)
    last = experts(values, lags)[:1]
    gate = Gate.new(2, np.array([1.05, 1.0]), lags, step_s=STEP_S, stride=1, tick=0)
    gate, _ = run(gate, values, np.concatenate([last, last]))
    np.testing.assert_allclose(gate.weights()[1] / gate.weights()[0], 1.05**16, rtol=1e-3)


@pytest.mark.parametrize(
    ("name", "better", "wins"),
    [
        pytest.param("median", 1.04, True, id="the-median-wins-though-a-little-worse-for-it-moves-less"),
        pytest.param("median", 1.06, False, id="but-not-when-clearly-worse"),
        pytest.param("additive", 0.97, False, id="many-terms-have-to-be-better"),
        pytest.param("additive", 0.93, True, id="by-a-twentieth"),
        pytest.param("prophet", 0.9, False, id="a-process-of-its-own-by-more"),
        pytest.param("prophet", 0.85, True, id="by-an-eighth"),
    ],
)
def test_how_much_better_than_the_newest_sample_each_has_to_be(name: str, better: float, wins: bool) -> None:
    lags, values = np.array([1]), world(2, 200, seed=11)
    truth = np.concatenate([values[:, 1:], values[:, -1:]], axis=1)
    predicted = np.array([truth + 1.0, truth + better])[..., None]
    handicap = np.array([HANDICAPS["last"], HANDICAPS[name]])
    gate, _ = run(Gate.new(2, handicap, lags, step_s=STEP_S, stride=1, tick=0), values, predicted)
    assert (gate.weights()[1] > 0.5).tolist() == [[wins], [wins]]


def test_a_stretch_that_was_lucky_is_forgotten_within_days() -> None:
    lags, values = np.array([1]), world(2, 600, seed=12)
    truth = np.concatenate([values[:, 1:], values[:, -1:]], axis=1)
    predicted = np.array([truth + 1.0, truth + 1.5])[..., None]
    predicted[0, :, 100:103] += 50.0  # three samples in which the worse one was by far the better
    gate, _ = run(Gate.new(2, EQUAL[:2], lags, step_s=STEP_S, stride=1, tick=0), values[:, :104], predicted[:, :, :104])
    assert (gate.weights()[1] > 0.9).all()
    gate, _ = run(gate, values[:, 104:400], predicted[:, :, 104:400])
    assert (gate.weights()[0] > 0.9).all()


def test_after_a_jump_the_mixture_stands_where_the_experts_stand() -> None:
    """One that follows is worth no less for the jump that all missed, and one that does not follow is out."""
    lags = np.array([1])
    values = np.random.default_rng(7).normal(0, 1, (3, 300))
    values[:, 200:] += 50.0
    predicted = experts(values, lags)[:2]  # the newest sample, and the mean of all: better, until the jump
    gate, _ = run(Gate.new(3, EQUAL[:2], lags, step_s=STEP_S, stride=1, tick=0), values[:, :200], predicted[:, :, :200])
    assert (gate.weights()[1] > 0.9).all()
    gate, mixed = run(gate, values[:, 200:], predicted[:, :, 200:])
    assert (gate.weights()[0] > 0.9).all()
    assert np.abs(mixed.middle[:, 5:, 0] - 50).mean() < 3


@pytest.mark.parametrize("grown", [1.0, 3.0])
def test_quantiles_find_the_width_that_covers(grown: float) -> None:
    lags = np.array([1])
    random = np.random.default_rng(8)
    values = random.normal(0, 1, (20, 6000))
    values[:, 3000:] *= grown
    held = np.zeros((1, *values.shape, 1))
    gate = Gate.new(20, np.ones(1), lags, step_s=STEP_S, stride=1, tick=0)
    _, mixed = run(gate, values, held)
    low, high = mixed.spread[:, :, :-1, 0]
    inside = (values[:, 1:] >= low) & (values[:, 1:] <= high)
    for part in (slice(2000, 3000), slice(4500, 5999)):
        assert 0.77 < inside[:, part].mean() < 0.83


def test_predictions_between_strides_are_mixed_and_not_remembered() -> None:
    lags = np.array([4])
    values = world(2, 90, seed=9)
    predicted = experts(values, lags)
    spoilt = predicted.copy()
    ticks = 1000 + np.arange(90)
    spoilt[:, :, ticks % 3 != 0] += 1e6
    mine, _ = run(fresh(2, lags, stride=3), values, predicted)
    theirs, _ = run(fresh(2, lags, stride=3), values, spoilt)
    same(mine, theirs)
