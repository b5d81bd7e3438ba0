"""The policies that compete: rivals are what they say, ours is the operator, and circuits remember their moves."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise

import pytest
from msgspec import structs

from foremesh.decide.planning import planner_settings
from foremesh.model.circuit import Figures
from foremesh.model.plan import Path, Placement
from foremesh.settings import PlanningSettings
from foremesh.simulation.carried import Carried
from foremesh.simulation.policies import HYSTERESIS_MS, MARGIN, POLICIES, REACTIVE
from simulation import small
from simulation.small import LINKS

DAY = datetime(2025, 1, 6, tzinfo=UTC)


def test_ours_moves_as_the_operator_does_by_default() -> None:
    assert POLICIES["predictive"].settings == planner_settings(PlanningSettings(), runners_up=0)


@pytest.mark.parametrize("name", REACTIVE)
def test_a_rival_is_held_back_by_nothing_but_its_own_margin(name: str) -> None:
    settings = POLICIES[name].settings
    assert not settings.weigh_risk
    assert (settings.move_worth, settings.dwell_s, settings.most_moves) == (0.0, 0.0, 1.0)
    expected = {"reactive-hysteresis": (0.0, HYSTERESIS_MS), "reactive-margin": (MARGIN, 0.0)}
    assert (settings.margin, settings.margin_ms) == expected.get(name, (0.0, 0.0))


def on(*names: str) -> Placement:
    gateways = tuple(f"m/{name}" for name in names)
    steps = list(pairwise(gateways))
    links = tuple(link for step in steps for link in LINKS if (link.src, link.dst) == step)
    path = Path(gateways=gateways, links=links, figures=Figures())
    return Placement(intent="m/a-to-d", source="m/a", destination="m/d", path=path)


def test_a_circuit_remembers_when_it_moved_and_from_where() -> None:
    scene = small.scene(small.demand())
    first = Carried(scene, [on("a", "b", "d")])
    (circuit,) = first.circuits
    assert (circuit.status.moved_at, circuit.status.moved_from) == (None, ())
    moved = Carried(scene, [on("a", "c", "d")], first, now_s=DAY.timestamp())
    later = Carried(scene, [on("a", "c", "d")], moved, now_s=DAY.timestamp() + 300)
    for one in (moved, later):
        (circuit,) = one.circuits
        assert (circuit.status.moved_at, circuit.status.moved_from) == (DAY, ("m/a", "m/b", "m/d"))
    lost = Carried(scene, [structs.replace(on("a", "c", "d"), path=None)], later, now_s=DAY.timestamp() + 600)
    assert lost.moved == later.moved
