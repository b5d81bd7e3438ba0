"""How good forecasts are and what they cost: ``make bench-forecast``.

Prints a table and writes one JSON object a figure to out/bench-forecast.jsonl. Parts: "speed" is the additive model
beside Prophet; "many" refreshes a hundred thousand series on two cores; "cycle" is what Prophet costs an operator of
3,000 links; "beside" compares with statsforecast; "files" backtests recorded files, which it finds by FOREMESH_SHARED.
docs/reference/bench-forecast.md says what each figure is.
"""

from __future__ import annotations

import os

# One core each, before anything that starts threads is imported.
for _threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_threads, "1")

import sys  # noqa: E402
from pathlib import Path  # noqa: E402

from dataplane.figures import Sheet  # noqa: E402
from forecasting import beside, cycle, files, many, speed  # noqa: E402
from parts import Part, Say, run  # noqa: E402

OUT = Path(__file__).parents[1] / "out" / "bench-forecast.jsonl"


def _speed(sheet: Sheet, say: Say, quick: bool) -> None:
    speed.measure(sheet, say, series=1024 if quick else 4096, prophets=3 if quick else 12, runs=3 if quick else 5)


def _many(sheet: Sheet, say: Say, quick: bool) -> None:
    many.measure(sheet, say, series=2048 if quick else many.SERIES)


def _cycle(sheet: Sheet, say: Say, quick: bool) -> None:
    cycle.measure(sheet, say, fits=4 if quick else 24, refreshes=3 if quick else 20)


def _beside(sheet: Sheet, say: Say, quick: bool) -> None:
    beside.measure(sheet, say, series=4 if quick else 12, limit_s=10 if quick else 120)


def _files(sheet: Sheet, say: Say, quick: bool) -> None:
    files.measure(sheet, say, folds=3 if quick else 5, prophet=not quick)


PARTS = {
    "speed": Part(_speed, "1 min, quick 10 s"),
    "many": Part(_many, "2 min, quick 10 s"),
    "cycle": Part(_cycle, "1 min, quick 20 s"),
    "beside": Part(_beside, "18 min, quick 3 min"),
    "files": Part(_files, "3 min, quick 1 min"),
}


def main() -> int:
    """Exit status: 0, or 1 if a target is missed."""
    return run(
        "Forecasts",
        PARTS,
        OUT,
        description="Measure what forecasts are worth and what they cost.",
        epilog="All parts take less than half an hour on two cores that do nothing else",
        quick="fewer series, shorter limits: to see that it works",
    )


if __name__ == "__main__":
    sys.exit(main())
