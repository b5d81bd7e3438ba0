"""What came out: a table for people, and one JSON object a figure. Pure but for the clock and the machine's name."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from rich.table import Table

from convergence import scene
from convergence.scene import Kind
from convergence.system import System

HELLO_MS, MISSED = 50.0, 3
"""Interval of hellos and how many are missed: Foremesh's defaults, and what BFD is set to."""
ALLOWED_MS = 50.0
"""Milliseconds for everything after the third missed hello."""
NOISE_MS = 25.0
"""Milliseconds by which one figure may be above another and count as no longer: half a hello, which is how much the
moment of a fault within the interval changes a gap."""
TIMES_SHORTER = 10.0
"""How many times shorter than babeld's default the gap has to be."""

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Group:
    """Faults of one kind as one system took them."""

    system: str
    kind: str
    rows: tuple[Row, ...]

    def figures(self) -> dict[str, tuple[float | None, str]]:
        """Metric to value and unit; None where no fault has one."""
        best = "-".join(scene.BEST)
        reached = [row["converged_ms"] for row in self.rows if row["converged_ms"] is not None]
        gaps = [row["gap_ms"] for row in self.rows]
        return {
            "gap p50": (percentile(gaps, 50), "ms"),
            "gap p99": (percentile(gaps, 99), "ms"),
            "gaps ended only by the fault's end": (sum(row["open"] for row in self.rows), "faults"),
            "gap on return p99": (percentile([row["return_gap_ms"] for row in self.rows], 99), "ms"),
            "lost p50": (percentile([row["lost"] for row in self.rows], 50), "packets"),
            "lost": (float(np.mean([row["lost"] for row in self.rows])), "packets a fault"),
            "within 10 % p50": (percentile(reached, 50) if len(reached) * 2 > len(self.rows) else None, "ms"),
            "within 10 %": (len(reached) / len(self.rows), "share of faults"),
            "on the best path before": (float(np.mean([row["path"] == best for row in self.rows])), "share of faults"),
            "moves": (float(np.mean([row["moves"] for row in self.rows])), "a fault"),
        }


def percentile(values: Sequence[float], percent: float) -> float | None:
    """Of what was measured, without interpolation: the smallest value that so many per cent are not above."""
    return float(np.percentile(values, percent, method="inverted_cdf")) if values else None


def groups(systems: Iterable[str], faults: Mapping[str, Sequence[Row]]) -> list[Group]:
    """By system and kind."""
    return [
        Group(system, kind.value, rows)
        for system in systems
        for kind in Kind
        if (rows := tuple(row for row in faults[system] if row["kind"] == kind))
    ]


def hard_p99(rows: Sequence[Row]) -> tuple[float, bool] | None:
    """p99 of the gap of cut links and killed gateways, milliseconds, and whether it ended only with the fault."""
    hard = sorted((row["gap_ms"], row["open"]) for row in rows if Kind(row["kind"]).hard)
    if not hard:
        return None
    ms = percentile([gap for gap, _ in hard], 99)
    return next((gap, still) for gap, still in hard if gap == ms)


def targets(faults: Mapping[str, Sequence[Row]]) -> list[dict[str, Any]]:
    """What Foremesh is held to, of the systems that were measured."""
    found: list[dict[str, Any]] = []
    for system in ("foremesh", "foremesh-alone"):
        if not (rows := faults.get(system)) or (own := hard_p99(rows)) is None:
            continue
        metric = "gap p99 of cut links and killed gateways"
        net = percentile([row["gap_ms"] - row["after_ms"] for row in rows if Kind(row["kind"]).hard], 99)
        text = f"{metric}: less the one-way delay, 3 hellos + 50 ms"
        found.append(figure(system, text, net, "ms", target=HELLO_MS * MISSED + ALLOWED_MS))
        if (bfd := hard_p99(faults.get("ospf", ()))) is not None:
            text = f"{metric}: no longer than OSPF + BFD (+ {NOISE_MS:g} ms)"
            found.append(figure(system, text, own[0], "ms", baseline=bfd[0], target=bfd[0] + NOISE_MS))
        if (babel := hard_p99(faults.get("babeld-default", ()))) is not None:
            text = f"{metric}: 10 x shorter than babeld's default"
            found.append(figure(system, text, own[0], "ms", baseline=babel[0], target=babel[0] / TIMES_SHORTER))
    return found


