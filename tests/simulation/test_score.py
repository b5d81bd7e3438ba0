"""Figures of merit, on numbers that can be checked by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from foremesh.model.link import MeshGraph
from foremesh.simulation.run import Move, Run
from foremesh.simulation.score import GAP_TEXT, Score, duel, gap_closed, mean, score, side_by_side, to_json, verdict

NONE = Score(0.0, 0.0, 20.0, 30.0, 1.0, 5.0, None, 0.1)


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
        "unplaced_minutes",
        "mean_latency_ms",
        "p95_latency_ms",
        "moves_per_day",
        "egress_usd",
        "gap_closed",
        "plan_seconds",
    }
    assert found["policies"]["predictive"]["gap_closed"] == 0.5


def test_minutes_of_who_found_no_place_are_told_apart_and_still_count() -> None:
    rtt_ms = np.array([[np.nan] * 4, [np.nan, 10.0, 10.0, 10.0], [10.0] * 4])
    violated = np.array([[True] * 4, [True, False, True, False], [False] * 4])
    move = Move(demand=1, minute=1, before="a > b", after="a > c > b", why="")
    found = score(
        Run(
            policy="predictive",
            start_s=0.0,
            every=1,
            rtt_ms=rtt_ms,
            violated=violated,
            predicted_ms=np.full((2, 3, 4), np.nan),
            placements=(),
            graph=MeshGraph(nodes=(), links=()),
            moves=(move,),
            egress_usd=0.0,
            plan_seconds=0.0,
        )
    )
    assert (found.violation_minutes, found.unplaced_minutes, found.placed_minutes) == (6.0, 4.0, 2.0)


def judged(**changes: tuple[float, float, float]) -> tuple[str, ...]:
    """The verdict on policies with these minutes, moves and 95th percentiles."""
    return verdict(
        {
            name: replace(NONE, violation_minutes=minutes, moves_per_day=moves, p95_latency_ms=p95_ms)
            for name, (minutes, moves, p95_ms) in changes.items()
        }
    )


def test_a_defeat_is_told_as_plainly_as_a_victory() -> None:
    assert judged(
        static=(0, 0, 1), reactive=(30, 20, 50), ewma=(40, 10, 49), oracle=(1, 1, 1), predictive=(36, 4, 51)
    ) == (
        "violation minutes: predictive loses to reactive, 36 to 30",
        "moves a day: predictive wins against ewma, 4.0 to 10.0",
        "95th percentile of round trips: predictive loses to ewma, 51.0 ms to 49.0 ms",
    )


def test_a_95th_percentile_that_is_no_worse_is_not_spoken_of() -> None:
    assert judged(reactive=(30, 20, 50), predictive=(30, 30, 50)) == (
        "violation minutes: predictive is level with reactive, 30 to 30",
        "moves a day: predictive loses to reactive, 30.0 to 20.0",
    )


def test_the_verdict_tells_minutes_that_nobody_could_help_apart() -> None:
    scores = world(reactive=1464, predictive=1470)
    minutes, *_ = verdict({name: replace(one, unplaced_minutes=1440) for name, one in scores.items()})
    assert minutes == ("violation minutes: predictive loses to reactive, 1,470 to 1,464 (30 to 24 of placed intents)")


@pytest.mark.parametrize("names", [("predictive", "oracle"), ("reactive", "oracle")])
def test_no_verdict_on_one_side_alone(names: tuple[str, ...]) -> None:
    assert verdict(world(**dict.fromkeys(names, 1.0))) == ()


def test_the_footnote_says_what_is_worked_out() -> None:
    assert "(best reactive - policy) / (best reactive - oracle)" in GAP_TEXT
    assert "pooled over seeds" in GAP_TEXT
