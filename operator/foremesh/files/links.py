"""``links.csv``: what is known of single links, one directed link a row."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from foremesh.files.errors import InputError, listed, nearest, shown
from foremesh.files.text import read_text
from foremesh.model.units import Bandwidth
from foremesh.telemetry.recorded import LONGEST_RTT_MS, MOST_BPS

NAMES: Final = ("src", "dst")
PRICE: Final = "price"
ALIASES: Final = {"egress_price": PRICE}

LEAST_CAPACITY_BPS = 1e3
"""Bit/s, the bound of every rate in a manifest: a number below has lost its suffix."""

HIGHEST_PRICE = 1000.0
"""US dollars per gigabyte, the bound of every price in a manifest."""

_NUMBER: Final = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")


@dataclass(frozen=True, slots=True)
class LinkRow:
    """A row as written; None is unknown."""

    line: int
    src: str
    dst: str
    underlay: str = ""
    """Empty: the one network that both ends are on."""
    rtt_ms: float | None = None
    """Round trip over the link."""
    jitter_ms: float | None = None
    """How much transit times from src to dst vary from packet to packet."""
    loss: float | None = None
    """Share of packets lost, 0 to 1."""
    throughput_bps: float | None = None
    """What it carries, bit/s."""
    capacity_bps: float | None = None
    """What it carries at most, bit/s."""
    egress_price: float | None = None
    """US dollars per gigabyte sent into it."""


class _Unfit(ValueError):
    """A figure that is none; carries what is wrong with it and what to write."""

    def __init__(self, what: str, cure: str) -> None:
        self.what = what
        self.cure = cure
        super().__init__(what)


def read_links(path: Path) -> tuple[LinkRow, ...]:
    """Read ``links.csv``: columns ``src`` and ``dst``, and any of ``underlay``, ``rtt_ms``, ``jitter_ms``, ``loss``,
    ``throughput``, ``capacity`` and ``price`` (or ``egress_price``); an empty field is unknown.

    Args:
        path: The file. Names in it stay as they are written.

    Raises:
        InputError: If it cannot be read, a column is missing or unknown, a figure is none, a row repeats another or
            leads from a place to itself.
    """
    rows = _records(read_text(path), path)
    header_line, header = next(rows, (1, []))
    columns = _columns(header, header_line, path)
    found: list[LinkRow] = []
    lines: dict[tuple[str, str, str], int] = {}
    for line, fields in rows:
        if len(fields) != len(columns):
            cause = f"has {len(fields)} fields, and the header names {len(columns)} columns ({', '.join(columns)})"
            raise InputError(path, line, cause, "give a field for each column; leave it empty for what is unknown")
        row = _row(dict(zip(columns, fields, strict=True)), line, path)
        key = (row.src, row.dst, row.underlay)
        if key in lines:
            cause = f"the link {row.src}->{row.dst} is in line {lines[key]} already"
            raise InputError(path, line, cause, "remove one of the two rows")
        lines[key] = line
        found.append(row)
    return tuple(found)


def _records(text: str, path: Path) -> Iterator[tuple[int, list[str]]]:
    """Rows with the lines that they begin at; blank ones are left out."""
    reader = csv.reader(text.splitlines(keepends=True), strict=True)
    line = 1
    try:
        for fields in reader:
            if any(field.strip() for field in fields):
                yield line, [field.strip() for field in fields]
            line = reader.line_num + 1
    except csv.Error as error:
        raise InputError(path, line, f"this is no CSV: {error}", "look at the quotes from here on") from error


def _columns(header: list[str], line: int, path: Path) -> list[str]:
    if not header:
        cause = "is empty"
        raise InputError(path, None, cause, "begin it with the line src,dst,rtt_ms and give a row for each link")
    names = [ALIASES.get(name, name) for name in header]
    known = [*NAMES, "underlay", *_FIGURES]
    if len(header) == 1 and (other := re.search(r"[;\t|]", header[0])):
        cause = f"the columns are separated by {shown(other[0])}"
        raise InputError(path, line, cause, "separate them by commas, and write numbers with a decimal point")
    for name, written in zip(names, header, strict=True):
        if name not in known:
            meant = nearest(written, [*known, *ALIASES])
            cure = f"did you mean {meant}?" if meant else f"remove it; the columns are {', '.join(known)}"
            raise InputError(path, line, f"unknown column {shown(written)}", cure)
        if names.count(name) > 1:
            raise InputError(path, line, f"the column {name} is there twice", "remove one of the two")
    if absent := [name for name in NAMES if name not in names]:
        cause = f"the column {absent[0]} is missing; there are {listed(header)}"
        raise InputError(path, line, cause, "every row needs src and dst, the gateways that the link leads from and to")
    return names


def _row(fields: dict[str, str], line: int, path: Path) -> LinkRow:
    for name in NAMES:
        if not fields[name]:
            raise InputError(path, line, f"{name} is empty", "name a gateway, as namespace/name or by its name alone")
    if fields["src"] == fields["dst"]:
        cause = f"the link leads from {fields['src']} to itself"
        raise InputError(path, line, cause, "name two different gateways, or remove the row")
    figures: dict[str, float | None] = {}
    for name, (field, read) in _FIGURES.items():
        text = fields.get(name, "")
        try:
            figures[field] = read(text) if text else None
        except _Unfit as error:
            raise InputError(path, line, f"{name} is {shown(text)}, {error.what}", error.cure) from error
    return LinkRow(line=line, src=fields["src"], dst=fields["dst"], underlay=fields.get("underlay", ""), **figures)


def _number(text: str, cure: str) -> float:
    if not _NUMBER.fullmatch(text):
        raise _Unfit("which is no number", f"{cure}, or leave the field empty if it is unknown")
    number = float(text)
    if number < 0 or text.startswith("-"):
        raise _Unfit("which is negative", f"{cure}, or leave the field empty if it is unknown")
    if not math.isfinite(number):
        raise _Unfit("which is no number that can be meant", cure)
    return number


def _milliseconds(text: str, cure: str) -> float:
    ms = _number(text, cure)
    if ms > LONGEST_RTT_MS:
        raise _Unfit("which is more than a minute", f"{cure}; it is no count of microseconds")
    return ms


def _rtt_ms(text: str) -> float:
    return _milliseconds(text, "write the round trip in milliseconds, for instance 12.5")


def _jitter_ms(text: str) -> float:
    return _milliseconds(text, "write how much transit times vary, in milliseconds, for instance 1.5")


def _loss(text: str) -> float:
    cure = "write a share between 0 and 1, or with a percent sign, for instance 0.005 or 0.5%"
    share = _number(text.removesuffix("%").rstrip(), cure) * (0.01 if text.endswith("%") else 1.0)
    if share > 1:
        raise _Unfit("which is more than everything", cure)
    return share


def _rate_bps(text: str) -> float:
    cure = "write a rate in bits per second with k, M, G or T, for instance 200M or 1.5G"
    suffix = text[-1] if text[-1].isalpha() else ""
    if suffix not in Bandwidth.factors:
        raise _Unfit("which is no rate", cure)
    rate_bps = _number(text.removesuffix(suffix), cure) * Bandwidth.factors[suffix]
    if rate_bps > MOST_BPS:
        raise _Unfit("which is more than 100T", cure)
    return rate_bps


def _capacity_bps(text: str) -> float:
    rate_bps = _rate_bps(text)
    if rate_bps < LEAST_CAPACITY_BPS:
        cure = "write a rate in bits per second with k, M, G or T, for instance 200M"
        raise _Unfit("which is less than 1k bits per second", cure)
    return rate_bps


def _price(text: str) -> float:
    cure = "write US dollars per gigabyte as a plain number, for instance 0.09"
    price = _number(text, cure)
    if price > HIGHEST_PRICE:
        raise _Unfit("which is more than 1000 US dollars per gigabyte", cure)
    return price


_once = lru_cache(maxsize=4096)
"""Columns say the same a thousand times over: a capacity, a price, a round trip both ways."""

_FIGURES: Final[dict[str, tuple[str, Callable[[str], float]]]] = {
    "rtt_ms": ("rtt_ms", _once(_rtt_ms)),
    "jitter_ms": ("jitter_ms", _once(_jitter_ms)),
    "loss": ("loss", _once(_loss)),
    "throughput": ("throughput_bps", _once(_rate_bps)),
    "capacity": ("capacity_bps", _once(_capacity_bps)),
    PRICE: ("egress_price", _once(_price)),
}
"""Column to the field of ``LinkRow`` and its reader."""
