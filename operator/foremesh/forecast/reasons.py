"""Reasons that are written when somebody reads them: plans ask for thousands of forecasts and print a few."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import overload


class Reasons(Sequence[str]):
    """One line per series.

    Args:
        series: How many there are.
        write: Writes the line of one series.
    """

    def __init__(self, series: int, write: Callable[[int], str]) -> None:
        self._series = series
        self._write = write

    def __len__(self) -> int:
        return self._series

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[str, ...]: ...
    def __getitem__(self, index: int | slice) -> str | tuple[str, ...]:
        if isinstance(index, slice):
            return tuple(self._write(series) for series in range(self._series)[index])
        return self._write(range(self._series)[index])
