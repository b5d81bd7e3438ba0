"""How fast the mesh heals, beside babeld, OSPF and static routes: ``make bench-convergence`` (Linux, as root).

The same emulated Internet, gateways, stream and schedule of faults for every system, each in namespaces of its own, in
blocks whose order turns round, so that an hour of a busy machine meets all of them. Systems whose timers are seconds
(static routes, the defaults) run beside others where there are processors for both; --one-by-one keeps all apart.
Prints tables, writes one JSON object a figure to out/bench-convergence.jsonl and one a fault to
out/bench-convergence-faults.jsonl. 100 faults take about 90 minutes on two idle cores, --quick about 15.

What is compared, how, and with which configurations: docs/reference/convergence.md.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from convergence import sheet
from convergence.systems import SYSTEMS
from rich.console import Console

ROOT = Path(__file__).parents[1]
OUT = ROOT / "out" / "bench-convergence.jsonl"
FAULTS_OUT = ROOT / "out" / "bench-convergence-faults.jsonl"

FAULTS, SEED, RATE_HZ = 100, 1, 500.0
"""Packets a second: userspace WireGuard on two cores carries no more through the five tunnels that Foremesh's path has,
one within the other, without being what is measured."""
QUICK = 8
"""Faults of a smoke run: two of each kind."""
BLOCKS = 2
"""Parts of the schedule; every system does one before the first does the next."""


def together(systems: Sequence[str], processors: float) -> list[list[str]]:
    """Who runs at the same time: a system whose timers are milliseconds beside none of its kind, and nobody beside more
    than the processors carry."""
    groups = [[name] for name in systems if not SYSTEMS[name].slow]
    for name in systems:
        if SYSTEMS[name].slow:
            load = SYSTEMS[name].processors
            fits = [one for one in groups if sum(SYSTEMS[other].processors for other in one) + load <= processors]
            if fits:
                fits[0].append(name)
            else:
                groups.append([name])
    return groups


class Run:
    """Everything that was measured so far."""

    def __init__(self, systems: list[str], options: argparse.Namespace, folder: Path, console: Console) -> None:
        self.systems, self.options, self.folder, self.console = systems, options, folder, console
        self.faults: dict[str, list[dict[str, Any]]] = {name: [] for name in systems}
        self.about: dict[str, dict[str, Any]] = {}
        self.failed: list[str] = []
        self._running: set[subprocess.Popen[str]] = set()
        self._stopping = False
        self._begun = time.monotonic()

    def block(self, system: str, number: int, count: int) -> None:
        """Take a system through a part of the schedule, in a process of its own."""
        share = self.options.faults / count
        first, last = round(number * share), round((number + 1) * share)
        folder = self.folder / f"{system}-{number}"
        argv = [sys.executable, "-m", "convergence.lane", system, "--first", first, "--last", last]
        argv += ["--faults", self.options.faults, "--seed", self.options.seed, "--rate", self.options.rate]
        argv += ["--folder", folder, *(["--control"] if number == 0 else [])]
        folder.mkdir(parents=True)
        with (folder / "lane.log").open("w") as log:
            process = subprocess.Popen([*map(str, argv)], stdout=subprocess.PIPE, stderr=log, text=True)
            self._running.add(process)
            assert process.stdout
            for text in process.stdout:
                self._take(system, json.loads(text))
            process.wait()
            self._running.discard(process)
        if process.returncode and not self._stopping:
            said = (folder / "lane.log").read_text().strip().splitlines()
            self.failed.append(f"{system}: {said[-1] if said else f'exit {process.returncode}'}; see {folder}")
            self.tell(self.failed[-1])

    def blocks(self) -> None:
        """Take every system through everything."""
        groups = together(self.systems, 0 if self.options.one_by_one else os.cpu_count() or 1)
        count = self.options.blocks
        for number in range(count):
            for group in groups if number % 2 == 0 else reversed(groups):
                self._beside([threading.Thread(target=self.block, args=(system, number, count)) for system in group])

    def _beside(self, threads: list[threading.Thread]) -> None:
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        except BaseException:  # interrupted: they take their namespaces down
            self._stopping = True
            for process in tuple(self._running):
                process.terminate()
            for thread in threads:
                thread.join()
            raise

    def _take(self, system: str, line: dict[str, Any]) -> None:
        if "tell" in line:
            self.tell(f"{system}: {line['tell']}")
        elif "fault" in line:
            self.faults[system].append({"system": system, **line})
            reached = "never" if line["converged_ms"] is None else f"after {line['converged_ms']:,.0f} ms"
            self.tell(
                f"{system}: fault {line['fault'] + 1} of {self.options.faults}, {line['kind']} of {line['target']}:"
                f" gap {line['gap_ms']:,.0f} ms{' and more' if line['open'] else ''}, best path {reached}"
                + ("" if line["settled_before"] else "; was not back on the best path before")
            )
        else:
            self.about[system] = self.about.get(system, {}) | line
            versions = ", ".join(f"{name} {version}" for name, version in line["versions"].items())
            self.tell(f"{system}: {versions}; on the best path after {line['started_s']:.0f} s")

    def tell(self, text: str) -> None:
        """A line of progress, with the minutes since the beginning."""
        self.console.print(
            f"{(time.monotonic() - self._begun) / 60:5.1f} min  {text}", highlight=False, markup=False, soft_wrap=True
        )

    def report(self) -> bool:
        """Print and write everything; whether all targets that could be judged are met and every system ran."""
        measured = {system: rows for system, rows in self.faults.items() if rows}
        made = sheet.figures(measured, measured, self.about)
        OUT.parent.mkdir(exist_ok=True)
        OUT.write_text("".join(json.dumps(row) + "\n" for row in made))
        FAULTS_OUT.write_text("".join(json.dumps(row) + "\n" for rows in measured.values() for row in rows))
        self.console.print(sheet.table(SYSTEMS, measured, self.about, self.options.rate))
        judged = sheet.targets(measured)
        if judged:
            self.console.print(sheet.target_table(judged))
        for text in self.failed:
            self.console.print(text, highlight=False, markup=False, soft_wrap=True)
        self.tell(f"done; written: {OUT.relative_to(ROOT)}, {FAULTS_OUT.relative_to(ROOT)}")
        return not self.failed and all(one["ok"] for one in judged)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, help=f"of the schedule (default: {FAULTS})")
    parser.add_argument("--seed", type=int, default=SEED, help="of the schedule (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=RATE_HZ, help="packets a second (default: %(default)g)")
    parser.add_argument("--systems", default=",".join(SYSTEMS), help="which, by name (default: %(default)s)")
    parser.add_argument("--blocks", type=int, help=f"parts of the schedule (default: {BLOCKS})")
    parser.add_argument("--one-by-one", action="store_true", help="never two systems at a time")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} faults in one block: a smoke run")
    options = parser.parse_args()
    options.faults = options.faults or (QUICK if options.quick else FAULTS)
    options.blocks = options.blocks or (1 if options.quick else BLOCKS)
    systems = options.systems.split(",")
    if unknown := set(systems) - set(SYSTEMS):
        parser.error(f"no system {', '.join(sorted(unknown))}; there are {', '.join(SYSTEMS)}")
    if os.geteuid() != 0:
        sys.exit("not root: no network namespaces, nothing can be measured; run it as root")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    os.environ["PYTHONPATH"] = os.pathsep.join((str(ROOT / "tests"), str(ROOT / "benchmarks")))
    console = Console(width=96)
    folder = Path(tempfile.mkdtemp(prefix="convergence-"))
    run = Run(systems, options, folder, console)
    try:
        run.blocks()
        passed = run.report()
    finally:
        if not run.failed:  # else the logs in it say why
            shutil.rmtree(folder)
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
