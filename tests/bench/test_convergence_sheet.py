"""Which figures and targets come of faults."""

from __future__ import annotations

import json
from typing import Any

import pytest
from convergence import sheet
from convergence.systems import SYSTEMS
from rich.console import Console


def fault(kind: str = "link cut", gap_ms: float = 200.0, **figures: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "kind": kind,
        "path": "a-t1-t2-b",
        "gap_ms": gap_ms,
        "open": False,
        "return_gap_ms": 5.0,
        "after_ms": 36.0,
    }
    return made | {"lost": 100, "converged_ms": 220.0, "moves": 2, "settled_before": True} | figures


def ok(faults: dict[str, list[dict[str, Any]]]) -> list[bool]:
    return [one["ok"] for one in sheet.targets(faults)]


@pytest.mark.parametrize(
    ("own_ms", "expected"),
    [(190.0, [True, True, True]), (230.0, [True, False, True]), (240.0, [False, False, True])],
    ids=["short-enough", "longer-than-ospf", "longer-than-three-hellos-and-a-way"],
)
def test_targets_are_met_or_missed(own_ms: float, expected: list[bool]) -> None:
    others = {"ospf": [fault(gap_ms=180.0)], "babeld-default": [fault(gap_ms=9000.0, open=True)]}
    assert ok({"foremesh": [fault(gap_ms=own_ms)], **others}) == expected
    assert ok({"foremesh-alone": [fault(gap_ms=own_ms)], **others}) == expected


def test_ten_times_shorter_is_not_nine_times() -> None:
    rows = {"foremesh": [fault(gap_ms=200.0)], "babeld-default": [fault(gap_ms=1800.0)]}
    assert ok(rows) == [True, False]


def test_the_longest_gap_of_a_hundred_decides() -> None:
    gaps = [fault(gap_ms=150.0)] * 49 + [fault("gateway killed", 400.0)]
    assert ok({"foremesh": gaps}) == [False]


def test_faults_that_stop_nothing_are_not_held_against_the_gap() -> None:
    assert ok({"foremesh": [fault(), fault("+100 ms", 900.0), fault("30 % loss", 900.0)]}) == [True]


def test_without_foremesh_there_is_nothing_to_judge() -> None:
    assert sheet.targets({"ospf": [fault()]}) == []


def test_a_file_line_has_all_fields_and_is_json() -> None:
    about = {"ospf": {"control_Bps": 100.0, "control_fault_Bps": 90.0}}
    lines = sheet.figures(["ospf"], {"ospf": [fault(), fault("+100 ms", converged_ms=None)]}, about)
    fields = {"bench", "metric", "value", "unit", "baseline", "ratio", "target", "ok", "machine", "date"}
    assert all(set(json.loads(json.dumps(line))) == fields for line in lines)
    never = next(line for line in lines if line["metric"] == "+100 ms: within 10 % p50")
    assert never["value"] is None


def test_the_table_fits_a_terminal_and_marks_gaps_that_only_the_fault_ended() -> None:
    rows = [fault(kind, 15_000.0, open=True, lost=7500) for kind in ("link cut", "gateway killed")]
    about = {name: {"control_Bps": 193_593.0, "control_fault_Bps": 184_602.0} for name in SYSTEMS}
    console = Console(width=96, record=True, file=None)
    with console.capture() as captured:
        console.print(sheet.table(SYSTEMS, dict.fromkeys(SYSTEMS, rows), about, 500.0))
    lines = captured.get().splitlines()
    assert max(map(len, lines)) <= 96
    assert sum(">15,000" in line for line in lines) == 2 * len(SYSTEMS)
    assert not any("…" in line for line in lines)
    assert any(line.rstrip().endswith("moves ┃") for line in lines)
    for one in SYSTEMS.values():
        assert any(one.title in line for line in lines), one.title
