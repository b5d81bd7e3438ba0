"""Figures: how they are judged, printed and written, and the arithmetic on what was counted. No I/O but the writing."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

MACHINE = f"{platform.machine()} {os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}"


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure.

    Attributes:
        bench, metric: What was measured.
        value: In ``unit``.
        baseline: The same of what it is compared with.
        ratio: Value by baseline.
        target: What is asked; None: only reported.
        judged: What ``target`` is compared with: ``value <= target``, ``ratio >= target`` or ``ratio <= target``.
        runs: The single runs that value and baseline are the medians of, theirs after ours.
        interval: Where chance may have moved the value, or the ratio if there is a baseline: 95 % of a bootstrap.
        bound_by: What limits it, in words, where the target is missed or nearly so.
    """

    bench: str
    metric: str
    value: float
    unit: str
    baseline: float | None = None
    target: float | None = None
    judged: str = "value <= target"
    runs: tuple[tuple[float, ...], ...] = ()
    interval: tuple[float, float] | None = None
    bound_by: str = ""
    machine: str = MACHINE
    date: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    @property
    def ratio(self) -> float | None:
        return self.value / self.baseline if self.baseline else None

    @property
    def ok(self) -> bool | None:
        """Whether the target is met; None where there is none."""
        if self.target is None:
            return None
        if self.judged == "ratio >= target":
            return self.ratio is not None and self.ratio >= self.target
        if self.judged == "ratio <= target":
            return self.ratio is not None and self.ratio <= self.target
        return self.value <= self.target

    def row(self) -> dict[str, object]:
        """The figure as it is written, one object."""

        def short(number: float | None) -> float | None:
            return None if number is None else round(number, 4)

        return asdict(self) | {
            "value": short(self.value),
            "baseline": short(self.baseline),
            "ratio": short(self.ratio),
            "runs": [[short(one) for one in side] for side in self.runs],
            "interval": [short(one) for one in self.interval] if self.interval else None,
            "ok": self.ok,
        }


def median_pair(bench: str, metric: str, ours: Sequence[float], theirs: Sequence[float], **more: object) -> Figure:
    """A figure of alternating runs: the median of ours, beside the median of theirs."""
    runs = (tuple(ours), tuple(theirs))
    return Figure(bench, metric, statistics.median(ours), baseline=statistics.median(theirs), runs=runs, **more)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Arrivals:
    """What became of numbered packets.

    Attributes:
        lost: Sent and never come.
        doubled: Come more than once, beyond the first time.
        reordered: Come after a later one (RFC 4737's type-P-reordered).
        longest_gap_ms: Between two arrivals that follow each other.
    """

    sent: int
    lost: int
    doubled: int
    reordered: int
    longest_gap_ms: float


def arrivals(sent: int, came: Iterable[tuple[int, int]]) -> Arrivals:
    """Judge packets numbered from 0 by what came: pairs of number and nanoseconds of arrival, in the order of arrival.

    Raises:
        ValueError: If something came that was not sent.
    """
    seen: set[int] = set()
    highest, doubled, reordered, last_ns, gap_ns = -1, 0, 0, None, 0
    for number, at_ns in came:
        if not 0 <= number < sent:
            raise ValueError(f"packet {number} came, of {sent} that were sent")
        if last_ns is not None:
            gap_ns = max(gap_ns, at_ns - last_ns)
        last_ns = at_ns
        if number in seen:
            doubled += 1
            continue
        seen.add(number)
        reordered += number < highest
        highest = max(highest, number)
    return Arrivals(sent, sent - len(seen), doubled, reordered, gap_ns / 1e6)


def netstat(text: str) -> dict[str, int]:
    """/proc/net/netstat or /proc/net/snmp as ``Group.Name`` to count: lines come in pairs, names and numbers."""
    counted: dict[str, int] = {}
    lines = text.splitlines()
    for names, numbers in zip(lines[::2], lines[1::2], strict=True):
        group, _, words = names.partition(":")
        same, _, values = numbers.partition(":")
        if group != same:
            raise ValueError(f"a line of {group} is followed by one of {same}")
        counted |= {f"{group}.{name}": int(value) for name, value in zip(words.split(), values.split(), strict=True)}
    return counted


def processor_s(stat: str, ticks_per_s: int) -> float:
    """Seconds of processor time, user and system, of /proc/PID/stat, its ended children's included; the name in it may
    hold blanks and brackets."""
    return sum(map(int, stat.rpartition(")")[2].split()[11:15])) / ticks_per_s


def resident_mb(smaps_rollup: str) -> tuple[float, float]:
    """Resident and proportional set size in megabytes (10^6) of /proc/PID/smaps_rollup."""
    found = {}
    for line in smaps_rollup.splitlines()[1:]:
        name, _, rest = line.partition(":")
        found[name] = int(rest.split()[0]) * 1024 / 1e6
    return found["Rss"], found["Pss"]


class Sheet:
    """Figures as they come in."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.figures: list[Figure] = []

    def add(self, figure: Figure) -> None:
        self.figures.append(figure)

    @property
    def ok(self) -> bool:
        return all(figure.ok is not False for figure in self.figures)

    def print(self) -> None:
        """The table, and below it the single runs and what bounds what was missed."""
        table = Table(title=self.title)
        for column in ("bench", "metric", "value", "unit", "baseline", "ratio", "target", ""):
            table.add_column(column, justify="left" if column in ("bench", "metric", "unit") else "right")
        for figure in self.figures:
            target = "" if figure.target is None else f"{figure.judged.replace('target', '')}{figure.target:g}"
            verdict = {True: "ok", False: "missed", None: ""}[figure.ok]
            numbers = [_number(figure.baseline), "" if figure.ratio is None else f"{figure.ratio:.3f}"]
            table.add_row(figure.bench, figure.metric, _number(figure.value), figure.unit, *numbers, target, verdict)
        console = Console(width=150)
        console.print(table)
        for figure in self.figures:
            if figure.runs:
                sides = " | ".join(" ".join(_number(one) for one in side) for side in figure.runs)
                console.print(f"{figure.bench}, {figure.metric}: {sides}", highlight=False)
        for figure in self.figures:
            if figure.interval:
                low, high = figure.interval
                console.print(f"{figure.bench}, {figure.metric}: {low:.3f} to {high:.3f}", highlight=False)
        for figure in self.figures:
            if figure.bound_by and figure.ok is False:
                console.print(f"missed: {figure.bench}, {figure.metric}: {figure.bound_by}", highlight=False)

    def write(self, path: Path) -> None:
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(json.dumps(figure.row()) + "\n" for figure in self.figures))


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.0f}" if value == int(value) or abs(value) >= 1000 else f"{value:.3g}"
