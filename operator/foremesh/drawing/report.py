"""The report of a simulated time as one page that needs nothing else: what was asked, chosen, predicted and true."""

from __future__ import annotations

from collections.abc import Sequence

from foremesh.drawing.figures import clock, known, ms, number, share, short
from foremesh.drawing.graph import link_table, map_figure
from foremesh.drawing.markup import Markup, join, tag
from foremesh.drawing.page import Row, page, path_cell, row, swatch, table, wide
from foremesh.drawing.plots import MEASURES, bars, forecast_plot, timeline, unplaced
from foremesh.drawing.values import Applied, Report, ReportIntent, ReportMove, ReportPolicy, missed

MOST_PLOTS = 12
"""Intents with a plot of their own: what can be looked at in one sitting."""

PLANNED = "predicted when the plan was made: median, and band up to p90"

NEVER = (
    "Never had a path: minutes of intents that found no place at any time, which no policy may be able to help. Who "
    "places an intent that it cannot serve has its minutes among those missed. Violation minutes are both together."
)

MOST_ROWS = 40
"""Intents on the timeline, where it has no more than so many moves in all:"""
MOST_STRETCHES = 1500

MOST_MOVES = 400
"""Moves in the list."""

MOST_APPLIED = 800_000
"""Characters of texts to apply; the page stays below three megabytes."""


def render_report(report: Report) -> str:
    """The report as HTML. Equal reports give equal bytes; nothing is loaded when it is opened."""
    return page(
        report.title,
        tag("h1", report.title),
        tag("p", report.summary, class_="lead"),
        tag("div", _card("Simulated", report.simulated), _card("Real", report.real), class_="two"),
        tag("h2", "The mesh"),
        map_figure(report.mesh, f"Map of the mesh: {report.title}"),
        link_table(report.mesh),
        tag("h2", "What became of each intent"),
        _intents(report),
        *_plots(report),
        *_moves(report),
        *_policies(report),
        *_applied(report.applied),
    )


def most_interesting(intents: Sequence[ReportIntent], most: int) -> tuple[ReportIntent, ...]:
    """All of them if they are few, else those with the most minutes missed, then the most moves."""
    if len(intents) <= most:
        return tuple(intents)
    ranked = sorted(intents, key=lambda one: (-(one.violation_minutes or 0.0), -len(one.moves), one.name, one.source))
    return tuple(ranked[:most])


def _card(title: str, lines: Sequence[str]) -> Markup:
    return tag("section", tag("h3", title), tag("ul", *(tag("li", line) for line in lines)), class_="card")


def _intents(report: Report) -> Markup:
    heads = [("Intent", ""), ("Asked", ""), ("Path at the end", ""), ("Predicted", "n"), ("Actual", "n")]
    heads += [("Moves", "n"), ("Minutes missed", "n")]
    apart = any(one.unplaced_minutes for one in report.intents)
    heads += [("Minutes without a path", "n")] if apart else []
    colours = {intent: index for index, one in enumerate(report.mesh.circuits) for intent in one.intents}
    rows = [_intent(one, colours.get(one.name), apart) for one in report.intents]
    return table(heads, rows, caption=f"Served by {_by(report)}.")


def _by(report: Report) -> str:
    return f"the {report.policy} policy" if report.policy else "one policy"


