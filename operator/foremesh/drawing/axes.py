"""Scales, ticks and lines that every plot needs. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from foremesh.drawing.markup import Markup, tag
from foremesh.model.series import Floats

HOUR_S = 3600.0
TIME_STEPS_S = tuple(hours * HOUR_S for hours in (0.25, 0.5, 1, 2, 3, 6, 12, 24, 48, 168))
MOST_TIMES = 12
"""Labels along the time axis."""


@dataclass(frozen=True)
class Span:
    """A stretch of time on the page."""

    start_s: float
    end_s: float
    left: float
    right: float

    def x(self, at_s: float) -> float:
        """Pixels from the left."""
        share = (at_s - self.start_s) / max(self.end_s - self.start_s, 1e-9)
        return self.left + share * (self.right - self.left)

    def ticks(self) -> list[tuple[float, str]]:
        """Where labels stand, and what they say: the time of day, or the date at midnight of longer spans."""
        length_s = self.end_s - self.start_s
        step_s = next((one for one in TIME_STEPS_S if length_s / one <= MOST_TIMES), TIME_STEPS_S[-1])
        first = math.ceil(self.start_s / step_s) * step_s
        return [(self.x(at), _moment(at, length_s)) for at in np.arange(first, self.end_s + 1, step_s)]


def _moment(at_s: float, length_s: float) -> str:
    at = datetime.fromtimestamp(at_s, UTC)
    midnight = at.hour == 0 and at.minute == 0
    return at.strftime("%d %b") if midnight and length_s > 25 * HOUR_S else at.strftime("%H:%M")


def nice_ticks(low: float, high: float, most: int = 4) -> list[float]:
    """Round numbers within two values, about so many."""
    if not high > low:
        return [low]
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(one * power for one in (1, 2, 5, 10) if one * power >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [step * index for index in range(first, int(high / step + 1e-9) + 1)]


def extremes(values: Floats, most: int) -> list[list[tuple[float, float]]]:
    """A long series as few points, without losing its peaks: the least and the greatest of each bucket, in order.

    Args:
        values: NaN where unknown; a bucket of nothing else breaks the line.
        most: Buckets.

    Returns:
        Lines of (index, value).
    """
    width = max(1, math.ceil(len(values) / most))
    lines: list[list[tuple[float, float]]] = [[]]
    for start in range(0, len(values), width):
        bucket = values[start : start + width]
        known = np.flatnonzero(np.isfinite(bucket))
        if not len(known):
            if lines[-1]:
                lines.append([])
            continue
        ends = {int(known[np.argmin(bucket[known])]), int(known[np.argmax(bucket[known])])}
        lines[-1] += [(float(start + index), float(bucket[index])) for index in sorted(ends)]
    return [line for line in lines if line]


def runs(flags: Iterable[bool]) -> list[tuple[int, int]]:
    """Stretches of true, as first index and the one after the last."""
    padded = np.concatenate([[False], np.asarray(list(flags), dtype=bool), [False]])
    edges = np.flatnonzero(padded[1:] != padded[:-1])
    return [(int(start), int(end)) for start, end in zip(edges[::2], edges[1::2], strict=True)]


def line_path(lines: list[list[tuple[float, float]]], x: Callable[[float], float], y: Callable[[float], float]) -> str:
    """Lines as path data; a line of one point becomes a dot."""
    parts = []
    for line in lines:
        points = [f"{px(x(at))} {px(y(value))}" for at, value in line]
        parts.append("M" + "L".join(points if len(points) > 1 else points * 2))
    return "".join(parts)


def px(value: float) -> str:
    """A coordinate: tenths of a pixel."""
    text = f"{value:.1f}".removesuffix(".0")
    return "0" if text == "-0" else text


def time_axis(span: Span, top: float, bottom: float) -> list[Markup]:
    """Faint verticals with their times below."""
    drawn = []
    for x, text in span.ticks():
        drawn.append(tag("path", class_="grid", d=f"M{px(x)} {px(top)}V{px(bottom)}"))
        # The last label would stick out of the picture.
        anchor = "middle" if x < span.right - 16 else "end"
        drawn.append(tag("text", text, class_="soft small", x=px(x), y=px(bottom + 14), text_anchor=anchor))
    return drawn
