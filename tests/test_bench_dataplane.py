"""benchmarks/dataplane: what was counted is judged right."""

from __future__ import annotations

import json
import os
import random
import time
from pathlib import Path

import pytest
from dataplane.figures import Figure, Sheet, arrivals, median_pair, netstat, processor_s, resident_mb
from hypothesis import given
from hypothesis import strategies as st

MS = 1_000_000


@pytest.mark.parametrize(
    ("came", "lost", "doubled", "reordered"),
    [
        pytest.param([0, 1, 2, 3], 0, 0, 0, id="all-in-order"),
        pytest.param([0, 1, 3], 1, 0, 0, id="a-gap-is-a-loss-and-no-reordering"),
        pytest.param([], 4, 0, 0, id="nothing-came"),
        pytest.param([0, 2, 1, 3], 0, 0, 1, id="late-by-one"),
        pytest.param([3, 0, 1, 2], 0, 0, 3, id="one-early-makes-the-others-late"),
        pytest.param([0, 1, 1, 2, 3], 0, 1, 0, id="a-copy-is-neither-lost-nor-late"),
        pytest.param([0, 1, 2, 3, 1], 0, 1, 0, id="a-late-copy-is-a-copy"),
    ],
)
def test_packets_are_lost_doubled_or_late(came: list[int], lost: int, doubled: int, reordered: int) -> None:
    found = arrivals(4, [(number, at * MS) for at, number in enumerate(came)])
    assert (found.lost, found.doubled, found.reordered) == (lost, doubled, reordered)


def test_the_longest_gap_is_between_arrivals() -> None:
    assert arrivals(3, [(0, 10 * MS), (2, 11 * MS), (1, 51 * MS)]).longest_gap_ms == 40


def test_a_packet_that_was_not_sent_is_no_measurement() -> None:
    with pytest.raises(ValueError, match="packet 7 came, of 4"):
        arrivals(4, [(7, 0)])


@given(st.integers(1, 60), st.randoms(use_true_random=False))
def test_no_order_changes_what_is_lost(sent: int, chance: random.Random) -> None:
    kept = [number for number in range(sent) if chance.random() < 0.8]
    lost = sent - len(kept)
    chance.shuffle(kept)
    found = arrivals(sent, [(number, at) for at, number in enumerate(kept)])
    assert (found.lost, found.doubled) == (lost, 0)
    assert found.reordered <= max(0, len(kept) - 1)


def test_counters_of_the_kernel_are_read_by_group() -> None:
    text = "TcpExt: SyncookiesSent TCPTimeouts\nTcpExt: 3 17\nIpExt: InOctets\nIpExt: 99\n"
    assert netstat(text) == {"TcpExt.SyncookiesSent": 3, "TcpExt.TCPTimeouts": 17, "IpExt.InOctets": 99}
    with pytest.raises(ValueError, match="TcpExt is followed by one of IpExt"):
        netstat("TcpExt: A\nIpExt: 1\n")


def test_this_kernel_counts_what_the_benchmark_reads() -> None:
    counted = netstat(Path("/proc/net/netstat").read_text()) | netstat(Path("/proc/net/snmp").read_text())
    assert {"TcpExt.TCPTimeouts", "TcpExt.TCPSACKReorder", "Tcp.RetransSegs"} <= counted.keys()


def test_processor_time_has_that_of_ended_children_and_any_name() -> None:
    stat = "42 (a ) b (c) S " + " ".join(map(str, [1] * 10)) + " 100 20 3 4 " + " ".join(["0"] * 30)
    assert processor_s(stat, 100) == pytest.approx(1.27)


def test_processor_time_is_this_process_s() -> None:
    end = time.process_time() + 0.05
    while time.process_time() < end:
        pass
    spent = processor_s(Path("/proc/self/stat").read_text(), os.sysconf("SC_CLK_TCK"))
    assert spent == pytest.approx(sum(os.times()[:4]), abs=0.05)
    assert spent >= 0.05


def test_memory_is_in_megabytes_of_a_million() -> None:
    text = "00400000-7fff [rollup]\nRss:   1000 kB\nPss:    500 kB\nPss_Anon:    1 kB\n"
    assert resident_mb(text) == (1.024, 0.512)


@pytest.mark.parametrize(
    ("figure", "ok"),
    [
        pytest.param(Figure("b", "m", 0, "packets", target=0), True, id="a-value-at-its-target-is-met"),
        pytest.param(Figure("b", "m", 1, "packets", target=0), False, id="above-it-is-missed"),
        pytest.param(Figure("b", "m", 5, "packets"), None, id="without-a-target-nothing-is-judged"),
        pytest.param(
            Figure("b", "m", 90, "Mbit/s", baseline=100, target=0.9, judged="ratio >= target"), True, id="ratio-is-met"
        ),
        pytest.param(
            Figure("b", "m", 89, "Mbit/s", baseline=100, target=0.9, judged="ratio >= target"), False, id="ratio-missed"
        ),
        pytest.param(Figure("b", "m", 9, "x", target=0.9, judged="ratio >= target"), False, id="no-baseline-no-ratio"),
    ],
)
def test_targets(figure: Figure, ok: bool | None) -> None:
    assert figure.ok is ok
    sheet = Sheet("t")
    sheet.add(figure)
    assert sheet.ok is (ok is not False)


def test_runs_are_compared_by_their_medians_and_all_written(tmp_path: Path) -> None:
    sheet = Sheet("t")
    sheet.add(median_pair("b", "m", [1.0, 100.0, 8.0], [10.0, 10.0, 0.1], unit="Mbit/s"))
    sheet.write(tmp_path / "out" / "figures.jsonl")
    row = json.loads((tmp_path / "out" / "figures.jsonl").read_text())
    assert (row["value"], row["baseline"], row["ratio"]) == (8.0, 10.0, 0.8)
    assert row["runs"] == [[1.0, 100.0, 8.0], [10.0, 10.0, 0.1]]
    assert {"bench", "metric", "value", "unit", "baseline", "ratio", "target", "ok", "machine", "date"} <= row.keys()
