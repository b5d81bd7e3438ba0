"""Tables of policies and intents that fit the terminal: what matters least is left out, and it is said what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from foremesh.simulation.score import Score

FRAME = 3
"""Columns of the terminal that a table's column takes besides its text: two blanks and a line."""


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        title: Lines above it.
        cells: A text for each row.
        rank: Those with the highest are left out first where there is no room; 0 never is.
        least: Width that it can be folded to, as paths can; None for figures, which cannot.
    """

    title: str
    cells: Sequence[str]
    rank: int = 0
    least: int | None = None

    @property
    def needs(self) -> int:
        """The least width of its text."""
        longest = max(len(line) for text in (self.title, *self.cells) for line in text.split("\n"))
        return longest if self.least is None else min(self.least, longest)


def fitting(columns: Sequence[Column], width: int) -> tuple[list[Column], list[Column]]:
    """The columns that fit a width, and those that are left out for it; both in the order given."""
    kept = [*columns]
    while sum(one.needs + FRAME for one in kept) + 1 > width and any(one.rank for one in kept):
        kept.remove(max(kept, key=lambda one: one.rank))
    return kept, [one for one in columns if one not in kept]


def drawn(columns: Sequence[Column], width: int, *, title: str | None = None) -> Iterator[Any]:
    """A table, and a line about what it has no room for, for ``render``. The first column, and those that can be
    folded, are text; the others figures."""
    from rich.table import Table

    kept, left_out = fitting(columns, width)
    table = Table(title=title, title_justify="left")
    for one in kept:
        text = one is columns[0] or one.least is not None
        table.add_column(
            one.title,
            justify="left" if text else "right",
            overflow="fold",
            no_wrap=one.least is None,
            min_width=one.needs,
        )
    for row in zip(*(one.cells for one in kept), strict=True):
        table.add_row(*row)
    yield table
    if left_out:
        names = ", ".join(one.title.replace("\n", " ") for one in left_out)
        yield f"No room in {width} columns for: {names}."


def policies(scores: Mapping[str, Score], width: int) -> Iterator[Any]:
    """Policies side by side, and what the columns mean that do not speak for themselves."""
    from foremesh.simulation.score import GAP_TEXT, any_unplaced

    every = [*scores.values()]
    columns = [
        Column("policy", [*scores]),
        Column("violation\nminutes", [f"{one.violation_minutes:,.0f}" for one in every]),
    ]
    unplaced = any_unplaced(scores)
    if unplaced:
        columns.append(Column("placed\nonly", [f"{one.placed_minutes:,.0f}" for one in every]))
    columns += [
        Column("latency\nmean ms", [f"{one.mean_latency_ms:.1f}" for one in every], 4),
        Column("latency\np95 ms", [f"{one.p95_latency_ms:.1f}" for one in every], 3),
        Column("moves\na day", [f"{one.moves_per_day:,.1f}" for one in every], 1),
        Column("egress\nUSD", ["-" if one.egress_usd is None else f"{one.egress_usd:,.0f}" for one in every], 5),
        Column("gap\nclosed", [_share(one.gap_closed) for one in every], 2),
        Column("plan\nseconds", [f"{one.plan_seconds:.1f}" for one in every], 6),
    ]
    yield from drawn(columns, width)
    if unplaced:
        yield _unplaced(every)
    yield GAP_TEXT


def _unplaced(scores: Sequence[Score]) -> str:
    least, most = (figure(one.unplaced_minutes for one in scores) for figure in (min, max))
    count = f"{most:,.0f}" if least == most else f"{least:,.0f} to {most:,.0f}"
    return (
        f"placed only: without the minutes of intents that found no place at any time, {count} of them; "
        "who places an intent that it cannot serve has its minutes here."
    )


def _share(gap_closed: float | None) -> str:
    """A policy far behind those who react is no percentage of anything."""
    if gap_closed is None:
        return "-"
    return f"{gap_closed:.0%}" if gap_closed >= -1 else "<-100%"


def by_seed(worlds: Mapping[int, Mapping[str, Score]], width: int) -> Iterator[Any]:
    """Violation minutes of each policy in each world."""
    from foremesh.simulation.policies import REACTIVE
    from foremesh.simulation.score import ORACLE, OURS

    columns = [Column("seed", [*map(str, worlds)])]
    for name in next(iter(worlds.values())):
        minutes = [f"{world[name].violation_minutes:,.0f}" for world in worlds.values()]
        # Who looks at nothing is of least interest; then a long name takes the room of two.
        rank = 0 if name in (OURS, ORACLE) else len(name) if name in REACTIVE else 100
        columns.append(Column(name, minutes, rank))
    yield from drawn(columns, width, title="Violation minutes")
