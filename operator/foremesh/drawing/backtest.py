"""A backtest as a picture: how far each model is off at each horizon, beside the last value, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from foremesh.drawing.axes import px
from foremesh.drawing.markup import Markup, tag
from foremesh.drawing.style import PICTURE, theme

WIDTH = 760.0
LEFT, RIGHT = 110.0, 700.0
"""Where the axis begins and ends."""
ROW = 22.0
"""Pixels for a model."""
TICKS = (0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0)
FARTHEST = 50.0
"""Ratio beyond which marks are drawn at the edge; the figure beside them tells what they are."""


@dataclass(frozen=True)
class ErrorMark:
    """How far a model is off at a horizon; NaN where there is no telling."""

    horizon: str
    """As it was written."""
    model: str
    ratio: float
    """Error over the last value's."""
    low: float
    high: float
    series: int


def error_plot(title: str, marks: Sequence[ErrorMark]) -> Markup:
    """Draw ratios with their intervals, a block for each horizon and a row for each model.

    Args:
        title: What was backtested.
        marks: In the order in which they are drawn.
    """
    ends = [end for one in marks for end in (one.ratio, one.low, one.high) if math.isfinite(end) and end > 0]
    low = max(min([*ends, 0.8]), 1 / FARTHEST) / 1.1
    high = min(max([*ends, 1.25]), FARTHEST) * 1.1

    def x(ratio: float) -> float:
        share = (math.log(max(ratio, 1e-9)) - math.log(low)) / (math.log(high) - math.log(low))
        return LEFT + min(max(share, 0.0), 1.0) * (RIGHT - LEFT)

    models = list(dict.fromkeys(one.model for one in marks))
    parts: list[object] = []
    top = 44.0
    for text in dict.fromkeys(one.horizon for one in marks):
        rows = [one for one in marks if one.horizon == text]
        bottom = top + 20 + ROW * len(rows)
        parts.append(tag("text", f"{text} ahead", class_="name", x="8", y=px(top + 10)))
        for tick in (one for one in TICKS if low <= one <= high):
            look = "edge" if tick == 1.0 else "grid"
            parts.append(tag("path", class_=look, d=f"M{px(x(tick))} {px(top + 16)}V{px(bottom)}"))
            parts.append(
                tag("text", f"{tick:g}", class_="soft small", x=px(x(tick)), y=px(bottom + 13), text_anchor="middle")
            )
        for index, one in enumerate(rows):
            parts.append(_row(one, models.index(one.model) % 8, top + 20 + ROW * (index + 0.5), x))
        top = bottom + 30
    heading = f"{title}: error beside the last value's, with 95 % intervals"
    return tag(
        "svg",
        tag("title", heading),
        tag("style", Markup(theme(".fm") + PICTURE)),
        tag("rect", class_="ground", width=px(WIDTH), height=px(top)),
        tag("text", heading, class_="name", x="8", y="20"),
        *parts,
        xmlns="http://www.w3.org/2000/svg",
        class_="fm backtest",
        viewBox=f"0 0 {px(WIDTH)} {px(top)}",
        width=px(WIDTH),
        height=px(top),
        role="img",
        aria_label=heading,
    )


def _row(one: ErrorMark, colour: int, y: float, x: Callable[[float], float]) -> Markup:
    parts: list[object] = [tag("text", one.model, x=px(LEFT - 10), y=px(y + 4), text_anchor="end")]
    if not math.isfinite(one.ratio):
        return tag("g", *parts, tag("text", "no series", class_="soft small", x=px(LEFT + 4), y=px(y + 4)))
    if math.isfinite(one.low) and math.isfinite(one.high):
        line = f"M{px(x(one.low))} {px(y)}H{px(x(one.high))}"
        parts.append(tag("path", class_=f"c{colour}", stroke_width="3", d=line))
    parts.append(tag("circle", class_=f"f{colour}", cx=px(x(one.ratio)), cy=px(y), r="5"))
    parts.append(tag("text", f"{one.ratio:.3f}", class_="small", x=px(RIGHT + 8), y=px(y + 4)))
    hint = f"{one.model}: {one.ratio:.3f} ({one.low:.3f} to {one.high:.3f}), {one.series} series"
    return tag("g", tag("title", hint), *parts)
