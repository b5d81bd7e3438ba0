"""What the data plane does to traffic, and what it costs: ``make bench-dataplane``.

Prints a table and writes one JSON object a figure to out/bench-dataplane.jsonl. Real agents, WireGuard, nftables and
VXLAN in namespaces; needs root and the tests' lab. Parts: "moves" moves a circuit that carries traffic; "throughput"
compares a circuit with the same nesting by hand; "cost" measures memory and processor time of an agent with 50 peers
and 200 circuits. docs/reference/dataplane.md says what each figure is.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from dataplane import cost, moves, throughput
from dataplane.figures import Sheet

from foremesh.model.intent import Encryption
from lab import build, requirements

OUT = Path(__file__).parents[1] / "out" / "bench-dataplane.jsonl"

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the benchmark; ``takes`` is how long, full and quick, on two cores."""

    run: Callable[[Sheet, Say, bool], None]
    takes: str


def _throughput(sheet: Sheet, say: Say, quick: bool) -> None:
    pairs, run_s = (2, 3) if quick else (5, 6)
    for which in (build.on_path("wireguard-go"), nullcontext()):
        with which:
            throughput.measure(sheet, say, pairs=pairs, run_s=run_s, wanted=tuple(Encryption))


def _moves(sheet: Sheet, say: Say, quick: bool) -> None:
    for encryption in Encryption:
        moves.measure(sheet, say, moves=4 if quick else 20, encryption=encryption)


def _cost(sheet: Sheet, say: Say, quick: bool) -> None:
    cost.measure(sheet, say, peers=10 if quick else 50, last_s=10 if quick else 60)


PARTS = {
    "moves": Part(_moves, "5 min, quick 2 min"),
    "throughput": Part(_throughput, "14 min, quick 4 min"),
    "cost": Part(_cost, "4 min, quick 1 min"),
}


def main() -> int:
    """Exit status: 0, 1 if a target is missed, 2 if nothing can be measured here."""
    takes = "; ".join(f"{name} {part.takes}" for name, part in PARTS.items())
    parser = argparse.ArgumentParser(
        description="Measure moves, throughput and cost of the data plane.",
        epilog=f"All parts take less than 30 minutes on two cores that do nothing else: {takes}.",
    )
    parser.add_argument("--quick", action="store_true", help="fewer and shorter runs: to see that it works")
    parser.add_argument("--parts", default=",".join(PARTS), help=f"of {','.join(PARTS)}, separated by commas")
    parser.add_argument("--out", type=Path, default=OUT, help="file to write, one JSON object a figure")
    options = parser.parse_args()
    wanted = options.parts.split(",")
    if unknown := [name for name in wanted if name not in PARTS]:
        parser.error(f"no such part: {', '.join(unknown)}; known are {', '.join(PARTS)}")
    if reason := requirements.missing("lab"):
        print(f"nothing is measured: {reason}", file=sys.stderr)
        return 2
    begun = time.monotonic()
    sheet = Sheet("Data plane" + (", quick: too short to judge by" if options.quick else ""))
    for name in wanted:

        def say(text: str, name: str = name) -> None:
            print(f"{time.monotonic() - begun:6.0f} s  {name}: {text}", file=sys.stderr, flush=True)

        say(f"begins ({PARTS[name].takes})")
        PARTS[name].run(sheet, say, options.quick)
    sheet.print()
    sheet.write(options.out)
    print(f"{len(sheet.figures)} figures in {options.out}, {time.monotonic() - begun:.0f} s")
    return 0 if sheet.ok else 1


if __name__ == "__main__":
    sys.exit(main())
