"""What the report says of a simulated day is what happened in it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from foremesh.cli import report
from foremesh.files import read_bundle
from foremesh.model.series import Metric
from foremesh.simulation import topology
from foremesh.simulation.contest import Contest
from foremesh.simulation.history import Measured
from foremesh.simulation.policies import POLICIES, Expectation, last_value
from foremesh.simulation.run import Run, run
from foremesh.simulation.scene import Scene
from foremesh.simulation.world import World

EXAMPLE = Path(__file__).parents[2] / "manifests" / "examples" / "three-clouds"


@pytest.fixture(scope="module")
def played() -> tuple[Contest, Scene, World, Run, Measured]:
    """An hour of the example, and all that was measured in it."""
    bundle = read_bundle(EXAMPLE)
    contest = Contest(topology=topology.from_bundle(bundle), days=62 / 1440, bundle=bundle, policies=("reactive",))
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
