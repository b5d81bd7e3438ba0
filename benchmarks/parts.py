"""A benchmark in parts, as a command: which parts, how long, where figures go."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dataplane.figures import Sheet

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the benchmark; ``takes`` is how long, full and quick, on two cores."""

    run: Callable[[Sheet, Say, bool], None]
    takes: str


def run(
    title: str,
    parts: Mapping[str, Part],
    out: Path,
    *,
    description: str,
    epilog: str,
    quick: str,
    lacking: Callable[[], str | None] = lambda: None,
) -> int:
    """Take the command line's wishes, measure, print a table, write one JSON object a figure.

    Args:
        title: Of the table.
        out: Where figures go unless the command line says otherwise.
        quick: What ``--quick`` does.
        lacking: Says why nothing can be measured here; None if it can.

    Returns:
        Exit status: 0, 1 if a target is missed, 2 if nothing can be measured here.
    """
    takes = "; ".join(f"{name} {part.takes}" for name, part in parts.items())
    parser = argparse.ArgumentParser(description=description, epilog=f"{epilog}: {takes}.")
    parser.add_argument("--quick", action="store_true", help=quick)
    parser.add_argument("--parts", default=",".join(parts), help=f"of {','.join(parts)}, separated by commas")
    parser.add_argument("--out", type=Path, default=out, help="file to write, one JSON object a figure")
    options = parser.parse_args()
    wanted = options.parts.split(",")
    if unknown := [name for name in wanted if name not in parts]:
        parser.error(f"no such part: {', '.join(unknown)}; known are {', '.join(parts)}")
    if reason := lacking():
        print(f"nothing is measured: {reason}", file=sys.stderr)
        return 2
    begun = time.monotonic()
    sheet = Sheet(title + (", quick: too short to judge by" if options.quick else ""))
    for name in wanted:

        def say(text: str, name: str = name) -> None:
            print(f"{time.monotonic() - begun:6.0f} s  {name}: {text}", file=sys.stderr, flush=True)

        say(f"begins ({parts[name].takes})")
        parts[name].run(sheet, say, options.quick)
        sheet.write(options.out)
    sheet.print()
    print(f"{len(sheet.figures)} figures in {options.out}, {time.monotonic() - begun:.0f} s")
    return 0 if sheet.ok else 1
