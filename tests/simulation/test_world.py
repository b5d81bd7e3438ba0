"""The world: what has to hold of it whatever the seed, and that version 1 stays as it is."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from functools import cache

import numpy as np
import pytest

from foremesh.files import InputError
from foremesh.simulation import topology, world
from foremesh.simulation.demand import DAY_MINUTES, KINDS, Kind
from foremesh.simulation.incidents import What
from foremesh.simulation.network import FILLED, LOST, USED, filled, lost
from foremesh.simulation.world import PROBES, WORLD_VERSION, LinkState, World

NAME = "topozoo/Geant2012"


@cache
def _world(kind: Kind = "diurnal", seed: int = 1, days: float = 3, name: str = NAME) -> World:
    return world.build(topology.load(name), kind=kind, days=days, seed=seed)


def _idle(made: World, step: int = 1) -> LinkState:
    return made.actual(slice(0, made.minutes, step), np.zeros(len(made.links)))


def _used(made: World, step: int = 1) -> np.ndarray:
    """Share of capacity that background traffic takes, shape (links, minutes)."""
    return _idle(made, step).throughput_bps / made.capacity_bps[:, None]


def _correlation(made: World, lag: int) -> float:
    """Of the median link's utilisation with itself so many minutes later."""
    used = _used(made, 10)
    lag //= 10
    return float(np.median([np.corrcoef(row[:-lag], row[lag:])[0, 1] for row in used]))


def test_periodic_worlds_repeat_after_a_day_and_aperiodic_ones_do_not() -> None:
    day = {kind: np.mean([_correlation(_world(kind, seed), DAY_MINUTES) for seed in (1, 2)]) for kind in KINDS}
    assert day["diurnal"] > 0.7
    assert abs(day["aperiodic"]) < 0.2
    assert 0.1 < day["mixed"] < 0.6


def test_an_hour_ahead_is_like_now_in_every_world() -> None:
    assert all(_correlation(_world(kind), 60) > 0.6 for kind in KINDS)


def test_kinds_swing_equally_far() -> None:
    def swing(kind: Kind) -> float:
        loads = [_used(_world(kind, seed), 10) for seed in (1, 2)]
        return float(np.mean([np.median(used.std(axis=1) / used.mean(axis=1)) for used in loads]))

    assert swing("aperiodic") == pytest.approx(swing("diurnal"), rel=0.15)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [NAME, "sndlib/germany50"])
def test_links_are_used_as_operators_report(kind: Kind, name: str) -> None:
    busy = np.percentile(_used(_world(kind, 3, 3, name), 5), 95, axis=1)
    assert 0.35 < np.median(busy) < 0.55
    assert 0.0 < np.mean(busy > 0.85) < 0.2
    assert busy.min() > 0.02


def test_weekends_are_quieter_and_nights_too() -> None:
    total = _used(_world(days=7)).mean(axis=0).reshape(14, DAY_MINUTES)
    weekend = [day for day in range(14) if day % 7 >= 5]
    assert total[weekend].mean() < 0.95 * np.delete(total, weekend, axis=0).mean()
    hours = total.reshape(14, 24, 60).mean(axis=(0, 2))  # Geant lies an hour or two east of UTC
    assert hours[1:5].mean() < 0.75 * hours[12:21].mean()


def test_a_clock_farther_east_peaks_earlier() -> None:
    def peak_h(name: str) -> float:
        mean = _used(_world(name=name, days=7)).mean(axis=0).reshape(14, 24, 60).mean(axis=(0, 2))
        return float(np.angle(mean @ np.exp(2j * np.pi * np.arange(24) / 24)) * 24 / (2 * np.pi)) % 24

    europe, america = peak_h(NAME), peak_h("topozoo/Abilene")
    assert 4 < (america - europe) % 24 < 9


def test_whatever_is_up_has_sound_figures() -> None:
    for kind in KINDS:
        made = _world(kind)
        state = _idle(made)
        probed = made.probed(slice(0, made.minutes), state)
        assert np.isfinite(state.rtt_ms[state.up]).all()
        assert (state.rtt_ms[state.up] > 0.3).all()
        for share in (state.loss, probed.loss):
            assert ((share >= 0) & (share <= 1)).all()
        for rate in (state.throughput_bps, state.free_bps):
            assert ((rate >= 0) & (rate <= made.capacity_bps[:, None])).all()
        assert (probed.rtt_ms[np.isfinite(probed.rtt_ms)] > 0).all()
        assert (np.isfinite(probed.rtt_ms) == (probed.loss < 1)).all()


