"""What a made-up stream says about a fault: gaps, losses, convergence, moves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from convergence import scene, stream
from convergence.lane import judge
from convergence.outcome import Log, converged_ms, good, longest_gap_ms, moves, read
from convergence.scene import BEST, Kind

RATE_HZ = 500.0
BEGAN, CLEARED, ENDED = 100.0, 108.0, 112.0
OTHER_MS = 45.0
"""Delay of the best path while t2 or a link to it is cut."""


def made(delay_ms: Callable[[float], float], *, from_s: float = 95.0, to_s: float = ENDED) -> Log:
    """A stream whose packets take ``delay_ms`` of their time of sending; NaN is a loss."""
    sent = np.arange(from_s, to_s, 1 / RATE_HZ)
    return Log(sent, sent + np.array([delay_ms(at_s) for at_s in sent]) / 1e3)


def healed(after_s: float, *, before_ms: float = 37.0, now_ms: float = OTHER_MS + 1) -> Log:
    """Cut from ``BEGAN`` on, healed on the second path after that, back on the first when the fault is over."""

    def delay_ms(at_s: float) -> float:
        if BEGAN <= at_s < min(BEGAN + after_s, CLEARED):
            return np.nan
        return now_ms if BEGAN + after_s <= at_s < CLEARED + 1 else before_ms

    return made(delay_ms)


def test_a_system_that_heals_is_judged_by_its_gap() -> None:
    outcome = judge(healed(0.2), BEGAN, CLEARED, ENDED, Kind.CUT, ("t1", "t2"))
    assert outcome.gap_ms == pytest.approx(200 + OTHER_MS - 36, abs=3)
    assert not outcome.open
    assert outcome.lost == 100
    assert outcome.converged_ms == pytest.approx(200 + OTHER_MS + 1, abs=3)
    assert outcome.moves == 2  # there and back
    assert outcome.after_ms == pytest.approx(OTHER_MS + 1, abs=0.1)
    assert outcome.return_gap_ms < 12


def test_a_system_that_never_heals_has_an_open_gap() -> None:
    outcome = judge(healed(100.0), BEGAN, CLEARED, ENDED, Kind.CUT, ("t1", "t2"))
    assert outcome.open
    assert outcome.gap_ms == pytest.approx(8000, abs=5)
    assert outcome.lost == 4000
    assert outcome.converged_ms is None
    assert outcome.moves == 0
    assert outcome.return_gap_ms < 12


def test_a_path_that_is_too_long_is_no_convergence() -> None:
    outcome = judge(healed(0.2, now_ms=51.5), BEGAN, CLEARED, ENDED, Kind.CUT, ("t1", "t2"))
    assert outcome.gap_ms < 300
    assert outcome.converged_ms is None  # 51 ms is more than 10 % over 45
    assert outcome.moves == 2


def test_packets_under_way_when_a_link_is_cut_are_lost_by_the_fault() -> None:
    log = made(lambda at_s: np.nan if BEGAN - 0.03 <= at_s < BEGAN + 0.2 else 37.0)
    assert judge(log, BEGAN, CLEARED, ENDED, Kind.CUT, ("t2", "b")).lost == 115


def test_loss_that_stays_is_neither_a_long_gap_nor_a_convergence() -> None:
    lossy = np.random.default_rng(1).random(100_000) < 0.3
    log = made(lambda at_s: np.nan if BEGAN <= at_s < CLEARED and lossy[round(at_s * RATE_HZ)] else 37.0)
    outcome = judge(log, BEGAN, CLEARED, ENDED, Kind.LOSS, ("t1", "t2"))
    assert 0.27 < outcome.lost / 4000 < 0.33
    assert outcome.gap_ms < 40
    assert outcome.converged_ms is None
    assert outcome.moves == 0


def test_a_delay_that_nobody_answers_is_no_move() -> None:
    log = made(lambda at_s: 137.0 if BEGAN <= at_s < CLEARED else 37.0)
    outcome = judge(log, BEGAN, CLEARED, ENDED, Kind.DELAY, ("t1", "t2"))
    assert outcome.moves == 0
    assert outcome.lost == 0
    assert outcome.converged_ms is None
    assert outcome.gap_ms == pytest.approx(100, abs=5)


def test_flapping_is_counted_and_is_no_convergence() -> None:
    log = made(lambda at_s: 37.0 if not BEGAN <= at_s < CLEARED else (OTHER_MS + 1, 73.0)[int(at_s * 2) % 2])
    outcome = judge(log, BEGAN, CLEARED, ENDED, Kind.LOSS, ("t1", "t2"))
    assert outcome.converged_ms is None
    assert 14 <= outcome.moves <= 17


def test_a_single_late_look_is_no_move() -> None:
    log = made(lambda at_s: 52.0 if 105.0 <= at_s < 105.1 else 37.0)
    assert moves(log, 99.0, 111.0, lambda _, ms, __: scene.path_of(ms)) == 0


def test_a_noisy_machine_does_not_hide_a_convergence() -> None:
    noise = np.random.default_rng(2).exponential(1.5, 100_000)
    quiet = healed(0.2)
    noisy = Log(quiet.sent, quiet.arrived + noise[: len(quiet.sent)] / 1e3)
    found = converged_ms(noisy, BEGAN, CLEARED, OTHER_MS * scene.WITHIN)
    assert found == pytest.approx(200 + OTHER_MS + 1, abs=30)


def test_convergence_needs_a_whole_second_before_the_end() -> None:
    assert converged_ms(healed(7.5), BEGAN, CLEARED, 60.0) is None
    assert converged_ms(healed(6.5), BEGAN, CLEARED, 60.0) == pytest.approx(6546, abs=5)


def test_a_stream_that_stops_for_good_has_a_gap_until_its_last_packet() -> None:
    log = made(lambda at_s: np.nan if at_s >= BEGAN else 37.0)
    gap_ms, ended_s = longest_gap_ms(log, BEGAN, CLEARED)
    assert gap_ms == pytest.approx(12_000 - 37, abs=5)
    assert ended_s == pytest.approx(ENDED, abs=0.01)


def test_an_empty_stream_is_not_good() -> None:
    assert not good(Log(np.empty(0), np.empty(0)), 100.0)


def test_logs_are_read_from_their_end_and_as_they_grow(tmp_path: Path) -> None:
    sent, received = tmp_path / "sent", tmp_path / "received"
    sent.write_bytes(b"".join(stream.SENT.pack(float(n)) for n in range(100)) + b"half")
    rows = [(n, float(n), n + 0.5) for n in range(100) if n != 97]
    rows.append((99, 99.0, 99.9))  # a second time: the first counts
    rows.append((100, 100.0, 100.5))  # the sender's file is behind
    received.write_bytes(b"".join(stream.RECEIVED.pack(*row) for row in rows))
    log = read(sent, received, 10)
    assert log.sent.tolist() == list(range(90, 100))
    assert log.lost == 1
    assert np.isnan(log.arrived[7])
    assert log.arrived[9] == 99.5
    assert len(read(sent, received, 1000).sent) == 100


def test_the_best_path_is_the_best() -> None:
    assert scene.paths()[0] == BEST
    assert scene.best_ms() == 36
    assert scene.best_ms(Kind.CUT, ("t1", "t2")) == scene.best_ms(Kind.LOSS, ("t1", "t2")) == 45
    assert scene.best_ms(Kind.KILLED, ("t1",)) == scene.best_ms(Kind.DELAY, ("a", "t1")) == 51


def test_paths_worth_having_are_told_apart_by_their_delay() -> None:
    short = [path for path in scene.paths() if (scene.delay_ms(path) or 0) <= 93]
    assert len(short) >= 5
    for path in short:
        ms = scene.delay_ms(path)
        assert ms is not None
        assert scene.path_of(ms + 0.1) == scene.path_of(ms + scene.OVERHEAD_MS) == path
    assert scene.path_of(20.0) is None
    assert scene.path_of(37.0, Kind.CUT, ("t1", "t2")) is None


def test_a_schedule_is_the_same_for_all_and_has_every_kind_alike() -> None:
    faults = scene.schedule(100, seed=1)
    assert faults == scene.schedule(100, seed=1) != scene.schedule(100, seed=2)
    assert {kind: sum(f.kind is kind for f in faults) for kind in Kind} == dict.fromkeys(Kind, 25)
    for fault in faults:
        target = fault.target(BEST)
        assert len(target) == (1 if fault.kind is Kind.KILLED else 2)
        assert set(target) <= set(BEST)
        assert set(target) != {"a"}
    assert len({fault.target(BEST) for fault in faults}) == 5
    assert [fault.limit_s for fault in faults if fault.kind.hard].count(scene.LONG_S) == 10
    assert {fault.limit_s for fault in faults if not fault.kind.hard} == {scene.SHORT_S}


def test_the_direct_way_has_no_gateway_to_kill() -> None:
    killed = next(f for f in scene.schedule(8, seed=1) if f.kind is Kind.KILLED)
    assert killed.target(("a", "b")) == ("a", "b")
