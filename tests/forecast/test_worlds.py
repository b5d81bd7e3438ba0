"""What the gate promises, in worlds made up: no worse than the best naive model of each, and quantiles that cover."""

from collections.abc import Callable

import numpy as np
import pytest

from foremesh.forecast.evaluate import evaluate
from foremesh.forecast.measures import Measured, measure
from foremesh.model.series import Floats

from .made import batch, congested, daily, noisy, random_walk, times, wandering

DAYS = 12
SEEDS = range(1, 11)
HOUR_S = 3600.0
HORIZONS_S = (300.0, HOUR_S, 6 * HOUR_S)


def bursts(times_s: Floats, *, seed: int) -> Floats:
    """Quiet, but for queues that stand for minutes."""
    random = np.random.default_rng(seed)
    series = 30 + random.gamma(2, 0.3, len(times_s))
    for start in random.integers(0, len(times_s), 5 * DAYS):
        series[start : start + random.integers(1, 12)] += random.exponential(20)
    return series


def rerouted(times_s: Floats, *, seed: int) -> Floats:
    """Levels that hold for a day or two."""
    random = np.random.default_rng(seed)
    level = np.zeros(len(times_s))
    for start in random.integers(0, len(times_s), 8):
        level[start:] += random.normal(0, 15)
    return 80 + level - level.min() + random.normal(0, 1, len(times_s))


def correlated(times_s: Floats, *, seed: int) -> Floats:
    """What is off comes back within an hour or a day."""
    random = np.random.default_rng(seed)
    back, series = random.uniform(0.9, 0.995), np.zeros(len(times_s))
    for index in range(1, len(series)):
        series[index] = back * series[index - 1] + random.normal()
    return 100 + series


def measured(shape: Callable[..., Floats]) -> dict[float, Measured]:
    times_s = times(DAYS * 288)
    found = evaluate(
        batch(*[shape(times_s, seed=seed) for seed in SEEDS]),
        horizons_s=HORIZONS_S,
        models=("last", "median", "seasonal", "auto"),
        folds=5,
    )
    assert found is not None
    return {one.horizon_s: one for one in measure(found) if one.model == "auto"}


@pytest.mark.parametrize(
    ("shape", "far"),
    [
        pytest.param(lambda times_s, *, seed: noisy(len(times_s), seed=seed), 1.0, id="noise"),
        pytest.param(lambda times_s, *, seed: wandering(len(times_s), seed=seed), 1.01, id="a-level-that-wanders"),
        # The newest sample is the best there is; who mixes cannot know, and may lose so much.
        pytest.param(lambda times_s, *, seed: random_walk(len(times_s), seed=seed), 1.02, id="random-walks"),
        pytest.param(correlated, 1.0, id="what-comes-back"),
        pytest.param(daily, 0.9, id="days"),
        pytest.param(congested, 0.9, id="rush-hours"),
        pytest.param(rerouted, 1.01, id="reroutes"),
        pytest.param(bursts, 0.95, id="bursts"),
    ],
)
def test_no_worse_than_the_best_naive_model_and_quantiles_cover(shape: Callable[..., Floats], far: float) -> None:
    found = measured(shape)
    for horizon_s, one in found.items():
        # A jump leaves errors of one sign for as long as the horizon is: within days, that is a handful of them.
        least = 0.75 if shape is rerouted and horizon_s > HOUR_S else 0.77
        assert least <= one.coverage80 <= 0.83, horizon_s
    assert found[HOUR_S].vs_best_naive <= far
    assert found[6 * HOUR_S].vs_best_naive <= far
