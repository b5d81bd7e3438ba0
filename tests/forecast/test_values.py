"""Batches and forecasts as values: what they refuse, and what they say."""

import numpy as np
import pytest

from foremesh.model.forecast import Forecast
from foremesh.model.series import Metric, SeriesBatch

from .made import NOW_S, batch


@pytest.mark.parametrize(
    ("keys", "shape", "step_s", "cause"),
    [
        pytest.param(("a",), (2, 5), 60, "need that many rows", id="rows-for-other-keys"),
        pytest.param(("a",), (5,), 60, "shape", id="one-dimension"),
        pytest.param(("a", "a"), (2, 5), 60, "repeat", id="key-twice"),
        pytest.param(("a",), (1, 5), 0, "must be positive", id="no-step"),
        pytest.param(("a",), (1, 5), np.nan, "must be positive", id="unknown-step"),
    ],
)
def test_batches_that_are_none(keys: tuple[str, ...], shape: tuple[int, ...], step_s: float, cause: str) -> None:
    with pytest.raises(ValueError, match=cause):
        SeriesBatch(Metric.RTT, keys, np.zeros(shape), step_s, NOW_S)


def test_a_batch_is_a_copy_nobody_can_change() -> None:
    source = np.array([[1.0, 2.0]])
    held = SeriesBatch(Metric.RTT, ("a",), source, 60, NOW_S)
    source[0, 0] = 5
    assert held.values[0, 0] == 1
    with pytest.raises(ValueError, match="read-only"):
        held.values[0, 0] = 5


def test_the_newest_known_sample_and_its_age() -> None:
    held = batch(np.array([1.0, 2.0, np.nan]), np.array([np.nan] * 3), np.array([1.0, 2.0, 3.0]), step_s=60)
    values, ages_s = held.newest()
    np.testing.assert_array_equal(values, [2, np.nan, 3])
    assert ages_s.tolist() == [60, np.inf, 0]
    assert held.times_s.tolist() == [NOW_S - 120, NOW_S - 60, NOW_S]
    empty = SeriesBatch(Metric.RTT, ("a",), np.empty((1, 0)), 60, NOW_S)
    assert empty.newest()[1].tolist() == [np.inf]


def test_selecting_makes_what_is_not_there_unknown() -> None:
    held = batch(np.array([1.0]), np.array([2.0])).select(["s1", "new"])
    assert held.keys == ("s1", "new")
    np.testing.assert_array_equal(held.values, [[2.0], [np.nan]])
    assert held.select([]).values.shape == (0, 1)


def test_a_figure_is_the_middle_on_average_and_the_worst_at_its_worst() -> None:
    values = np.array([[[8.0, 9.0]], [[10.0, 20.0]], [[30.0, 40.0]]])
    answer = Forecast(Metric.RTT, ("a",), 60, NOW_S, values, ("last",), ("last: because",))
    figure = answer.figure("a")
    assert figure is not None
    assert (figure.median, figure.pessimistic) == (15.0, 40.0)
    assert (answer.model("a"), answer.reason("a")) == ("last", "last: because")
    assert answer.figure("b") is None
    assert (answer.model("b"), answer.reason("b")) == ("unknown", "no series of that name is measured")
    assert "a" in answer
    assert "b" not in answer


@pytest.mark.parametrize(
    ("shape", "models"),
    [((3, 2, 5), ("last",)), ((2, 1, 5), ("last",)), ((3, 5), ("last",)), ((3, 1, 5), ("last", "last"))],
)
def test_forecasts_that_are_none(shape: tuple[int, ...], models: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="rtt forecast"):
        Forecast(Metric.RTT, ("a",), 60, NOW_S, np.zeros(shape), models, ("because",))