def _intent(one: ReportIntent, colour: int | None, apart: bool) -> Row:
    ends = f"{short(one.source)} to {short(one.destination)}" if one.source and one.destination else short(one.source)
    mark = swatch(colour) if colour is not None else ""
    name = join([tag("span", mark, tag("strong", short(one.name)), class_="nb"), tag("div", ends, class_="soft")])
    path: object = join(
        [path_cell(one.path.split(" > ")), tag("div", one.why_not, class_="bad") if one.why_not else ""]
        if one.path
        else [tag("span", f"✕ no path: {one.why_not or 'none was found'}", class_="bad")]
    )
    # Where there was no path, there is nothing to measure: that is not the same as unknown.
    minutes = missed(one)
    figures = [ms(one.predicted_ms), ms(one.actual_ms), str(len(one.moves)), number(minutes, 0)]
    if not one.path and not known(one.actual_ms):
        values = (one.predicted_ms, one.actual_ms, len(one.moves) or None, minutes or None)
        figures = [text if known(value) else "–" for text, value in zip(figures, values, strict=True)]
    without = (number(one.unplaced_minutes, 0), "n bad") if one.unplaced_minutes else ("–", "n")
    return row(
        name,
        one.asked,
        path,
        *((text, "n") for text in figures[:3]),
        (figures[3], "n bad" if known(minutes) and minutes else "n"),
        *([without] if apart else []),
        data_lights=colour,
        tabindex=None if colour is None else 0,
    )


def _plots(report: Report) -> list[Markup]:
    placed = [one for one in report.intents if one.series is not None]
    if not placed:
        return []
    shown = most_interesting(placed, MOST_PLOTS)
    left = len(placed) - len(shown)
    parts = [tag("h2", "Forecast against actual"), _key()]
    if left:
        said = f"The {len(shown)} intents with the most minutes missed, then the most moves; {left} more are left out."
        parts.append(tag("p", said, class_="soft"))
    for one in shown:
        assert one.series is not None
        ends = f" from {short(one.source)}" if one.source else ""
        title = join([tag("strong", short(one.name)), f"{ends}: {one.asked}", tag("div", _judged(one), class_="soft")])
        parts.append(tag("figure", tag("figcaption", title), wide(forecast_plot(one, one.series))))
    if left:
        heads = [("Intent", ""), ("Forecast by", ""), ("Median off by", "n"), ("Minutes up to p90", "n")]
        rows = [
            row(short(one.name), _forecasters(one), (ms(one.error_ms), "n"), (share(one.below_p90), "n"))
            for one in placed
        ]
        parts.append(tag("details", tag("summary", f"Forecasts of all {len(placed)} intents"), table(heads, rows)))
    return parts


def _forecasters(one: ReportIntent) -> str:
    return ", ".join(one.forecasters) or "unknown"


def _judged(one: ReportIntent) -> str:
    """Who forecast an intent's round trip, and how well."""
    return (
        f"Forecast at the end by {_forecasters(one)}. The median was off by {ms(one.error_ms)} on average; the round "
        f"trip was up to p90 in {share(one.below_p90)} of the minutes."
    )


def _key() -> Markup:
    """What lines and marks of the plots mean, each shown as it is drawn."""
    shown = (
        (tag("path", class_="actual", d="M0 7h30"), "actual"),
        (
            join([tag("path", class_="band f0", d="M0 2h30v10h-30Z"), tag("path", class_="median c0", d="M0 8h30")]),
            PLANNED,
        ),
        (tag("path", class_="limit", d="M0 7h30"), "limit"),
        (tag("path", class_="flag", d="M10 3h10l-5 8z"), "move"),
        (tag("rect", class_="missed", x="4", y="4", width="22", height="6"), "a requirement missed"),
    )
    entries = [
        tag("span", tag("svg", mark, class_="fm", width="30", height="14", aria_hidden="true"), text)
        for mark, text in shown
    ]
    return tag("p", *entries, " Round trips in ms, times in UTC.", class_="soft key")


