"""How links queue is learnt from what counters and probes saw together, and not from anything else that happened."""

from __future__ import annotations

import numpy as np
import pytest

from foremesh.forecast import queueing_ms
from foremesh.model.link import LinkId
from foremesh.model.series import Floats, Metric, SeriesBatch

STEP_S = 300.0
NOW_S = 1_700_000_400.0
THERE = LinkId(src="a", dst="b")
BACK = THERE.reverse
CAPACITY = {THERE: 1e9, BACK: 1e9}
RISE_MS = 0.4
WEEK = np.arange(2016)


def used(seed: int = 1, most: float = 0.8) -> Floats:
    """Shares in use, both ways: a day's rhythm with noise."""
    rng = np.random.default_rng(seed)
    wave = 0.5 - 0.5 * np.cos(2 * np.pi * WEEK / 288 + np.array([[0.0], [0.5]]))
    return np.clip(0.1 + (most - 0.1) * wave + 0.03 * rng.standard_normal((2, len(WEEK))), 0.0, 0.99)


def delay_ms(shares: Floats, seed: int = 2, noise_ms: float = 0.05) -> Floats:
    queue = (shares / (1 - shares)).sum(axis=0)
    return 20.0 + RISE_MS * queue + noise_ms * np.random.default_rng(seed).standard_normal(len(WEEK))


def learnt(rtt_ms: Floats, shares: Floats, late_s: float = 0.0, **capacity: float) -> dict[LinkId, float]:
    rtt = SeriesBatch(Metric.RTT, (THERE,), rtt_ms[None], STEP_S, NOW_S)
    throughput = SeriesBatch(Metric.THROUGHPUT, (THERE, BACK), 1e9 * shares, STEP_S, NOW_S + late_s)
    return dict(queueing_ms(rtt, throughput, CAPACITY))


def test_it_is_found_where_it_shows() -> None:
    assert learnt(delay_ms(used()), used()) == {THERE: pytest.approx(RISE_MS, rel=0.1)}


def test_reroutes_and_incidents_are_no_queues() -> None:
    rtt_ms = delay_ms(used())
    rtt_ms[700:] += 9.0
    rtt_ms[1200:1206] += 80.0
    assert learnt(rtt_ms, used()) == {THERE: pytest.approx(RISE_MS, rel=0.15)}


def test_gaps_are_left_out() -> None:
    rtt_ms, shares = delay_ms(used()), used()
    rtt_ms[::7], shares[0, ::11] = np.nan, np.nan
    assert learnt(rtt_ms, shares) == {THERE: pytest.approx(RISE_MS, rel=0.1)}


def test_a_link_that_is_as_good_as_full_says_nothing_of_how_it_fills() -> None:
    shares = used(most=0.99)
    rtt_ms = delay_ms(np.minimum(shares, 0.93))  # there the buffer ends
    assert learnt(rtt_ms, shares) == {THERE: pytest.approx(RISE_MS, rel=0.15)}


def test_pasts_that_were_read_at_different_times_are_laid_side_by_side() -> None:
    shares = used()
    rtt_ms = delay_ms(shares)
    assert learnt(rtt_ms, np.roll(shares, -6, axis=1), late_s=6 * STEP_S) == {THERE: pytest.approx(RISE_MS, rel=0.1)}
    assert learnt(rtt_ms, np.roll(shares, 6, axis=1), late_s=-6 * STEP_S) == {THERE: pytest.approx(RISE_MS, rel=0.1)}


@pytest.mark.parametrize("seed", range(8))
def test_noise_is_no_queue(seed: int) -> None:
    rtt_ms = 20.0 + np.random.default_rng(seed).standard_normal(len(WEEK))
    assert learnt(rtt_ms, used(seed + 100)) == {}


def test_nothing_is_said_without_a_past_or_a_capacity_or_at_different_steps() -> None:
    rtt = SeriesBatch(Metric.RTT, (THERE,), delay_ms(used())[None], STEP_S, NOW_S)
    throughput = SeriesBatch(Metric.THROUGHPUT, (THERE, BACK), 1e9 * used(), STEP_S, NOW_S)
    finer = SeriesBatch(Metric.THROUGHPUT, (THERE, BACK), 1e9 * used(), STEP_S / 5, NOW_S)
    short = SeriesBatch(Metric.RTT, (THERE,), delay_ms(used())[None, :50], STEP_S, NOW_S)
    assert queueing_ms(rtt, throughput, CAPACITY)
    assert queueing_ms(rtt, throughput, {THERE: 1e9}) == {}
    assert queueing_ms(None, throughput, CAPACITY) == {}
    assert queueing_ms(rtt, None, CAPACITY) == {}
    assert queueing_ms(rtt, finer, CAPACITY) == {}
    assert queueing_ms(short, throughput, CAPACITY) == {}
