"""Backtests of many models: which points are judged, what each model may see, and what the figures mean."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from foremesh.forecast.choose import judge, view_at
from foremesh.forecast.evaluate import Evaluation, evaluate, folds_of, followed, joined
from foremesh.forecast.fit import DAY_S, Fit
from foremesh.forecast.forecasters import Curve, Curves, SeasonalNaive
from foremesh.forecast.measures import Measured, measure
from foremesh.model.series import Floats, SeriesBatch

from .made import NOW_S, batch, daily, noisy, random_walk, times

STEP_S = 1800.0
HOUR_S = 3600.0
SAMPLES = 48 * 12
AT_S = times(SAMPLES, STEP_S)
PLAIN = ("last", "median", "seasonal", "additive", "auto")


def found(*rows: Floats, models: Sequence[str] = PLAIN, folds: int = 4, horizon_s: float = 6 * HOUR_S) -> Evaluation:
    answer = evaluate(batch(*rows, step_s=STEP_S), horizons_s=[horizon_s], models=models, folds=folds)
    assert answer is not None
    return answer


def measured(*rows: Floats, models: Sequence[str] = PLAIN, folds: int = 4) -> dict[str, Measured]:
    return {one.model: one for one in measure(found(*rows, models=models, folds=folds))}


@pytest.mark.parametrize(
    ("samples", "step_s", "horizon_s", "folds", "count", "origins"),
    [
        pytest.param(2016, 300.0, 3600.0, 3, 3, 288, id="a-day-each"),
        pytest.param(2016, 300.0, 3600.0, 9, 9, 158, id="shorter-where-there-is-no-room"),
        pytest.param(2016, 300.0, 6 * 3600.0, 20, 12, 144, id="never-shorter-than-two-horizons"),
        pytest.param(2016, 300.0, 86400.0, 9, 2, 576, id="a-horizon-of-a-day"),
        pytest.param(400, 300.0, 6 * 3600.0, 3, 1, 144, id="little-before-the-first"),
        pytest.param(100, 300.0, 6 * 3600.0, 3, 0, 144, id="too-short"),
    ],
)
def test_folds_lie_at_the_end_one_after_the_other(
    samples: int, step_s: float, horizon_s: float, folds: int, count: int, origins: int
) -> None:
    layout = folds_of(samples, step_s, horizon_s, folds)
    ahead = round(horizon_s / step_s)
    assert (len(layout.first), layout.origins) == (count, origins)
    assert layout.origins >= 2 * ahead
    if count:
        assert np.diff(layout.first).tolist() == [origins] * (count - 1)
        assert layout.first[-1] + origins - 1 + ahead == samples - 1  # the last truth is the newest sample
        assert layout.first[0] + 1 >= 48 + ahead


def test_what_comes_after_an_origin_changes_no_prediction() -> None:
    values = np.array([daily(AT_S), random_walk(SAMPLES)])
    first, now = SAMPLES - 100, SAMPLES - 60
    changed = values.copy()
    changed[:, now + 1 :] = 1e6
    origins = np.arange(first, now + 1)
    for model in PLAIN:
        answers = []
        for held in (values, changed):
            seasonal = SeasonalNaive(Curves.of_batch(held, AT_S, STEP_S))
            past = held[:, : first + 1], AT_S[: first + 1]
            rivals = (seasonal,) if model == "seasonal" else ()
            days = Curves.of_batch(held, AT_S + DAY_S, STEP_S)
            only = "" if model == "auto" else model
            judgement = judge(*past, STEP_S, horizon_s=6 * HOUR_S, rivals=rivals, only=only, days=days)
            answers.append(followed(judgement, held[:, origins], view_at(held, AT_S, STEP_S, origins))[0])
        np.testing.assert_array_equal(answers[0], answers[1], err_msg=model)


def test_the_end_of_a_fold_changes_nothing_that_was_fitted_for_it() -> None:
    """Errors at the first origin's horizon are the same whatever the fold's later half holds."""
    values = daily(AT_S, seed=3)
    layout = folds_of(SAMPLES, STEP_S, 6 * HOUR_S, 4)
    last_first = layout.first[-1]
    spoilt = values.copy()
    spoilt[last_first + 13 :] += 500.0  # from beyond the first origin's truth
    mine, theirs = (found(one).sums["auto", 6 * HOUR_S].error[0, :-1] for one in (values, spoilt))
    np.testing.assert_array_equal(mine, theirs)


def test_figures_of_the_last_value_are_what_they_are_by_hand() -> None:
    values = random_walk(SAMPLES, seed=4)
    values[[300, 400, 500]] = np.nan
    answer = measured(values, models=("last",))["last"]
    layout = folds_of(SAMPLES, STEP_S, 6 * HOUR_S, 4)
    origins = np.arange(layout.first[0], SAMPLES - 12)
    newest = np.array([values[: at + 1][np.isfinite(values[: at + 1])][-1] for at in origins])
    errors = np.abs(values[origins + 12] - newest)
    known = np.isfinite(errors)
    assert (answer.rel_mae, answer.points, answer.folds) == (1.0, known.sum(), 4)
    scale = np.nanmean(np.abs(np.diff(values[: layout.first[0] + 1])))
    assert answer.mase == pytest.approx(errors[known].mean() / scale)
    assert answer.wmape == pytest.approx(errors[known].sum() / np.abs(values[origins + 12][known]).sum())


def test_a_ratio_is_the_geometric_mean_over_series_and_zeros_are_left_out() -> None:
    flat = np.full(SAMPLES, 7.0)
    rows = daily(AT_S), random_walk(SAMPLES), flat
    together = measured(*rows)["seasonal"]
    alone = [measured(one)["seasonal"].rel_mae for one in rows[:2]]
    assert together.rel_mae == pytest.approx(np.sqrt(alone[0] * alone[1]))
    assert (together.series, together.left_out) == (2, 1)
    low, high = together.rel_mae_interval
    assert low < together.rel_mae < high
    assert together == measured(*rows)["seasonal"] or together.seconds_per_series != 0  # all but the time it took


def test_a_rhythm_is_told_from_a_walk() -> None:
    rhythm = measured(daily(AT_S))
    assert rhythm["seasonal"].rel_mae < 0.2
    assert rhythm["auto"].rel_mae < 0.2
    assert rhythm["auto"].best_naive == "seasonal"
    walk = measured(random_walk(SAMPLES))
    assert walk["seasonal"].rel_mae > 1.5
    assert walk["auto"].rel_mae == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("model", ["last", "median", "seasonal", "additive", "auto"])
def test_intervals_of_stationary_noise_cover_what_they_say(model: str) -> None:
    rows = [noisy(SAMPLES, seed=seed) for seed in range(8)]
    assert 0.74 < measured(*rows)[model].coverage80 < 0.88


def test_fewer_than_three_folds_are_the_naive_model() -> None:
    two = found(daily(AT_S), folds=2).sums
    for key in ("error", "pinball", "covered"):
        auto, last, additive = (getattr(two[model, 6 * HOUR_S], key) for model in ("auto", "last", "additive"))
        np.testing.assert_array_equal(auto, last)
        assert not np.array_equal(additive, last)
    assert measured(daily(AT_S), folds=2)["auto"].untrusted == 1
    assert measured(daily(AT_S), folds=3)["auto"].untrusted == 0


def test_a_series_that_begins_late_has_fewer_folds() -> None:
    late = daily(AT_S)
    late[: SAMPLES - 48 * 4] = np.nan
    answer = found(daily(AT_S), late)
    assert answer.usable.tolist() == [4, 2]
    auto, last = (answer.sums[model, 6 * HOUR_S].error[1] for model in ("auto", "last"))
    np.testing.assert_array_equal(auto, last)


def test_batches_of_different_lengths_are_joined() -> None:
    long, short = found(daily(AT_S)), found(daily(AT_S), folds=2)
    both = joined([long, short])
    assert both.usable.tolist() == [4, 2]
    np.testing.assert_array_equal(both.sums["last", 6 * HOUR_S].count[1, :2], 0)


def test_too_short_a_batch_is_not_evaluated() -> None:
    assert evaluate(batch(noisy(60), step_s=STEP_S), horizons_s=[6 * HOUR_S], models=("last",), folds=3) is None


def test_prophet_is_what_its_fitter_says_and_stands_back_where_there_is_no_fit() -> None:
    asked = []

    def fitter(past: SeriesBatch, horizon_s: float, serve_s: float) -> tuple[list[Fit | None], float]:
        asked.append(past.end_s)
        grid_s = np.arange(NOW_S - 14 * DAY_S, NOW_S + DAY_S, STEP_S)
        curve = Curve(grid_s[0], STEP_S, daily(grid_s, noise=0))
        return [Fit(curve, curve, grid_s[0], past.end_s), None], 2.0

    answer = evaluate(
        batch(daily(AT_S), random_walk(SAMPLES), step_s=STEP_S),
        horizons_s=[6 * HOUR_S],
        models=("last", "prophet"),
        folds=3,
        fitter=fitter,
    )
    assert answer is not None
    layout = folds_of(SAMPLES, STEP_S, 6 * HOUR_S, 3)
    assert asked == [AT_S[first] for first in layout.first]
    prophet, last = (answer.sums[model, 6 * HOUR_S] for model in ("prophet", "last"))
    assert prophet.error[0].sum() < 0.2 * last.error[0].sum()
    np.testing.assert_array_equal(prophet.error[1], last.error[1])
    np.testing.assert_array_equal(prophet.stood_in, [[0, 0, 0], prophet.count[1]])
    assert answer.seconds["prophet", 6 * HOUR_S] > 6.0


def test_seasonal_reads_the_day_before_and_never_the_future() -> None:
    values = np.arange(96.0)[None]
    at_s = times(96, STEP_S)
    seasonal = SeasonalNaive(Curves.of_batch(values, at_s, STEP_S))
    view = view_at(values, at_s, STEP_S, np.array([20, 60]))
    ahead_s = np.array([STEP_S, DAY_S, DAY_S + STEP_S])
    np.testing.assert_array_equal(seasonal.predict(view, ahead_s)[0], [[20, 20, 20], [13, 60, 13]])