def test_both_directions_share_round_trip_and_fate() -> None:
    made = _world()
    state = _idle(made)
    back = [made.links.index(link.reverse) for link in made.links]
    np.testing.assert_allclose(state.rtt_ms, state.rtt_ms[back], rtol=1e-5)
    assert (state.up == state.up[back]).all()


def test_cut_links_answer_nothing_and_carry_nothing() -> None:
    made = _world()
    state = made.actual(slice(0, made.minutes), np.full(len(made.links), 50e6))
    probed = made.probed(slice(0, made.minutes), state)
    cut = ~state.up
    assert cut.any()
    assert np.isnan(state.rtt_ms[cut]).all()
    assert np.isnan(probed.rtt_ms[cut]).all()
    assert (state.loss[cut] == 1).all()
    assert (probed.loss[cut] == 1).all()
    assert (state.throughput_bps[cut] == 0).all()
    assert (state.free_bps[cut] == 0).all()


def test_a_cut_sends_background_traffic_around() -> None:
    made = _world()
    load, up = made._load_bps, made._up
    cut = next(one for one in made.incidents if one.what is What.CUT and up[one.start_minute - 1].all())
    before, after = load[cut.start_minute - 1], load[cut.start_minute]
    down = ~up[cut.start_minute]
    assert (after[down] == 0).all()
    assert (after[~down] - before[~down]).max() > 0.5 * before[down].max()


def test_own_traffic_raises_delay_and_loss_and_takes_bandwidth() -> None:
    made = _world()
    minutes = slice(made.warmup_minutes + 600, made.warmup_minutes + 1200)
    states = [made.actual(minutes, np.full(len(made.links), rate)) for rate in (0.0, 1e8, 1e9, 5e9, 2e10)]
    for less, more in itertools.pairwise(states):
        up = less.up
        assert (more.rtt_ms[up] >= less.rtt_ms[up]).all()
        assert more.rtt_ms[up].mean() > less.rtt_ms[up].mean()
        assert (more.loss[up] >= less.loss[up] - 1e-9).all()
        assert (more.free_bps[up] <= less.free_bps[up]).all()
    assert (states[-1].free_bps == 0).all()


def test_own_traffic_on_one_link_delays_that_link_and_its_way_back_alone() -> None:
    made = _world()
    minutes, own = slice(600, 660), np.zeros(len(made.links))
    own[0] = 4e9
    moved = np.flatnonzero((made.actual(minutes, own).rtt_ms > made.actual(minutes, own * 0).rtt_ms + 1e-6).any(axis=1))
    assert set(moved) == {0, made.links.index(made.links[0].reverse)}


def test_own_traffic_may_change_by_the_minute() -> None:
    made = _world()
    own = np.outer(np.arange(1.0, len(made.links) + 1), np.linspace(0, 1e7, 30))
    together = made.actual(slice(100, 130), own)
    for minute in (0, 13, 29):
        alone = made.actual(slice(100 + minute, 101 + minute), own[:, minute])
        np.testing.assert_array_equal(together.rtt_ms[:, minute], alone.rtt_ms[:, 0])


def test_queues_grow_smoothly_up_to_their_buffer() -> None:
    assert (np.diff(FILLED) > 0).all()
    assert (np.diff(LOST) >= 0).all()
    assert np.diff(FILLED)[USED[1:] <= 1.2].max() < 0.03
    assert filled(np.array([0.0, 0.7, 0.9, 1.0])) == pytest.approx([0, 0.0233, 0.09, 0.5], rel=0.02)
    assert filled(np.array([100.0]))[0] < 1
    assert lost(np.array([0.5, 0.9]))[1] < 1e-5
    assert 0.015 < lost(np.array([1.2]))[0] < 0.03


def test_probes_scatter_about_the_truth() -> None:
    made = _world()
    state = _idle(made)
    probed = made.probed(slice(0, made.minutes), state)
    off = (probed.rtt_ms - state.rtt_ms)[state.up & (probed.loss < 1)]
    assert abs(off.mean()) < 0.01
    assert 0.02 < off.std() < 1.0
    assert probed.loss.mean() == pytest.approx(state.loss.mean(), rel=0.1)
    np.testing.assert_array_equal(probed.throughput_bps, state.throughput_bps)
    assert set(np.unique(np.rint(probed.loss * PROBES))) <= set(range(PROBES + 1))


