"""What counts as a requirement missed, rule by rule."""

from __future__ import annotations

import numpy as np
import pytest

from foremesh.model.intent import Requirements
from foremesh.model.plan import Placement
from foremesh.model.units import Bandwidth, Milliseconds, Ratio
from foremesh.routing import Planner, PlannerSettings, build_graph
from foremesh.simulation.carried import Carried
from foremesh.simulation.policies import idle
from simulation import small

ASKED = Requirements(max_latency=Milliseconds(20), min_bandwidth=Bandwidth(1e8), max_loss=Ratio(0.01))


def carried(requirements: Requirements = ASKED) -> Carried:
    """One demand, on a > b > d."""
    scene = small.scene(small.demand(requirements=requirements))
    expected = idle(scene.links, np.array([scene.base_rtt_ms[link] for link in scene.links]))
    graph = build_graph(scene.gateways, scene.links, expected, scene.facts)
    (placement,) = Planner(scene.demands, (), PlannerSettings()).plan(graph, (), made_at_s=0.0).placements
    assert placement.path is not None
    assert placement.path.text == "a > b > d"
    return Carried(scene, [placement])


@pytest.mark.parametrize(
    ("links", "missed"),
    [
        pytest.param({}, False, id="idle-links-keep-everything"),
        pytest.param({"ab": {"rtt_ms": 15.0}}, False, id="a-round-trip-as-long-as-asked-is-short-enough"),
        pytest.param({"ab": {"rtt_ms": 15.1}}, True, id="a-round-trip-longer-than-asked"),
        pytest.param({"ac": {"rtt_ms": 99.0}}, False, id="links-of-other-paths-do-not-count"),
        pytest.param({"ab": {"loss": 0.006}, "bd": {"loss": 0.006}}, True, id="losses-add-up"),
        pytest.param({"ab": {"loss": 0.006}}, False, id="less-loss-than-asked"),
        pytest.param({"bd": {"up": 0}}, True, id="a-cut-link"),
        pytest.param({"bd": {"free_bps": 0.0}}, True, id="a-full-link"),
        pytest.param({"db": {"free_bps": 0.0}}, False, id="full-on-the-way-back-where-nothing-was-asked"),
    ],
)
def test_misses(links: dict[str, dict[str, float]], missed: bool) -> None:
    _, found = carried().judge(small.state(**links))
    assert found.tolist() == [[missed]]


def test_a_full_link_is_nothing_to_who_asked_for_no_bandwidth() -> None:
    _, found = carried(Requirements(max_latency=Milliseconds(20))).judge(small.state(bd={"free_bps": 0.0}))
    assert not found.any()


def test_not_to_be_placed_is_to_miss_everything() -> None:
    scene = small.scene(small.demand())
    nowhere = Carried(scene, [Placement(intent="m/a-to-d", source="m/a")])
    rtt_ms, found = nowhere.judge(small.state(minutes=3))
    assert np.isnan(rtt_ms).all()
    assert found.all()
    assert not nowhere.own_bps.any()
    assert nowhere.circuits == ()


def test_round_trips_are_sums_and_unknown_while_cut_off() -> None:
    rtt_ms, _ = carried().judge(small.state(ab={"rtt_ms": 8.0}))
    assert rtt_ms.tolist() == [[13.0]]
    rtt_ms, _ = carried().judge(small.state(ab={"up": 0}))
    assert np.isnan(rtt_ms).all()


def test_traffic_is_on_the_links_of_the_path_and_nowhere_else() -> None:
    own = dict(zip((f"{link.src[-1]}{link.dst[-1]}" for link in small.LINKS), carried().own_bps, strict=True))
    assert {name for name, bps in own.items() if bps} == {"ab", "bd"}
    assert own["ab"] == 1e8
