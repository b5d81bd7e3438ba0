"""Plots of the report as SVG that follows the page's colours: forecast against actual, paths over time, policies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from foremesh.drawing.axes import Span, extremes, line_path, nice_ticks, px, runs, time_axis
from foremesh.drawing.figures import clock, known, ms, number, short
from foremesh.drawing.labels import text_width
from foremesh.drawing.markup import Markup, tag
from foremesh.drawing.style import PALETTE
from foremesh.drawing.values import ReportIntent, ReportMove, ReportPolicy, Series, missed
from foremesh.model.series import Floats

WIDTH = 1130.0
BUCKETS = 480
"""Points across a plot: one for two or three pixels, three minutes of a day."""
SLICES = 48
"""Parts of a plot that tell their figures when pointed at: half hours of a day."""
MOST_FLAGS = 150
"""Moves that each tell what they were."""
USUAL = 0.95
"""Share of the true round trips that the plot has to show in full; what is above leaves it and is told in figures."""
FAR = 1.5
"""A limit so many times what is usual would squeeze all else into a line: it is told, not drawn."""
OVER = 1.04
"""How far beyond its top a peak is drawn, as a share of the plot."""
MINUTE_S = 60.0


def forecast_plot(intent: ReportIntent, series: Series) -> Markup:
    """Round trip over time: what was predicted (median and band), what was, the limit, moves and minutes missed."""
    left, right, top, bottom = 58.0, WIDTH - 8, 20.0, 168.0
    length = len(series.actual_ms)
    span = Span(series.start_s, series.start_s + length * series.step_s, left, right)
    lowest, highest = _reach(intent, series)

    def y(value: float) -> float:
        return bottom - min((value - lowest) / (highest - lowest), OVER) * (bottom - top)

    def x(index: float) -> float:
        return span.x(series.start_s + index * series.step_s)

    ticks = nice_ticks(lowest, highest)
    parts = [tag("path", class_="grid", d=f"M{px(left)} {px(y(tick))}H{px(right)}") for tick in ticks]
    parts += [
        tag("text", f"{tick:g}", class_="soft small", x=px(left - 6), y=px(y(tick) + 4), text_anchor="end")
        for tick in ticks
    ]
    parts.append(tag("text", "ms", class_="soft small", x=px(left - 6), y=px(top - 8), text_anchor="end"))
    parts += time_axis(span, top, bottom)
    low = series.forecast_ms if series.low_ms is None else series.low_ms
    parts.append(tag("path", class_="band f0", d=_band(low, series.high_ms, x, y)))
    parts.append(tag("path", class_="median c0", d=line_path(extremes(series.forecast_ms, BUCKETS), x, y)))
    parts.append(tag("path", class_="actual", d=line_path(extremes(series.actual_ms, BUCKETS), x, y)))
    if intent.limit_ms is not None and known(intent.limit_ms):
        near = intent.limit_ms <= highest
        at = y(intent.limit_ms) if near else top - 4
        said = f"limit {ms(intent.limit_ms)}" + ("" if near else ", far above")
        parts += [tag("path", class_="limit", d=f"M{px(left)} {px(at)}H{px(right)}")] if near else []
        parts.append(tag("text", said, class_="bad small halo", x=px(right - 4), y=px(at - 4), text_anchor="end"))
    parts += _beyond(series, lowest + OVER * (highest - lowest), x, top)
    parts += _slices(series, span, top, bottom)
    parts += _missed(_violated(intent, series), series, x, bottom)
    parts += _moves(intent.moves, span, top, bottom)
    title = f"Round trip of {intent.name}: forecast against actual"
    return _picture(title, WIDTH, 192.0, parts, "plot forecast")


def timeline(intents: Sequence[ReportIntent]) -> Markup:
    """One row per intent: which path it was on when."""
    left, top, row = 230.0, 8.0, 26.0
    starts = [one.series for one in intents if one.series]
    times = [move.at_s for one in intents for move in one.moves]
    start_s = min([one.start_s for one in starts] or times)
    end_s = max([one.start_s + one.step_s * len(one.actual_ms) for one in starts] or times)
    span = Span(start_s, max(end_s, start_s + MINUTE_S), left, WIDTH - 8)
    bottom = top + row * len(intents)
    parts = time_axis(span, top, bottom)
    for place, one in enumerate(intents):
        at = top + row * place
        name = _cut(short(one.name), left - 16, 12.0)
        parts.append(tag("text", name, x=px(left - 10), y=px(at + 17), text_anchor="end"))
        parts += _stretches(one, span, at + 3, row - 6)
    return _picture("Paths over time, and when they changed", WIDTH, bottom + 24, parts, "plot timeline")


@dataclass(frozen=True)
class Measure:
    """One figure by which policies are compared; less is better."""

    title: str
    value: Callable[[ReportPolicy], float | None]
    text: Callable[[float | None], str]


def unplaced(one: ReportPolicy) -> float | None:
    return one.unplaced_minutes


MEASURES = (
    Measure("Minutes in which a requirement was missed, of intents with a path", missed, lambda v: number(v, 0)),
    Measure("Minutes of intents that never had a path", unplaced, lambda v: number(v, 0)),
    Measure("Moves per day", lambda one: one.moves_per_day, lambda v: number(v, 1)),
    Measure("Mean round trip", lambda one: one.mean_latency_ms, ms),
    Measure("95th percentile of the round trip", lambda one: one.p95_latency_ms, ms),
    Measure("Egress cost, US dollars", lambda one: one.egress_usd, lambda v: number(v, 2)),
    Measure("Seconds spent planning", lambda one: one.plan_seconds, lambda v: number(v, 2)),
)


def bars(measure: Measure, policies: Sequence[ReportPolicy], ours: str) -> Markup:
    """One measure of every policy, bar by bar; the policy that the report is about stands out."""
    values = [measure.value(one) for one in policies]
    most = max((value for value in values if value is not None and known(value)), default=0.0) or 1.0
    rows = []
    for one, value in zip(policies, values, strict=True):
        long = max(0.0, value or 0.0) / most if known(value) else 0.0
        bar = tag("span", class_="bar b0" if one.name == ours else "bar", style=f"width:{100 * long:.1f}%")
        said = measure.text(value)
        hint = f"{one.name}: {said}" + (f"\n{one.about}" if one.about else "")
        parts = (tag("span", one.name, class_="of"), tag("span", bar, class_="track"), tag("span", said, class_="n"))
        rows.append(tag("div", *parts, class_="ours" if one.name == ours else None, title=hint))
    return tag("div", *rows, class_="bars")


def _picture(title: str, wide: float, tall: float, parts: Sequence[object], look: str) -> Markup:
    box = f"0 0 {px(wide)} {px(tall)}"
    return tag(
        "svg", tag("title", title), *parts, class_=f"fm {look}", viewBox=box, width="100%", role="img", aria_label=title
    )


def _reach(intent: ReportIntent, series: Series) -> tuple[float, float]:
    """The axis: all that is usual, and the limit unless it is far away; peaks leave through the top. From 0 where that
    wastes little."""
    wanted = []
    for values, quantile in ((series.actual_ms, USUAL), (series.high_ms, 0.99), (series.forecast_ms, 0.99)):
        finite = values[np.isfinite(values)]
        if len(finite):
            wanted += [float(np.quantile(finite, quantile)), float(finite.min())]
    if intent.limit_ms is not None and intent.limit_ms <= FAR * max(wanted, default=intent.limit_ms):
        wanted.append(intent.limit_ms)
    lowest, highest = min(wanted, default=0.0), max(wanted, default=1.0)
    slack = 0.15 * (highest - lowest) + 0.02 * highest + 0.01
    return (lowest - slack if lowest > 0.4 * highest else 0.0), highest + slack


def _band(low: Floats, high: Floats, x: Callable[[float], float], y: Callable[[float], float]) -> str:
    """The area between two series, piece by piece where there are gaps."""
    width = max(1, -(-len(high) // BUCKETS))
    parts = []
    for first, last in runs(np.isfinite(low) & np.isfinite(high)):
        starts = range(first, last, width)
        upper = [(index, float(high[index : min(index + width, last)].max())) for index in starts]
        lower = [(index, float(low[index : min(index + width, last)].min())) for index in starts]
        upper.append((last, upper[-1][1]))
        lower.append((last, lower[-1][1]))
        around = "L".join(f"{px(x(at))} {px(y(value))}" for at, value in [*upper, *reversed(lower)])
        parts.append(f"M{around}Z")
    return "".join(parts)


def _violated(intent: ReportIntent, series: Series) -> np.ndarray:
    if series.violated is not None:
        return np.asarray(series.violated, dtype=bool)
    limit = np.inf if intent.limit_ms is None else intent.limit_ms
    return np.asarray(~(series.actual_ms <= limit))


def _beyond(series: Series, highest: float, x: Callable[[float], float], top: float) -> list[Markup]:
    """Peaks that leave the plot say how high they are."""
    found: list[Markup] = []
    end = -1e9
    for first, last in runs(series.actual_ms > highest):
        peak = first + int(np.nanargmax(series.actual_ms[first:last]))
        if x(peak) - end < 60:
            continue
        end = x(peak)
        said = f"↑ {ms(float(series.actual_ms[peak]))}"
        found.append(tag("text", said, class_="small halo", x=px(end + 3), y=px(top + 8)))
    return found


def _slices(series: Series, span: Span, top: float, bottom: float) -> list[Markup]:
    """Invisible columns that tell what happened in them."""
    length = len(series.actual_ms)
    wide = max(1, -(-length // SLICES))
    found = []
    for start in range(0, length, wide):
        end = min(start + wide, length)
        begin_s, end_s = series.start_s + start * series.step_s, series.start_s + end * series.step_s
        text = (
            f"{clock(begin_s)} to {clock(end_s)}\nactual {_range(series.actual_ms[start:end])}\n"
            f"forecast {_range(series.forecast_ms[start:end])}, up to {_range(series.high_ms[start:end])}"
        )
        x, right = span.x(begin_s), span.x(end_s)
        found.append(
            tag(
                "rect",
                tag("title", text),
                class_="slice",
                x=px(x),
                y=px(top),
                width=px(right - x),
                height=px(bottom - top),
            )
        )
    return found


def _range(values: Floats) -> str:
    finite = values[np.isfinite(values)]
    if not len(finite):
        return "unknown"
    least, most = ms(float(finite.min())), ms(float(finite.max()))
    return least if least == most else f"{least.removesuffix(' ms')} to {most}"


def _missed(violated: np.ndarray, series: Series, x: Callable[[float], float], bottom: float) -> list[Markup]:
    """Marks where requirements were missed; those that would touch become one."""
    joined: list[tuple[int, int]] = []
    for first, last in runs(violated):
        if joined and x(first) - x(joined[-1][1]) < 1:
            first = joined.pop()[0]
        joined.append((first, last))
    drawn = []
    for first, last in joined:
        begin_s, end_s = series.start_s + first * series.step_s, series.start_s + last * series.step_s
        minutes = violated[first:last].sum() * series.step_s / MINUTE_S
        text = f"requirements missed for {minutes:g} min\n{clock(begin_s)} to {clock(end_s)}"
        place = {"x": px(x(first)), "y": px(bottom - 6), "width": px(max(1.5, x(last) - x(first))), "height": "6"}
        drawn.append(tag("rect", tag("title", text), class_="missed", **place))
    return drawn


def _moves(moves: Sequence[ReportMove], span: Span, top: float, bottom: float) -> list[Markup]:
    """A flag for each move; without words where there are more than anybody could point at."""
    if len(moves) <= MOST_FLAGS:
        return [_move(move, span.x(move.at_s), top, bottom) for move in moves]
    places = sorted({round(span.x(move.at_s)) for move in moves})
    return [tag("path", class_="flag", d="".join(f"M{x - 3} {px(top - 8)}h6l-3 6z" for x in places))]


def _move(move: ReportMove, x: float, top: float, bottom: float) -> Markup:
    text = f"{clock(move.at_s)}: {_way(move.before)} ⇒ {_way(move.after)}" + (f"\n{move.reason}" if move.reason else "")
    line = tag("path", class_="move", d=f"M{px(x)} {px(top)}V{px(bottom)}")
    flag = tag("path", class_="flag", d=f"M{px(x - 5)} {px(top - 8)}h10l-5 8z")
    hit = tag("rect", class_="slice", x=px(x - 4), y=px(top - 9), width="8", height=px(bottom - top))
    return tag("g", tag("title", text), line, flag, hit, class_="moved")


def _way(path: str) -> str:
    return path.replace(" > ", " → ") or "no path"


def _stretches(one: ReportIntent, span: Span, top: float, tall: float) -> list[Markup]:
    moves = sorted(one.moves, key=lambda move: move.at_s)
    times = [span.start_s, *(move.at_s for move in moves), span.end_s]
    paths = [moves[0].before if moves else one.path, *(move.after for move in moves)]
    whys = ["", *(move.reason for move in moves)]
    order = list(dict.fromkeys(filter(None, paths)))
    drawn, drawn_to = [], -1
    for begin_s, end_s, path, why in zip(times, times[1:], paths, whys, strict=False):
        x, wide = span.x(begin_s), max(1.0, span.x(end_s) - span.x(begin_s))
        if round(x) == drawn_to and end_s < span.end_s:
            continue  # nothing of it could be seen
        drawn_to = round(x)
        text = f"{clock(begin_s)} to {clock(end_s)}\n{_way(path)}" + (f"\n{why}" if why else "")
        index = order.index(path) % len(PALETTE) if path else 0
        look = f"stretch f{index}" if path else "stretch none"
        parts = [tag("title", text), tag("rect", class_=look, x=px(x), y=px(top), width=px(wide), height=px(tall))]
        parts.append(tag("path", class_=f"start c{index}" if path else "start", d=f"M{px(x + 1)} {px(top)}v{px(tall)}"))
        fits = _cut(_way(path), wide - 14, 10.5)
        if len(fits) > 4:
            parts.append(tag("text", fits, class_="small", x=px(x + 6), y=px(top + 14)))
        drawn.append(tag("g", *parts))
    return drawn


def _cut(text: str, room: float, size: float) -> str:
    """A text shortened to so many pixels; empty where nothing fits."""
    if text_width(text, size) <= room:
        return text
    while text and text_width(text + "…", size) > room:
        text = text[:-1]
    return f"{text}…" if text else ""
