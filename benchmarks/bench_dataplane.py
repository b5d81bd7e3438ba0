"""What the data plane does to traffic, and what it costs: ``make bench-dataplane``.

Prints a table and writes one JSON object a figure to out/bench-dataplane.jsonl. Real agents, WireGuard, nftables and
VXLAN in namespaces; needs root and the tests' lab. Parts: "moves" moves a circuit that carries traffic; "throughput"
compares a circuit with the same nesting by hand; "cost" measures memory and processor time of an agent with 50 peers
and 200 circuits. docs/reference/dataplane.md says what each figure is.
"""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path

from dataplane import cost, moves, throughput
from dataplane.figures import Sheet
from parts import Part, Say, run

from foremesh.model.intent import Encryption
from lab import build, requirements

OUT = Path(__file__).parents[1] / "out" / "bench-dataplane.jsonl"


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
    return run(
        "Data plane",
        PARTS,
        OUT,
        description="Measure moves, throughput and cost of the data plane.",
        epilog="All parts take less than 30 minutes on two cores that do nothing else",
        quick="fewer and shorter runs: to see that it works",
        lacking=lambda: requirements.missing("lab"),
    )


if __name__ == "__main__":
    sys.exit(main())
