"""Policies in worlds small enough to know what they should do."""

from __future__ import annotations

import numpy as np
import pytest

from foremesh.model.intent import Requirements
from foremesh.model.units import Milliseconds
from foremesh.simulation import scene as scenes
from foremesh.simulation import topology, world
from foremesh.simulation.policies import POLICIES, REACTIVE
from foremesh.simulation.run import Run, run
from simulation import small

WARMUP = 120

ASKED = Requirements(max_latency=Milliseconds(20))

MOVING = (*REACTIVE, "predictive", "oracle")


def played(policy: str, *changes: tuple[int, str, float | None]) -> Run:
    scene = small.scene(small.demand(requirements=ASKED))
    return run(scene, small.Scripted(changes, warmup=WARMUP), POLICIES[policy])


def test_every_policy_takes_the_shortest_path_of_a_quiet_world() -> None:
    for policy in POLICIES:
        found = played(policy)
        assert found.placements[0].path.text == "a > b > d", policy
        assert not found.violated.any(), policy
        assert not found.moves, policy


@pytest.mark.parametrize("policy", ["direct", "static"])
def test_those_who_look_nothing_up_never_move(policy: str) -> None:
    found = played(policy, (150, "ab", 40.0))
    assert not found.moves
    assert found.violated[0, 30:].all()


@pytest.mark.parametrize("policy", REACTIVE[:2])
def test_who_reacts_is_late_by_one_plan(policy: str) -> None:
    found = played(policy, (152, "ab", 40.0))
    (move,) = found.moves
    assert (move.before, move.after, move.minute) == ("a > b > d", "a > c > d", 35)
    assert found.violated[0].nonzero()[0].tolist() == [32, 33, 34]


def test_the_oracle_moves_before_it_happens() -> None:
    found = played("oracle", (152, "ab", 40.0))
    (move,) = found.moves
    assert move.minute == 30
    assert not found.violated.any()


@pytest.mark.parametrize("policy", MOVING)
def test_a_cut_is_left_at_the_next_plan(policy: str) -> None:
    found = played(policy, (152, "ab", None))
    assert found.placements[0].path.text == "a > c > d"
    assert found.violated[0].nonzero()[0].tolist() == ([] if policy == "oracle" else [32, 33, 34])


@pytest.mark.parametrize("policy", [name for name in POLICIES if name != "oracle"])
def test_nobody_but_the_oracle_knows_the_future(policy: str) -> None:
    calm, later = played(policy), played(policy, (200, "ab", 90.0))
    assert (calm.rtt_ms[:, :80] == later.rtt_ms[:, :80]).all()
    assert (calm.predicted_ms[:, :, :16] == later.predicted_ms[:, :, :16]).all()


def test_minutes_without_a_path_are_minutes_missed() -> None:
    scene = small.scene(small.demand(requirements=Requirements(max_latency=Milliseconds(9))))
    found = run(scene, small.Scripted([], warmup=WARMUP), POLICIES["predictive"])
    assert found.violated.all()
    assert np.isnan(found.rtt_ms).all()
    assert "maxLatency: asked 9ms, nearest 10ms by a > b > d" in found.placements[0].reason


def test_egress_is_what_was_sent_times_its_price() -> None:
    ab = small.LINKS[0]
    scene = small.scene(small.demand(requirements=ASKED), prices={ab: 0.08})
    found = run(scene, small.Scripted([], warmup=WARMUP), POLICIES["static"])
    sent_gb = scenes.UNASKED_BPS * 120 * 60 / 8e9
    assert found.egress_usd == pytest.approx(0.08 * sent_gb)


def test_the_same_seed_gives_the_same_run() -> None:
    place = topology.load("topozoo/Abilene")
    made = [
        run(
            scenes.synthetic(place, seed=3, intents=8),
            world.build(place, days=0.1, seed=3),
            POLICIES["predictive"],
        )
        for _ in range(2)
    ]
    assert np.array_equal(made[0].rtt_ms, made[1].rtt_ms, equal_nan=True)
    assert made[0].moves == made[1].moves


@pytest.mark.parametrize("seed", [1, 2])
def test_the_oracle_is_beaten_by_nobody(seed: int) -> None:
    place = topology.load("topozoo/Abilene")
    scene, made = scenes.synthetic(place, seed=seed, intents=12), world.build(place, days=0.5, seed=seed)
    missed = {name: int(run(scene, made, policy).violated.sum()) for name, policy in POLICIES.items()}
    assert missed["oracle"] == min(missed.values())


def test_made_up_intents_can_be_had_on_idle_links_and_follow_the_seed() -> None:
    place = topology.load("topozoo/Abilene")
    one, same, other = (scenes.synthetic(place, seed=seed, intents=10) for seed in (1, 1, 2))
    assert one.demands == same.demands
    assert one.demands != other.demands
    assert len({demand.key for demand in one.demands}) == 10
    found = run(one, world.build(place, days=0.05, seed=1), POLICIES["static"])
    assert all(placement.path for placement in found.placements)