def test_probes_are_lost_binomially() -> None:
    made = _world()
    shape = (len(made.links), 2000)
    full = np.ones(shape)
    state = LinkState(10 * full, 0.03 * full, full, full, np.ones(shape, dtype=bool))
    failed = made.probed(slice(0, 2000), state).loss * PROBES
    assert failed.mean() == pytest.approx(0.03 * PROBES, rel=0.01)
    assert failed.var() == pytest.approx(PROBES * 0.03 * 0.97, rel=0.02)


def test_a_few_minutes_are_the_same_as_the_same_minutes_of_many() -> None:
    made = _world()
    own = np.full(len(made.links), 3e7)
    whole = made.probed(slice(0, 3000), made.actual(slice(0, 3000), own))
    few = made.probed(slice(2000, 2005), made.actual(slice(2000, 2005), own))
    for name in ("rtt_ms", "loss", "throughput_bps", "free_bps", "up"):
        np.testing.assert_array_equal(getattr(few, name), getattr(whole, name)[:, 2000:2005])


def test_the_same_seed_gives_the_same_world_and_another_one_another() -> None:
    first = world.build(topology.load(NAME), days=1, seed=7)
    again = world.build(topology.load(NAME), days=1, seed=7)
    other = world.build(topology.load(NAME), days=1, seed=8)
    minutes, own = slice(0, first.minutes), np.full(len(first.links), 1e8)
    states = [made.probed(minutes, made.actual(minutes, own)) for made in (first, again, other)]
    np.testing.assert_array_equal(states[0].rtt_ms, states[1].rtt_ms)
    np.testing.assert_array_equal(states[0].loss, states[1].loss)
    assert first.incidents == again.incidents != other.incidents
    assert not np.allclose(states[0].throughput_bps, states[2].throughput_bps)


def test_one_processor_makes_the_same_world_as_many() -> None:
    script = (
        "import hashlib; from foremesh.simulation import topology, world;"
        "made = world.build(topology.load('topozoo/Abilene'), days=1, seed=3);"
        "print(hashlib.sha256(made._load_bps.tobytes()).hexdigest())"
    )
    found = {
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", script],
            env={**os.environ, "OPENBLAS_NUM_THREADS": threads},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for threads in ("1", "2")
    }
    assert len(found) == 1


def test_kinds_share_incidents_probes_and_mean_demand() -> None:
    worlds = [_world(kind) for kind in KINDS]
    assert worlds[0].incidents == worlds[1].incidents == worlds[2].incidents
    assert (worlds[0]._luck == worlds[1]._luck).all()
    means = [_used(made).mean(axis=1) for made in worlds]
    assert np.corrcoef(means[0], means[1])[0, 1] > 0.95


def test_incidents_come_as_often_as_stated() -> None:
    place = topology.load(NAME)
    shape = world._Shape(place)
    days, corridors, seeds = 3, len(shape.corridors), 120
    counts = {what: [] for what in What}
    lasting = []
    for seed in range(seeds):
        streams = np.random.SeedSequence(seed).spawn(len(world.STREAMS))
        rng = dict(zip(world.STREAMS, map(np.random.default_rng, streams), strict=True))
        found = world.strike(shape.corridors, shape.ends, shape.usual_ms, days * DAY_MINUTES, rng)
        for what in What:
            counts[what].append(sum(one.what is what for one in found))
        lasting += [one.minutes for one in found if one.what is What.CUT]
    mean = {what: np.mean(each) for what, each in counts.items()}
    assert mean[What.CUT] == pytest.approx(corridors * days / 30 * 1.45, rel=0.15)
    assert mean[What.BROWN_OUT] == pytest.approx(corridors * days / 30, rel=0.15)
    assert mean[What.LOSS] == pytest.approx(corridors * days / 30, rel=0.15)
    assert mean[What.REROUTE] == pytest.approx(corridors * days * 0.178, rel=0.15)
    troubles = np.sum([counts[what] for what in (What.CUT, What.BROWN_OUT, What.LOSS)], axis=0)
    assert troubles.min() > 3
    assert troubles.max() < 60
    assert np.mean(np.array(lasting) <= 10) > 0.5


def test_incidents_are_seen_on_their_links() -> None:
    made = _world()
    state = _idle(made)
    for one in made.incidents:
        a, _, b = one.corridor.partition("--")
        row = next(
            i for i, link in enumerate(made.links) if {link.src, link.dst} == {f"simulated/{a}", f"simulated/{b}"}
        )
        if one.what is What.CUT:
            assert not state.up[row, one.span].any()
        else:
            here = state.up[row, one.span]
            assert (state.loss[row, one.span][here] >= one.loss - 1e-6).all()