def figure(
    system: str,
    metric: str,
    value: float | None,
    unit: str,
    *,
    baseline: float | None = None,
    target: float | None = None,
) -> dict[str, Any]:
    """One line of the file; ``ok`` is None without a target."""
    return {
        "bench": f"convergence {system}",
        "metric": metric,
        "value": None if value is None else round(value, 4),
        "unit": unit,
        "baseline": None if baseline is None else round(baseline, 4),
        "ratio": round(value / baseline, 4) if value is not None and baseline else None,
        "target": None if target is None else round(target, 4),
        "ok": None if target is None else value is not None and value <= target,
        "machine": f"{platform.machine()} {os.cpu_count()} cores, Linux {platform.release().split('-')[0]}",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def figures(
    systems: Iterable[str], faults: Mapping[str, Sequence[Row]], about: Mapping[str, Row]
) -> list[dict[str, Any]]:
    """Every figure of a run, targets last."""
    made = []
    for group in groups(systems, faults):
        made += [figure(group.system, f"{group.kind}: {m}", v, unit) for m, (v, unit) in group.figures().items()]
    for system, line in about.items():
        for key, name in (("control_Bps", "control, quiet"), ("control_fault_Bps", "control, in faults")):
            if key in line:
                made.append(figure(system, name, line[key], "byte/s"))
    return made + targets(faults)


def table(
    classes: Mapping[str, type[System]], faults: Mapping[str, Sequence[Row]], about: Mapping[str, Row], rate_hz: float
) -> Table:
    """A row for each system and kind of fault; 96 columns at most."""
    made = Table(
        title=f"Faults on the path of a stream of {rate_hz:g} packets/s",
        caption="gap: longest time without an arrival, >: ended only with the fault; 10 %: time until within 10 % of"
        " the best path, where more than half of the faults were answered; control: bytes/s on all links together,"
        " quiet / in faults; all but gaps are medians or means a fault",
    )
    for column in ("fault", "n", "gap p50", "p99 ms", "lost", "10 % ms", "moves"):
        made.add_column(column, justify="left" if column == "fault" else "right", no_wrap=column != "fault")
    for system in faults:
        line = about.get(system, {})
        made.add_section()
        made.add_row(f"[bold]{classes[system].title}[/bold]")
        if "control_Bps" in line:
            made.add_row(f"  control {line['control_Bps']:,.0f} / {line['control_fault_Bps']:,.0f} B/s")
        for group in groups([system], faults):
            values = {name: value for name, (value, _) in group.figures().items()}
            still = values["gaps ended only by the fault's end"] or 0
            made.add_row(
                f"  {group.kind}",
                str(len(group.rows)),
                (">" if still * 2 > len(group.rows) else "") + _text(values["gap p50"]),
                (">" if still else "") + _text(values["gap p99"]),
                _text(values["lost"]),
                _text(values["within 10 % p50"]),
                f"{values['moves']:.1f}",
            )
    return made


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def target_table(found: Sequence[Row]) -> Table:
    """Each target with what was measured."""
    made = Table(title="Targets, milliseconds")
    for column in ("system", "target", "value", "at most", ""):
        made.add_column(column, justify="right" if column in ("value", "at most") else "left")
    for one in found:
        made.add_row(
            one["bench"].removeprefix("convergence "),
            one["metric"].removeprefix("gap p99 of cut links and killed gateways: "),
            _text(one["value"]),
            _text(one["target"]),
            "ok" if one["ok"] else "missed",
        )
    return made
