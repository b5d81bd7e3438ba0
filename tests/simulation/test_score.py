"""Figures of merit, on numbers that can be checked by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from foremesh.simulation.score import Score, duel, gap_closed, mean, side_by_side, to_json

NONE = Score(0.0, 20.0, 30.0, 1.0, 5.0, None, 0.1)


def world(**missed: float) -> dict[str, Score]:
    return {name: replace(NONE, violation_minutes=minutes) for name, minutes in missed.items()}


@pytest.mark.parametrize(
    ("missed", "share"),
    [
        pytest.param({"reactive": 100, "ewma": 120, "oracle": 20, "predictive": 40}, 0.75, id="three-quarters"),
        pytest.param({"reactive": 100, "oracle": 20, "predictive": 20}, 1.0, id="as-good-as-the-oracle"),
        pytest.param({"reactive": 100, "oracle": 20, "predictive": 140}, -0.5, id="worse-than-reacting"),
        pytest.param({"reactive": 20, "oracle": 20, "predictive": 20}, None, id="nothing-to-gain"),
        pytest.param({"reactive": 100, "predictive": 20}, None, id="no-oracle"),
        pytest.param({"static": 100, "oracle": 20, "predictive": 20}, None, id="nobody-reacts"),
    ],
)
def test_the_gap_is_between_the_best_who_reacts_and_the_oracle(missed: dict[str, float], share: float | None) -> None:
    assert side_by_side(world(**missed))["predictive"].gap_closed == share


def test_over_worlds_the_gap_is_that_of_all_together() -> None:
    worlds = [
        world(reactive=100, ewma=90, oracle=10, predictive=10),
        world(reactive=10, ewma=20, oracle=10, predictive=20),
    ]
    assert gap_closed([one["predictive"] for one in worlds], worlds) == pytest.approx(70 / 80)
    found = mean(worlds)["predictive"]
    assert found.violation_minutes == 15
    assert found.gap_closed == pytest.approx(70 / 80)


def test_seeds_are_won_lost_and_tied_against_the_best_of_each() -> None:
    worlds = {
        1: world(reactive=100, ewma=90, oracle=10, predictive=89),
        2: world(reactive=10, ewma=20, oracle=10, predictive=15),
        3: world(reactive=10, ewma=20, oracle=10, predictive=10),
    }
    seeds = to_json(worlds)["seeds"]
    assert (seeds["won"], seeds["lost"], seeds["tied"]) == (1, 1, 1)
    assert seeds["against"]["ewma"] == {"won": 3, "lost": 0, "tied": 0}
    assert seeds["by_seed"]["2"]["predictive"]["violation_minutes"] == 15
    assert duel([*worlds.values()], lambda one: one["reactive"]).won == 1


def test_json_has_what_is_promised() -> None:
    found = to_json({7: side_by_side(world(reactive=3, oracle=1, predictive=2))})
    assert set(found["policies"]["predictive"]) == {
        "violation_minutes",
        "mean_latency_ms",
        "p95_latency_ms",
        "moves_per_day",
        "egress_usd",
        "gap_closed",
        "plan_seconds",
    }
    assert found["policies"]["predictive"]["gap_closed"] == 0.5
