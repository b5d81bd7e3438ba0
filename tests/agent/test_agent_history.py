"""What probes say: one-way variation whatever the clocks do, sizes that pass whatever is lost, latencies that are."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foremesh.agent.clocks import MOST_AGE_NS, WallClock
from foremesh.agent.history import MTU_ATTEMPTS, History, PathMtu, Variation
from foremesh.agent.targets import LINK_SIZES
from foremesh.agent.train import LEAST_PACKETS, TRAIN_PACKETS, TRAINS, Arrivals, Estimate

MS = 1_000_000
SMALL = 73

ways_ns = st.lists(st.tuples(st.integers(0, 200 * MS), st.integers(0, 200 * MS)), min_size=3, max_size=60)


@given(ways_ns, st.integers(-(10**18), 10**18))
def test_variation_does_not_depend_on_what_the_clocks_differ(ways: list[tuple[int, int]], ahead_ns: int) -> None:
    true, seen = Variation(), Variation()
    for there, back in ways:
        true.add(there, back)
        seen.add(there + ahead_ns, back - ahead_ns)
    assert (seen.forward_s, seen.reverse_s) == (true.forward_s, true.reverse_s)


@given(ways_ns, st.data())
def test_a_clock_that_is_set_by_more_than_round_trips_does_not_show(
    ways: list[tuple[int, int]], data: st.DataObject
) -> None:
    """What is compared across the step is left out: the rest is as if there had been a pause."""
    at = data.draw(st.integers(1, len(ways) - 1))
    step_ns = data.draw(st.sampled_from((-1, 1))) * data.draw(st.integers(1_000 * MS, 10**18))
    true, seen = Variation(), Variation()
    for place, (there, back) in enumerate(ways):
        if place == at:
            true.interrupt()
        true.add(there, back)
        ahead_ns = step_ns if place >= at else 0
        seen.add(there + ahead_ns, back - ahead_ns)
    assert (seen.forward_s, seen.reverse_s) == (true.forward_s, true.reverse_s)


def test_each_way_varies_for_itself() -> None:
    variation, random = Variation(), Random(5)
    for _ in range(400):
        variation.add(round(20 * MS + random.uniform(-4, 4) * MS), round(30 * MS + random.uniform(-0.5, 0.5) * MS))
    assert variation.forward_s is not None
    assert variation.reverse_s is not None
    # Two values that are even over an interval differ by a third of it on average.
    assert variation.forward_s == pytest.approx(8e-3 / 3, rel=0.5)
    assert variation.reverse_s == pytest.approx(1e-3 / 3, rel=0.5)


class Clocks:
    """A wall clock and a raw one, read by the agent; each reading takes a little."""

    def __init__(self) -> None:
        self.now_ns, self.ahead_ns = 10**15, 1_700_000_000 * 10**9

    def raw(self) -> int:
        self.now_ns += 100
        return self.now_ns

    def wall(self) -> int:
        return self.raw() + self.ahead_ns


@pytest.mark.parametrize("step_ns", [-3_600_000 * MS, -5 * MS, 0, 5 * MS, 3_600_000 * MS], ids=str)
def test_a_wall_clock_that_was_set_between_packets_does_not_show(step_ns: int) -> None:
    clocks = Clocks()
    seen = WallClock(clocks.wall, clocks.raw)
    for _ in range(3):
        stamp, true = clocks.now_ns + clocks.ahead_ns, clocks.now_ns
        clocks.now_ns += 20_000
        seen.compare()
        assert abs(seen.raw(stamp) - true) < 1_000
        clocks.ahead_ns += step_ns


def test_a_stamp_from_another_time_is_now() -> None:
    clocks = Clocks()
    seen = WallClock(clocks.wall, clocks.raw)
    seen.compare()
    for stamp in (None, clocks.wall() - MOST_AGE_NS - MS, clocks.wall() + MS):
        assert abs(seen.raw(stamp) - clocks.now_ns) < 1_000


def probe(path: PathMtu, passes: int, loss: float = 0.0, random: Random | None = None) -> None:
    """A round over a path that lets packets of ``passes`` bytes pass and loses a share of them."""
    for size in path.round:
        if size <= passes and (random is None or random.random() >= loss):
            path.answered(size)
        else:
            path.lost(size, loss)


def settle(path: PathMtu, passes: int) -> int:
    """Rounds until nothing is in doubt."""
    for rounds in range(1, 100):
        probe(path, passes)
        if not path.in_doubt:
            return rounds
    raise AssertionError(f"in doubt for ever at {passes} bytes")


@given(st.lists(st.integers(SMALL, 1500), min_size=1, max_size=5))
def test_the_largest_size_that_passes_is_found_and_followed(paths: list[int]) -> None:
    path = PathMtu(LINK_SIZES, SMALL)
    for passes in paths:
        # Noticed with the next round; then a few to be sure of each size that is too large.
        assert settle(path, passes) <= (MTU_ATTEMPTS + 1) * len(LINK_SIZES) + 1
        assert path.mtu == max((size for size in LINK_SIZES if size <= passes), default=SMALL)


def test_smaller_sizes_wait_until_the_large_one_was_lost_several_times() -> None:
    path = PathMtu(LINK_SIZES, SMALL)
    settle(path, 1420)
    for _ in range(MTU_ATTEMPTS):
        assert path.round == (1420,)
        assert path.mtu == 1420
        path.lost(1420, 0.0)
    assert path.round == (1400,)
    assert path.mtu == 1420, "what passed last stays until it is known what passes now"


def test_mere_loss_hardly_ever_looks_like_a_smaller_path() -> None:
    random = Random(11)
    path = PathMtu(LINK_SIZES, SMALL)
    settle(path, 1420)
    lowered = 0
    for _ in range(20_000):
        probe(path, 1420, 0.3, random)
        lowered += path.mtu != 1420
    assert lowered <= 4
    assert path.mtu == 1420


def test_sizes_that_change_are_looked_for_anew_and_the_rest_of_a_history_stays() -> None:
    history = History(SMALL)
    history.check_sizes((1360,))
    history.answer(0.01)
    history.answer_full(1360)
    history.check_sizes((1360,))
    assert history.probe_report().mtu_fits
    history.check_sizes((1300,))
    history.lose_full(1360)  # was under way
    assert history.probe_report().mtu_fits is None
    assert history.answering


def test_what_is_said_after_a_silence_is_of_the_path_there_is_now() -> None:
    history = History(SMALL)
    history.answer(0.5, (250 * MS, 250 * MS))
    for _ in range(3):
        history.lose()
    history.answer(None)  # may have waited for a handshake
    assert history.answering
    assert history.rtt_ms is None
    history.answer(0.01, (5 * MS, 5 * MS))
    assert history.rtt_ms == pytest.approx(10)
    assert history.variation.forward_s is None, "not compared with what was before"
    assert history.loss == pytest.approx(3 / 6)


@given(st.floats(1e6, 1e9), st.integers(LEAST_PACKETS, TRAIN_PACKETS), st.integers(0, 10**15))
def test_a_train_tells_the_rate_it_left_the_narrowest_place_with(bps: float, packets: int, first_ns: int) -> None:
    arrivals = Arrivals()
    for place in range(packets):
        arrivals.add(round(first_ns + place * 1420 * 8 / bps * 1e9), 1420)
    assert arrivals.bps == pytest.approx(bps, rel=0.01)


@pytest.mark.parametrize("batch", [2, 4, 8])
def test_a_train_that_is_read_in_batches_tells_the_same(batch: int) -> None:
    arrivals = Arrivals()
    for place in range(TRAIN_PACKETS):
        read_at = (place // batch + 1) * batch
        arrivals.add(round(read_at * 1420 * 8 / 50e6 * 1e9), 1420)
    assert arrivals.bps == pytest.approx(50e6, rel=0.05)


def test_what_is_left_of_a_train_may_be_too_little() -> None:
    few, at_once = Arrivals(), Arrivals()
    for place in range(LEAST_PACKETS - 1):
        few.add(place * MS, 1420)
    for _ in range(TRAIN_PACKETS):
        at_once.add(0, 1420)
    assert (few.bps, at_once.bps) == (None, None)
    estimate = Estimate()
    for bps in (4e6, 90e6, 12e6, 9e6, 11e6):
        assert estimate.bps is None
        estimate.add(bps)
    assert TRAINS == 5
    assert estimate.bps == 12e6
    estimate.add(11e6)
    estimate.add(11e6)
    assert estimate.bps == 11e6, "only the newest count"
