"""Random config changes and kills on one host, and what they leave behind: ``make bench-robustness``.

A real agent, WireGuard, nftables and VXLAN in a namespace; needs root and the tests' lab. Configs of a gateway or
workload come at random, larger and smaller changes, while the agent, a WireGuard or the failover process is killed, or
something does not let the config in. After every change the host must be as the config in force says, and after
leaving as before the agent came. Prints a table and writes one JSON object a figure to out/bench-robustness.jsonl.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from dataplane.figures import Figure, Sheet
from robustness.soak import EVENTS, LEAKS, Outcome, Soak, leaks

from agent.mesh_api import FakeMeshApi
from lab import requirements
from lab.scenes import Gateway
from lab.topology import Lab, Topology

OUT = Path(__file__).parents[1] / "out" / "bench-robustness.jsonl"
CHANGES, QUICK = 1000, 30
BETWEEN_REPORTS = 25
"""Changes from one line of progress to the next."""


def main() -> int:
    """Exit status: 0, 1 if anything was left behind or did not converge, 2 if nothing can be measured here."""
    parser = argparse.ArgumentParser(
        description="Change configs at random, kill what runs, and look for what is left.",
        epilog=f"{CHANGES} changes take about an hour on two cores, {QUICK} two minutes.",
    )
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} changes")
    parser.add_argument("--changes", type=int, help=f"how many, instead of {CHANGES}")
    parser.add_argument("--seed", type=int, default=1, help="of changes, events and moments")
    parser.add_argument("--out", type=Path, default=OUT, help="file to write, one JSON object a figure")
    options = parser.parse_args()
    changes = options.changes or (QUICK if options.quick else CHANGES)
    if reason := requirements.missing("lab"):
        print(f"nothing is measured: {reason}", file=sys.stderr)
        return 2
    begun = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - begun:6.0f} s  {text}", file=sys.stderr, flush=True)

    with (
        Lab(Topology((Gateway("a", "Core", "sa", "eu", 0.0),), (), {})) as lab,
        FakeMeshApi(lab.mgmt_address) as api,
        tempfile.TemporaryDirectory() as folder,
    ):
        soak = Soak(lab["a"], api, Path(folder), options.seed)
        try:
            soak.start()
            outcomes = []
            for number in range(1, changes + 1):
                outcome = soak.change()
                outcomes.append(outcome)
                if outcome.wrong:
                    say(f"change {number}, {outcome.event}: {'; '.join(outcome.wrong)}")
                if number % BETWEEN_REPORTS == 0:
                    bad = sum(bool(one.wrong) for one in outcomes)
                    say(f"{number} of {changes} changes, {bad} wrong, {dict(Counter(o.event for o in outcomes))}")
            left = soak.leave(killed=True)
        except BaseException:
            say(soak.log())
            raise
        finally:
            soak.close()
    for line in left:
        say(f"left after leaving: {line}")
    sheet = figures(outcomes, left)
    sheet.print()
    sheet.write(options.out)
    print(f"{len(sheet.figures)} figures in {options.out}, {time.monotonic() - begun:.0f} s")
    return 0 if sheet.ok else 1


def figures(outcomes: list[Outcome], left: tuple[str, ...]) -> Sheet:
    """What the changes came to."""
    sheet = Sheet("Robustness")
    bench = f"{len(outcomes)} changes"
    for event in EVENTS:
        of_it = [one for one in outcomes if one.event == event]
        if not of_it:
            continue
        refused = sum(one.refused for one in of_it)
        sheet.add(Figure(bench, f"{event}: how often", len(of_it), "times"))
        if refused:
            sheet.add(Figure(bench, f"{event}: refused and rolled back", refused, "times"))
        if "killed" in event:
            midway = sum(one.midway for one in of_it)
            sheet.add(Figure(bench, f"{event}: before the config was acknowledged", midway, "times"))
        took_s = sorted(one.converged_s for one in of_it)
        sheet.add(Figure(bench, f"{event}: time until all is right, median", statistics.median(took_s), "s"))
        sheet.add(Figure(bench, f"{event}: time until all is right, longest", took_s[-1], "s"))
    wrong = [one for one in outcomes if one.wrong]
    for what in LEAKS:
        count = sum(leaks(one.wrong)[what] for one in wrong)
        sheet.add(Figure(bench, f"{what} left behind", count, "", target=0))
    sheet.add(Figure(bench, "hosts that did not become right", len(wrong), "", target=0))
    sheet.add(Figure(bench, "things left after leaving", len(left), "", target=0))
    return sheet


if __name__ == "__main__":
    sys.exit(main())
