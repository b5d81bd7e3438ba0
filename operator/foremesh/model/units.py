"""Quantities as people write them in manifests, and the numbers the rest of the program computes with.

Each unit is a float that knows its base unit, so arithmetic stays plain and a manifest prints as it was written.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import ClassVar, Self


class UnitError(ValueError):
    """A quantity that cannot be read; carries ``text`` and ``expected`` (an example of what would do)."""

    def __init__(self, text: object, expected: str) -> None:
        self.text = text
        self.expected = expected
        super().__init__(f"{text!r} is not a quantity foremesh can read; write it like {expected}")


def _plain(number: float) -> str:
    """Six significant digits without an exponent, which manifests do not know."""
    return f"{Decimal(f'{number:.6g}'):f}"


class Unit(float):
    """A non-negative float in a fixed base unit, with the suffixes that people may write."""

    factors: ClassVar[dict[str, float]]
    """Suffix to base units; the order is the order in which ``str`` tries them."""
    example: ClassVar[str]
    pattern: ClassVar[re.Pattern[str]] = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z%/]*)")

    @classmethod
    def parse(cls, text: object) -> Self:
        """Read a quantity.

        Raises:
            UnitError: If the text is no number followed by one of the unit's suffixes.
        """
        match = cls.pattern.fullmatch(str(text).strip())
        if match is None or match[2] not in cls.factors:
            raise UnitError(text, cls.example)
        return cls(float(match[1]) * cls.factors[match[2]])

    def __str__(self) -> str:
        for suffix, factor in self.factors.items():
            if self >= factor:
                return f"{_plain(self / factor)}{suffix}"
        suffix, factor = list(self.factors.items())[-1]
        return f"{_plain(self / factor)}{suffix}"

    __repr__ = __str__


class Milliseconds(Unit):
    """A duration on the scale of networks; base unit milliseconds. Written ``40ms``, ``1.5s``, ``800us``."""

    factors: ClassVar[dict[str, float]] = {"s": 1000.0, "ms": 1.0, "us": 0.001}
    example = "40ms"


class Seconds(Unit):
    """A duration on the scale of planning; base unit seconds. Written ``30s``, ``5m``, ``6h``, ``1d``."""

    factors: ClassVar[dict[str, float]] = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
    example = "30s"


class Bandwidth(Unit):
    """A rate; base unit bit/s. Written ``200M``, ``1G``, ``1.5G``, ``64k``: decimal multiples of a bit per second."""

    factors: ClassVar[dict[str, float]] = {"T": 1e12, "G": 1e9, "M": 1e6, "k": 1e3, "": 1.0}
    example = "200M"


class Ratio(Unit):
    """A share; base unit one. Written ``0.5%`` or ``0.005``."""

    factors: ClassVar[dict[str, float]] = {"%": 0.01, "": 1.0}
    example = "0.5%"

    @classmethod
    def parse(cls, text: object) -> Self:
        value = super().parse(text)
        if value > 1:
            raise UnitError(text, cls.example)
        return value

    def __str__(self) -> str:
        return f"{_plain(self * 100)}%"


class Price(Unit):
    """A price of traffic; base unit US dollars per gigabyte (1e9 bytes). Written ``0.09``."""

    factors: ClassVar[dict[str, float]] = {"": 1.0}
    example = "0.09"
