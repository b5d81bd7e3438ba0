"""What the report says of a simulated day is what happened in it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from foremesh.cli import report
from foremesh.drawing import render_report
from foremesh.files import read_bundle
from foremesh.model.series import Metric
from foremesh.simulation import topology
from foremesh.simulation.contest import Contest
from foremesh.simulation.history import Measured
from foremesh.simulation.policies import POLICIES, Expectation, last_value
from foremesh.simulation.run import Run, run
from foremesh.simulation.scene import Scene
from foremesh.simulation.score import GAP_TEXT
from foremesh.simulation.world import World

EXAMPLE = Path(__file__).parents[2] / "manifests" / "examples" / "three-clouds"


@pytest.fixture(scope="module")
def played() -> tuple[Contest, Scene, World, Run, Measured]:
    """An hour of the example, and all that was measured in it."""
    bundle = read_bundle(EXAMPLE)
    contest = Contest(
        topology=topology.from_bundle(bundle, EXAMPLE), days=62 / 1440, bundle=bundle, policies=("reactive",)
    )
    scene, world = contest.prepare(2)
    seen: list[Measured] = []

    def expect(measured: Measured) -> Expectation:
        seen.append(measured)
        return last_value(measured)

    return contest, scene, world, run(scene, world, replace(POLICIES["reactive"], expect=expect)), seen[-1]


def test_links_tell_what_was_measured_in_the_last_minute(played: tuple[Contest, Scene, World, Run, Measured]) -> None:
    _, scene, world, done, measured = played
    told = report.observed(scene, world, done)
    assert list(told) == list(measured.links)
    for metric, values in (
        (Metric.RTT, [one.rtt_ms for one in told.values()]),
        (Metric.LOSS, [one.loss for one in told.values()]),
        (Metric.THROUGHPUT, [one.throughput_bps for one in told.values()]),
    ):
        np.testing.assert_allclose(np.array(values, dtype=float), measured.newest(metric, 1)[:, 0], rtol=1e-6)


def test_the_report_has_them(played: tuple[Contest, Scene, World, Run, Measured]) -> None:
    contest, scene, world, done, _ = played
    mesh = report.of_runs(contest, 2, {"reactive": done}).mesh
    assert mesh.observed
    told = report.observed(scene, world, done)
    ways = [way for edge in mesh.edges for way in (edge.there, edge.back) if way]
    assert {way.link.id: way.observed for way in ways} == told


def test_a_forecast_is_judged_by_its_median_and_its_pessimistic_end() -> None:
    actual = np.array([10.0, 12.0, np.nan, 20.0, 9.0])
    median = np.array([10.0, 10.0, 10.0, 10.0, np.nan])
    high = np.array([11.0, 12.0, 12.0, 12.0, 12.0])
    error_ms, below_p90 = report.judged(actual, median, high)
    assert error_ms == pytest.approx((0 + 2 + 10) / 3)
    assert below_p90 == pytest.approx(2 / 3)
    assert report.judged(actual[2:3], median[2:3], high[2:3]) == (None, None)


def test_intents_tell_who_forecast_them_and_how_well(played: tuple[Contest, Scene, World, Run, Measured]) -> None:
    contest, scene, _, done, _ = played
    told = report.intents(scene, done)
    placed = [one for one in told if one.path]
    assert len(placed) == 5
    for one in placed:
        assert one.series is not None
        assert one.forecasters == ("last",)
        assert one.error_ms == pytest.approx(np.nanmean(np.abs(one.series.actual_ms - one.series.forecast_ms)))
        assert one.error_ms > 0
        assert 0 < one.below_p90 < 1
    found = report.as_json(told)[placed[0].name]
    assert found["forecasters"] == ["last"]
    assert found["forecast_error_ms"] == pytest.approx(placed[0].error_ms, abs=1e-3)
    assert found["share_below_p90"] == pytest.approx(placed[0].below_p90, abs=1e-3)
    text = render_report(report.of_runs(contest, 2, {"reactive": done}))
    assert text.count("Forecast at the end by last.") == 5


def test_the_impossible_intent_is_told_apart(played: tuple[Contest, Scene, World, Run, Measured]) -> None:
    contest, scene, _, done, _ = played
    never = [one for one in report.intents(scene, done) if one.unplaced_minutes]
    assert [(one.name, one.unplaced_minutes) for one in never] == [("three-clouds/live-stock-from-asia", 62.0)]
    whole = report.of_runs(contest, 2, {"reactive": done})
    missed = int(done.violated.sum()) - 62
    assert f"missed a requirement in {missed} minutes, all intents with a path together" in whole.summary
    assert "1 intent never had a path: another 62 minutes." in whole.summary
    assert [one.unplaced_minutes for one in whole.policies] == [62.0]
    assert whole.gap_text == GAP_TEXT
