"""Where text fits on a canvas: places are tried in order of preference, and what is taken stays taken."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

NARROW = frozenset("iljtfrI.,:;'|!()[] -1")
WIDE = frozenset("mwMW@%→⇒…")


def text_width(text: str, size: float, *, bold: bool = False) -> float:
    """Pixels that a text takes in a usual sans-serif, a little generous."""
    units = sum(0.36 if one in NARROW else 0.9 if one in WIDE else 0.7 if one.isupper() else 0.58 for one in text)
    return units * size * (1.07 if bold else 1.0)


class Canvas:
    """Boxes that are taken and lines that had better stay visible."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self._boxes: list[tuple[float, float, float, float]] = []
        self._lines: list[tuple[float, float]] = []

    def take(self, left: float, top: float, right: float, bottom: float) -> None:
        self._boxes.append((left, top, right, bottom))

    def note_line(self, points: Iterable[tuple[float, float]]) -> None:
        self._lines.extend(points)

    def free(self, left: float, top: float, right: float, bottom: float) -> bool:
        """Whether a box touches nothing that is taken, and lies on the canvas."""
        inside = left >= 0 and top >= 0 and right <= self.width and bottom <= self.height
        return inside and not self._overlap(left, top, right, bottom)

    def beside(
        self, x: float, y: float, wide: float, tall: float, *, reach: float, must: bool
    ) -> tuple[float, float, str] | None:
        """The best place for a text beside a point, taken at once.

        Args:
            reach: Pixels between the point and the text.
            must: Take the least bad place where none is free; else None is the answer.

        Returns:
            Left, top, and which end of the text is nearest to the point (``start``, ``middle``, ``end``).
        """
        slant = reach * 0.7
        places: Sequence[tuple[float, float, str]] = (
            (x + reach, y - tall / 2, "start"),
            (x - reach - wide, y - tall / 2, "end"),
            (x - wide / 2, y + reach, "middle"),
            (x - wide / 2, y - reach - tall, "middle"),
            (x + slant, y + slant, "start"),
            (x + slant, y - slant - tall, "start"),
            (x - slant - wide, y + slant, "end"),
            (x - slant - wide, y - slant - tall, "end"),
        )
        best, least = None, float("inf")
        for place, (left, top, anchor) in enumerate(places):
            cost = self._cost(left, top, left + wide, top + tall) + place * 0.2
            if cost < least:
                best, least = (left, top, anchor), cost
        if best is None or (least >= TAKEN and not must):
            return None
        self.take(best[0], best[1], best[0] + wide, best[1] + tall)
        return best

    def _cost(self, left: float, top: float, right: float, bottom: float) -> float:
        outside = left < 0 or top < 0 or right > self.width or bottom > self.height
        return (
            outside * OUTSIDE
            + self._overlap(left, top, right, bottom) * TAKEN
            + self._crossed(left, top, right, bottom)
        )

    def _overlap(self, left: float, top: float, right: float, bottom: float) -> int:
        return sum(
            left < other[2] and other[0] < right and top < other[3] and other[1] < bottom for other in self._boxes
        )

    def _crossed(self, left: float, top: float, right: float, bottom: float) -> int:
        if not self._lines:
            return 0
        x, y = np.array(self._lines).T
        return int(((x > left) & (x < right) & (y > top) & (y < bottom)).sum())


TAKEN = 100.0
"""Cost of covering a symbol or another text; a circuit's line costs one for each point covered."""
OUTSIDE = 1000.0
"""Cost of leaving the canvas."""
