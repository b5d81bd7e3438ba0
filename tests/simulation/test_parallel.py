"""Parallel paths of a recording: who is grouped with whom, rules that choose, and what is counted of their choices."""

from __future__ import annotations

import numpy as np
import pytest

from foremesh.model.series import Floats
from foremesh.simulation.parallel import groups, hour_median, last_value, outcome, worth_it

STEP_S = 240.0
DAY = 360
"""Samples."""


def paths(seed: int, days: int = 6) -> Floats:
    """Three paths alike: levels that shift now and then, a daily wave, noise, and a spike in a hundred samples."""
    rng, samples = np.random.default_rng(seed), days * DAY
    shifts = np.cumsum(rng.normal(0.0, 1.5, (samples, 3)) * (rng.random((samples, 3)) < 1 / 150), axis=0)
    wave = 0.5 * np.sin(2 * np.pi * np.arange(samples)[:, None] / DAY + rng.uniform(0, 6, 3))
    spikes = rng.exponential(15.0, (samples, 3)) * (rng.random((samples, 3)) < 0.01)
    return 100.0 + shifts + wave + rng.gamma(4.0, 0.1, (samples, 3)) + spikes


def test_paths_are_grouped_greedily_within_five_per_cent() -> None:
    assert groups([100.0, 104.0, 50.0, 105.0, 106.0, 105.1]) == [(0, 1, 3)]
    assert groups([100.0, 101.0, 102.0, 102.0, 103.0, 104.0]) == [(0, 1, 2), (3, 4, 5)]
    assert groups([100.0, 101.0]) == []


def test_what_is_counted_of_choices() -> None:
    rtt_ms = np.array([[1.0, 9.0], [10.0, 20.0], [20.0, 10.0], [10.0, 20.0]])
    found = outcome(rtt_ms, np.array([1, 0, 0, 1]), 28_800.0)
    assert found.lost == pytest.approx((10 + 20 + 20) / (10 + 10 + 10) - 1)
    assert found.moves_per_day == pytest.approx(1.0)


@pytest.mark.parametrize("rule", [last_value, hour_median, worth_it])
def test_no_rule_sees_the_sample_that_it_chooses_for(rule) -> None:  # type: ignore[no-untyped-def]
    rtt_ms = paths(1, days=1)
    other = rtt_ms.copy()
    other[200:] = other[200:, ::-1] + 50.0
    assert np.array_equal(rule(rtt_ms, STEP_S)[:201], rule(other, STEP_S)[:201])


def test_the_last_value_follows_and_the_hour_waits() -> None:
    rtt_ms = np.full((40, 2), 10.0)
    rtt_ms[:, 1] = 11.0
    rtt_ms[20, 0] = 30.0
    assert np.flatnonzero(last_value(rtt_ms, STEP_S)).tolist() == [21]
    assert not hour_median(rtt_ms, STEP_S).any()
    assert not worth_it(rtt_ms, STEP_S).any()


def test_a_shift_is_followed_and_stays_followed() -> None:
    rtt_ms = np.array([10.0, 11.0, 12.0]) + np.random.default_rng(2).normal(0.0, 0.1, (400, 3))
    rtt_ms[200:, 0] += 3.0
    chosen = worth_it(rtt_ms, STEP_S)
    assert not chosen[:200].any()
    assert (chosen[210:] == 1).all()


def test_equals_are_left_for_each_other_less_than_half_as_often() -> None:
    rtt_ms = 10.0 + np.random.default_rng(5).normal(0.0, 1.0, (6 * DAY, 3))
    ours, theirs = (outcome(rtt_ms, rule(rtt_ms, STEP_S), STEP_S) for rule in (worth_it, hour_median))
    assert ours.moves_per_day < 0.5 * theirs.moves_per_day


def test_it_is_nearly_as_short_as_by_the_hour_with_half_the_moves() -> None:
    found = {rule: [outcome(one, rule(one, STEP_S), STEP_S) for one in map(paths, range(8))] for rule in
             (hour_median, worth_it)}  # fmt: skip
    lost = {rule: np.mean([one.lost for one in some]) for rule, some in found.items()}
    moves = {rule: np.mean([one.moves_per_day for one in some]) for rule, some in found.items()}
    assert lost[worth_it] <= 1.15 * lost[hour_median]
    assert moves[worth_it] <= 0.5 * moves[hour_median]