def _moves(report: Report) -> list[Markup]:
    heading = tag("h2", "Moves")
    moved = [one for one in report.intents if one.moves]
    if not moved:
        return [heading, tag("p", "No circuit moved: every intent stayed on the path it got first.")]
    ranked = most_interesting(moved, MOST_ROWS)
    # The first always, however often it moved.
    shown = [one for place, one in enumerate(ranked) if not place or _stretches(ranked[: place + 1]) <= MOST_STRETCHES]
    every: list[tuple[ReportMove, ReportIntent]] = sorted(
        ((move, one) for one in moved for move in one.moves), key=lambda pair: (pair[0].at_s, pair[1].name)
    )
    rows = [
        row(clock(move.at_s), short(one.name), move.before or "no path", move.after or "no path", move.reason)
        for move, one in every[:MOST_MOVES]
    ]
    left = len(every) - len(rows)
    note = f"{left} later moves are left out." if left else ""
    listed = table([("UTC", ""), ("Intent", ""), ("From", ""), ("To", ""), ("Why", "")], rows, caption=note)
    hidden = len(moved) - len(shown)
    said = (
        f"{len(every)} moves of {len(moved)} intents. A change of colour is a move; point at or tap it for the reason."
    )
    said += f" {hidden} intents are left out." if hidden else ""
    return [
        heading,
        tag("p", said, class_="soft"),
        tag("figure", wide(timeline(shown))),
        tag("details", tag("summary", f"All moves ({len(every)})"), listed),
    ]


def _stretches(intents: Sequence[ReportIntent]) -> int:
    return sum(len(one.moves) + 1 for one in intents)


def _policies(report: Report) -> list[Markup]:
    if not report.policies:
        return []
    heading = tag("h2", "Ways to choose paths, side by side" if len(report.policies) > 1 else "Scores")
    about = "Every policy met the same world and the same probes. Shorter bars are better; the oracle knows the future."
    panels = [
        tag("figure", tag("figcaption", one.title), bars(one, report.policies, report.policy))
        for one in MEASURES
        if any(known(one.value(policy)) for policy in report.policies)
        # Bars for what nobody has would say nothing.
        and (one.value is not unplaced or any(map(unplaced, report.policies)))
    ]
    compared = (
        [tag("p", about, class_="soft"), tag("div", *panels, class_="panels")] if len(report.policies) > 1 else []
    )
    apart = any(map(unplaced, report.policies))
    heads = [("Policy", ""), ("How it chooses", ""), ("Minutes missed", "n")]
    heads += [("Never had a path", "n")] if apart else []
    heads += [("Mean", "n"), ("p95", "n"), ("Moves a day", "n"), ("Egress USD", "n")]
    heads += [("Gap closed", "n"), ("Planning s", "n")]
    listed = table(heads, [_policy(one, report.policy, apart) for one in report.policies])
    notes = [NEVER] if apart else []
    notes += [report.gap_text] if any(one.gap_closed is not None for one in report.policies) else []
    won = [tag("ul", *(tag("li", said) for said in report.verdict))] if report.verdict else []
    return [heading, *won, *compared, listed, *(tag("p", note, class_="soft note") for note in notes if note)]


def _policy(one: ReportPolicy, ours: str, apart: bool) -> Row:
    gap = "" if one.gap_closed is None else f"{100 * one.gap_closed:.0f} %" if one.gap_closed >= -1 else "< -100 %"
    return row(
        one.name,
        (one.about, "soft"),
        (number(missed(one), 0), "n"),
        *([(number(one.unplaced_minutes, 0), "n")] if apart else []),
        (ms(one.mean_latency_ms), "n"),
        (ms(one.p95_latency_ms), "n"),
        (number(one.moves_per_day, 1), "n"),
        ("–" if one.egress_usd is None else number(one.egress_usd, 2), "n"),
        ("–" if one.gap_closed is None else gap, "n"),
        (number(one.plan_seconds, 2), "n"),
        class_="ours" if one.name == ours else None,
    )


def _applied(applied: Sequence[Applied]) -> list[Markup]:
    if not applied:
        return []
    parts = [
        tag("h2", "What would be applied"),
        tag("p", "What each agent would set up. Keys are placeholders: agents make their own.", class_="soft"),
    ]
    room = MOST_APPLIED
    for place, one in enumerate(applied):
        room -= sum(map(len, one.texts.values()))
        if room < 0:
            parts.append(
                tag("p", f"{len(applied) - place} more members are left out, to keep the page small.", class_="soft")
            )
            break
        texts = [join([tag("h3", title), tag("pre", text)]) for title, text in one.texts.items()]
        parts.append(tag("details", tag("summary", one.member), *texts))
    return parts