def test_reroutes_shift_the_base_and_go_back() -> None:
    made = _world()
    base = made._base_ms
    usual = np.median(base, axis=0)
    off = np.abs(base - usual) > 1e-3
    assert 0.005 < off.mean() < 0.2
    assert (base > 0.85 * usual).all()


def test_components_do_not_disturb_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    place = topology.load("topozoo/Abilene")
    before = world.build(place, days=1, seed=5)
    monkeypatch.setattr("foremesh.simulation.incidents.CUTS_PER_DAY", 1.0)
    after = world.build(place, days=1, seed=5)
    assert sum(one.what is What.CUT for one in after.incidents) > sum(one.what is What.CUT for one in before.incidents)
    others = [[one for one in made.incidents if one.what is not What.CUT] for made in (before, after)]
    assert others[0] == others[1]
    calm = before._up.all(axis=1) & after._up.all(axis=1)
    np.testing.assert_array_equal(before._load_bps[calm], after._load_bps[calm])
    np.testing.assert_array_equal(before._noise, after._noise)


def test_given_demands_decide_who_sends() -> None:
    place = topology.load("topozoo/Abilene")
    made = world.build(place, days=1, seed=1, demands={("new-york", "los-angeles"): 1.0})
    assert np.isfinite(made._load_bps).all()
    assert (made._load_bps.mean(axis=0) > 0).all()


@pytest.mark.parametrize(
    ("kind", "days"), [("weekly", 1.0), ("diurnal", 0.0), ("diurnal", -1.0), ("diurnal", float("nan"))]
)
def test_a_world_that_makes_no_sense_is_refused(kind: Kind, days: float) -> None:
    with pytest.raises(ValueError, match="use one of diurnal, aperiodic, mixed, and days above 0"):
        world.build(topology.load("topozoo/Abilene"), kind=kind, days=days, seed=1)


def test_a_world_too_large_for_memory_is_refused_before_it_is_made() -> None:
    with pytest.raises(InputError, match="do not fit memory; simulate 352 days"):
        world.build(topology.load(NAME), days=400, seed=1)


def test_the_first_days_are_for_learning() -> None:
    made = _world(days=0.5)
    assert made.warmup_minutes == 7 * DAY_MINUTES
    assert made.minutes == 7 * DAY_MINUTES + 720


def test_version_1_is_as_it_was() -> None:
    """Whoever changes a parameter makes a new version: new figures here, a new number, a line in the change log."""
    assert WORLD_VERSION == 1
    found: dict[str, float] = {}
    for kind in KINDS:
        made = world.build(topology.load("topozoo/Abilene"), kind=kind, days=1, seed=1)
        minutes = slice(0, made.minutes)
        state = made.actual(minutes, np.full(len(made.links), 2e8))
        probed = made.probed(minutes, state)
        found |= {
            f"{kind} rtt mean": float(np.nanmean(state.rtt_ms)),
            f"{kind} rtt p99": float(np.nanpercentile(state.rtt_ms, 99)),
            f"{kind} Gbit/s": float(state.throughput_bps.mean()) / 1e9,
            f"{kind} Gbit/s spread": float(state.throughput_bps.std(axis=1).mean()) / 1e9,
            f"{kind} loss": float(state.loss.mean()),
            f"{kind} probe spread": float(np.nanstd(probed.rtt_ms - state.rtt_ms)),
        }
    found |= {
        "incidents": float(len(made.incidents)),
        "incident minutes": float(sum(one.minutes for one in made.incidents)),
        "added ms": float(sum(one.added_ms for one in made.incidents)),
        "down": float((~state.up).mean()),
    }
    assert found == pytest.approx(VERSION_1, rel=1e-3)


VERSION_1 = {
    "diurnal rtt mean": 13.817,
    "diurnal rtt p99": 29.2777,
    "diurnal Gbit/s": 1.77498,
    "diurnal Gbit/s spread": 0.421119,
    "diurnal loss": 0.00119471,
    "diurnal probe spread": 0.193083,
    "aperiodic rtt mean": 13.8339,
    "aperiodic rtt p99": 26.3667,
    "aperiodic Gbit/s": 1.82031,
    "aperiodic Gbit/s spread": 0.403124,
    "aperiodic loss": 0.00122292,
    "aperiodic probe spread": 0.193327,
    "mixed rtt mean": 14.043,
    "mixed rtt p99": 40.7407,
    "mixed Gbit/s": 1.858,
    "mixed Gbit/s spread": 0.373528,
    "mixed loss": 0.00130063,
    "mixed probe spread": 0.278552,
    "incidents": 24,
    "incident minutes": 10242,
    "added ms": 124.6,
    "down": 0.00100446,
}
