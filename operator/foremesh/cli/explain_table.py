"""An explanation for people, as wide as may be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from foremesh.cli.plan_document import figures, requirements_text
from foremesh.cli.plan_table import COLUMN, COLUMNS, Line, Names, Page, left_out, path_line
from foremesh.decide.explained import NOT_PLACED, PLACED, TOLD
from foremesh.model.explanation import Contender, Explained, Explanation, IntentExplanation
from foremesh.model.manifest import write
from foremesh.model.plan import Infeasible
from foremesh.model.policy import Mode

MOST_SOURCES = 20
"""Sources of an Intent that are told at length; JSON and YAML have all."""

NO_HELP = "no relaxation of it alone helps"

STATES = {PLACED: "placed", NOT_PLACED: "not placed"}
"""What people call a state; any other is a requirement that is not met."""


def table(found: Sequence[IntentExplanation], width: int) -> list[Line]:
    """Every Intent, source by source."""
    ids = [one.intent for one in found]
    placements = [each for one in found for each in one.placements]
    ids += [id_ for each in placements for id_ in (each.because.source, each.destination) if id_]
    ids += [other.destination for each in placements for other in each.runners_up if other.destination]
    page = Page(Names(ids), width)
    return [line for one in found for line in _intent(one, page)]


def _intent(one: IntentExplanation, page: Page) -> Iterator[Line]:
    asked = requirements_text(write(one.requirements)) or "nothing in particular"
    priority = f", priority {one.priority}" if one.priority else ""
    yield from page.wrapped("", f"{page.name(one.intent)}: {one.profile} profile{priority}, asks for {asked}", "bold")
    if one.problem:
        yield from page.wrapped("problem: ", one.problem, "red")
    for note in one.notes:
        yield from page.wrapped("note: ", note, "yellow")
    if any(each.predicted is not None for each in one.placements):
        yield from left_out(page)
    for each in one.placements[:MOST_SOURCES]:
        yield from _placement(each, page)
    if len(one.placements) > MOST_SOURCES:
        yield f"and {len(one.placements) - MOST_SOURCES} more sources; -o json has them", ""


def _placement(one: Explained, page: Page) -> Iterator[Line]:
    ends = " to ".join(page.name(end) for end in (one.because.source, one.destination) if end)
    bad = one.state != PLACED
    head = f"{ends}: {STATES.get(one.state, 'requirements not met')}"
    heads = "" if one.predicted is None else "".join(f"{name:>{COLUMN}}" for name in COLUMNS[: page.figures])
    if len(head) < page.left:
        yield f"{head:<{page.left}}{heads}".rstrip(), "bold red" if bad else "bold"
    else:
        yield from page.wrapped("", head, "bold red" if bad else "bold")
        yield " " * page.left + heads, "dim"
    if one.predicted is not None:
        yield from path_line(page, "  ", {"pathText": one.path, "predicted": figures(one.predicted)})
    if one.standby:
        yield from page.wrapped("  falls over to ", one.standby, "dim")
    if one.circuit:
        yield from page.wrapped("  circuit: ", page.name(one.circuit))
    yield from page.wrapped("  why: ", one.problem or one.reason, "red" if bad else "")
    if one.infeasible is not None:
        yield from _shortfalls(one.infeasible, page)
    yield from _terms(one.because, page)
    for told in one.because.assumed.values():
        yield from page.wrapped("  assumed: ", told, "yellow")
    for other in one.runners_up:
        yield from _contender(other, page)
    for link in one.because.forecasts:
        ends = "->".join(end.rpartition("/")[2] for end in link.link.rpartition("/")[0].split("->"))
        rtt = "unknown" if link.rtt_ms is None else f"{link.rtt_ms:.1f} ms, at worst {link.rtt_p90_ms:.1f}"
        # A reason begins with the model that it is about.
        why = link.reason if link.reason.startswith(link.model) else ": ".join((link.model, link.reason))
        yield from page.wrapped("  forecast ", f"{ends}: {rtt}; {why or 'nobody measured it'}", "dim")
    yield from _policies(one.because, page)


def _terms(because: Explanation, page: Page) -> Iterator[Line]:
    """What the path costs: terms that are nothing at three decimals are left out."""
    shown = {name: cost for name, cost in because.terms.items() if abs(cost) >= TOLD}
    if not shown:
        return
    rest = sum(because.terms.values())
    cells = [
        (
            name,
            f"{cost:.3f}",
            f"{cost / rest:.0%}" if rest else "",
            f"{because.weights[name]:g}" if name in because.weights else "",
        )
        for name, cost in shown.items()
    ]
    yield from _columns([*cells, ("sum", f"{rest:.3f}", "", "")], ("  TERM", "COST", "SHARE", "WEIGHT"), page)


def _shortfalls(why: Infeasible, page: Page) -> Iterator[Line]:
    if not why.shortfalls:
        return
    yield from _columns(
        [
            (one.requirement, one.asked, one.best or "-", one.nearest or NO_HELP, one.path or "-")
            for one in why.shortfalls
        ],
        ("  REQUIREMENT", "ASKED", "BEST ALONE", "RELAX TO", "WHICH ADMITS"),
        page,
    )
    for one in why.shortfalls:
        if one.policy:
            yield from page.wrapped("  ", f"{one.requirement} is asked by MeshPolicy {one.policy}")


def _contender(other: Contender, page: Page) -> Iterator[Line]:
    way = f"{other.path} to {page.name(other.destination)}" if other.destination else other.path
    yield from path_line(page, "  next ", {"pathText": way, "predicted": figures(other.predicted)}, "dim")
    yield from page.wrapped("      ", other.lost, "dim")


def _policies(because: Explanation, page: Page) -> Iterator[Line]:
    for one in because.policies:
        does = "; ".join(one.effects) or "changes nothing"
        priority = f", priority {one.priority}" if one.priority else ""
        if one.mode is Mode.SHADOW:
            told = f"{one.policy}{priority}, in shadow, not followed: {does}"
            yield from page.wrapped("  MeshPolicy ", told, "yellow")
        else:
            yield from page.wrapped("  MeshPolicy ", f"{one.policy}{priority}: {does}")


def _columns(rows: Iterable[Sequence[str]], heads: Sequence[str], page: Page) -> Iterator[Line]:
    """Text in columns; what is too wide for the page goes to lines of its own."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(head), *(len(row[at]) + 2 * (at == 0) for row in cells)) for at, head in enumerate(heads)]
    if sum(widths) + 2 * len(widths) > page.width:
        for row in cells:
            named = zip(heads[1:], row[1:], strict=True)
            told = ", ".join(
                cell if cell == NO_HELP else f"{head.lower()} {cell}" for head, cell in named if cell not in ("", "-")
            )
            yield from page.wrapped("  ", f"{row[0]}: {told}")
        return
    yield "  ".join(f"{head:<{width}}" for head, width in zip(heads, widths, strict=True)).rstrip(), "dim"
    for row in cells:
        first = f"  {row[0]}"
        yield "  ".join(f"{cell:<{width}}" for cell, width in zip((first, *row[1:]), widths, strict=True)).rstrip(), ""
