"""Takes one system through a part of the schedule, in a process of its own; prints one JSON object a line.

    python -m convergence.lane SYSTEM --first 0 --last 50 --faults 100 --seed 1 --rate 1000 --folder FOLDER

The first line is of the system (versions, control bytes a second), each further one of a fault. A fault ends when the
stream has been within 10 % of the best path for a second, or after the seconds that the schedule gives it; the next
comes when the network is as before. All waiting is for what the stream shows, and bounded.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

import numpy as np

from convergence import scene, stream
from convergence.outcome import (
    CONVERGED_S,
    LOOK_PACKETS,
    LOOK_S,
    PROMPT_SHARE,
    Log,
    Outcome,
    converged_ms,
    good,
    longest_gap_ms,
    moves,
    read,
)
from convergence.scene import Fault, Kind
from convergence.system import Ends, System
from convergence.systems import SYSTEMS
from lab.internet import Internet

SETTLED_SHARE = 0.1
"""Share of a second's packets that has to be on the best path for the network to be as before; no more than says which
path it is, so that a busy machine holds nothing up."""
SETTLE_S = 60.0
"""Seconds to wait at most for the network to be as before."""
BEHIND_S = 0.3
"""Seconds that the logs are behind: the longest path of interest, twice the time until they are flushed, and a busy
machine."""
EVERY_S = 0.05
"""Seconds between two looks at the stream."""
EDGE_S = 0.15
"""Seconds before a change in which packets were sent that may have met it on their way."""
CONTROL_S = 10.0
"""Seconds over which control traffic is counted; a multiple of every hello interval but OSPF's default, and that."""
CONTROL_FAULT_S = 4.0
"""Seconds of each fault, and after it, in which it is counted too."""
T = TypeVar("T")

PRIORITY = -10
"""Niceness of everything that is started here: who else uses the machine must not look like a slow system."""
TRIES = 20
"""Times that the emulator is asked; each takes 50 ms at most."""
PORT = 5600
"""UDP port of the stream."""


class Stream:
    """The stream while it runs, from entering the context until leaving it."""

    def __init__(self, ends: Ends, folder: Path, rate_hz: float) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._ends, self._rate_hz = ends, rate_hz
        self._files = (folder / "sent", folder / "received")
        for file in self._files:
            file.write_bytes(b"")
        self._processes: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Stream:
        program = [sys.executable, Path(stream.__file__)]
        where = (self._ends.address, PORT)
        pipe = subprocess.PIPE
        receiver = self._ends.destination.popen(*program, "receive", *where, self._files[1], stdout=pipe, text=True)
        self._processes.append(receiver)
        if receiver.stdout.readline() != "listening\n":
            raise RuntimeError(f"nothing can receive on {self._ends.address}: no stream, no measurement")
        self._processes.append(self._ends.source.popen(*program, "send", *where, self._rate_hz, self._files[0]))
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._processes):
            process.kill()
            process.communicate()

    def newest(self) -> tuple[Log, float]:
        """The packets of the newest whole second that is fully known, and when that began."""
        until_s = time.time() - BEHIND_S
        log = self.log(until_s - CONVERGED_S)
        return log.between(until_s - CONVERGED_S, until_s), until_s - CONVERGED_S

    def log(self, since_s: float) -> Log:
        """The packets sent since then, and a few before."""
        return read(*self._files, int((time.time() - since_s + CONVERGED_S) * self._rate_hz))

    def within(self, limit_ms: float, since_s: float, share: float = PROMPT_SHARE) -> bool:
        """Whether that second is good, and began after ``since_s``."""
        log, from_s = self.newest()
        return from_s >= since_s and len(log.sent) > self._rate_hz / 2 and good(log, limit_ms, share)

    def path(self) -> scene.Path | None:
        """The path it takes, if it takes one without loss."""
        log, _ = self.newest()
        path = scene.path_of(float(np.nanmin(log.delay_ms))) if log.lost < len(log.sent) else None
        ms = scene.delay_ms(path) if path else None
        return path if ms is not None and good(log, ms * scene.WITHIN, SETTLED_SHARE) else None


def until(condition: Callable[[], bool], limit_s: float) -> bool:
    """Wait for a condition; False if it did not come in time."""
    deadline = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(EVERY_S)
    return True


@contextmanager
def struck(system: System, kind: Kind, target: tuple[str, ...]) -> Iterator[None]:
    """The fault, from entering the context until leaving it.

    A killed gateway is silent from one packet to the next, towards the Internet and the management network, as one
    without power; its programs go on, so that what is measured is how the others take it, not how fast it boots.
    """
    internet: Internet = system.lab.internet
    both_ways = kind is not Kind.KILLED  # a gateway's ways are all of them, anyhow
    if kind.hard:
        surely(lambda: internet.cut(*target, both_ways=both_ways))
    elif kind is Kind.LOSS:
        surely(lambda: internet.degrade(*target, loss=scene.LOSS, both_ways=True))
    else:
        surely(lambda: internet.degrade(*target, delay_ms=scene.DELAY_MS, both_ways=True))
    if kind is Kind.KILLED:
        system.lab[target[0]].exec("ip", "link", "set", "mgmt0", "down")
    try:
        yield
    finally:
        if kind is Kind.KILLED:
            system.lab[target[0]].exec("ip", "link", "set", "mgmt0", "up")
        surely(lambda: internet.restore(*target, both_ways=both_ways))


def surely(change: Callable[[], T]) -> T:
    """Ask the emulator once more where it did not wait: on a busy machine it gives up on a client that is late.

    Raises:
        ConnectionError: If it does not answer at all.
    """
    for _ in range(TRIES - 1):
        with suppress(ConnectionError):
            return change()
    return change()


class Lane:
    """A system under way."""

    def __init__(self, system: System, folder: Path, rate_hz: float) -> None:
        self.system, self.folder, self.rate_hz = system, folder, rate_hz

    def settled(self, running: Stream, since_s: float) -> bool:
        """Whether the stream is on the best path, or on one where the system does not return, and the system ready."""
        if self.system.returns:
            return running.within(scene.best_ms() * scene.WITHIN, since_s, SETTLED_SHARE) and self.system.settled()
        return time.time() - since_s > CONVERGED_S + BEHIND_S and running.path() is not None and self.system.settled()

    def prepare(self, control: bool) -> dict[str, object]:
        """Start the system, wait until it carries a stream on the best path, and count its control traffic.

        Raises:
            TimeoutError: If it never does.
        """
        begun = time.monotonic()
        ends = self.system.start()
        with Stream(ends, self.folder / "first", self.rate_hz) as running:
            limit_ms = scene.best_ms() * scene.WITHIN

            def ready() -> bool:
                return running.within(limit_ms, 0.0, SETTLED_SHARE) and self.system.settled()

            if not until(ready, self.system.start_s):
                log, _ = running.newest()
                raise TimeoutError(
                    f"{self.system.name}: no stream on the best path after {self.system.start_s:g} s: delay"
                    f" {np.nanpercentile(log.delay_ms, (0, 50, 75)) if len(log.sent) > log.lost else None} ms, lost"
                    f" {log.lost} of {len(log.sent)}; nothing was measured"
                )
        self.system.begin()
        self.ends = ends
        line: dict[str, object] = {
            "system": self.system.name,
            "versions": self.system.versions(),
            "started_s": round(time.monotonic() - begun, 1),
        }
        if control:
            line["control_Bps"] = self._control(self._quiet)
            line["control_fault_Bps"] = self._control(self._faults)
        return line

    def _control(self, meanwhile: Callable[[], None]) -> float:
        """Bytes a second on the underlay, all links and both ways together, while there is no stream."""
        time.sleep(BEHIND_S)  # the last packets of the stream are still on their way
        before, begun = self._octets(), time.monotonic()
        meanwhile()
        return round((self._octets() - before) / (time.monotonic() - begun), 1)

    def _octets(self) -> int:
        return sum(counters.octets for counters in surely(self.system.lab.internet.counters).values())

    def _quiet(self) -> None:
        time.sleep(CONTROL_S)

    def _faults(self) -> None:
        for number, kind in enumerate(Kind):
            fault = Fault(number, kind, 0.5, 0.0, CONTROL_FAULT_S)
            with struck(self.system, kind, fault.target(scene.BEST)):
                time.sleep(CONTROL_FAULT_S)
            time.sleep(CONTROL_FAULT_S)

    def run(self, faults: list[Fault]) -> Iterator[dict[str, object]]:
        """Strike it with each of these, and say what became of the stream."""
        with Stream(self.ends, self.folder / "stream", self.rate_hz) as running:
            settled = until(lambda: self.settled(running, 0.0), SETTLE_S)
            for fault in faults:
                yield self._strike(running, fault, settled_before=settled)
                settled = self._settled

    def _strike(self, running: Stream, fault: Fault, *, settled_before: bool) -> dict[str, object]:
        time.sleep(fault.phase_s)
        path = running.path() or scene.BEST
        kind, target = fault.kind, fault.target(path)
        best_ms = scene.best_ms(kind, target)
        limit_ms = best_ms * scene.WITHIN
        began = time.time()
        with struck(self.system, kind, target):
            until(lambda: running.within(limit_ms, began), fault.limit_s)
            cleared = time.time()
        self._settled = until(lambda: self.settled(running, cleared), SETTLE_S)
        ended = time.time()
        outcome = judge(running.log(began - 2.0), began, cleared, ended - BEHIND_S, kind, target)
        return {
            "fault": fault.number,
            "kind": kind.value,
            "target": "-".join(target),
            "path": "-".join(path),
            "settled_before": settled_before,
            "best_ms": best_ms,
            "lasted_s": round(cleared - began, 2),
            "back_s": round(ended - cleared, 2),
            **asdict(outcome),
        }


def judge(log: Log, began: float, cleared: float, ended: float, kind: Kind, target: tuple[str, ...]) -> Outcome:
    """What a fault from ``began`` to ``cleared`` did to a stream until ``ended`` (seconds since 1970)."""

    def path_at(at_s: float, measured_ms: float, before: object) -> object:
        if any(change - EDGE_S - LOOK_S < at_s < change + LOOK_S for change in (began, cleared)):
            return None  # some packets met the change, others did not
        state = (kind, target) if began <= at_s < cleared else ()
        if isinstance(before, tuple):
            ms = scene.delay_ms(before, *state)
            if ms is not None and ms - 0.5 <= measured_ms <= ms + scene.OVERHEAD_MS:
                return before
        return scene.path_of(measured_ms, *state)

    gap_ms, gap_end_s = longest_gap_ms(log, began, cleared)
    first = log.arrived >= gap_end_s
    after_ms = np.nanmin(log.delay_ms[first][:LOOK_PACKETS], initial=np.inf)
    return Outcome(
        lost=log.between(began - EDGE_S, ended).lost,
        gap_ms=round(gap_ms, 1),
        open=gap_end_s >= cleared and gap_end_s - gap_ms / 1e3 < began + EDGE_S + BEHIND_S,
        return_gap_ms=round(longest_gap_ms(log, max(cleared, gap_end_s), ended)[0], 1),
        converged_ms=converged_ms(log, began, cleared, scene.best_ms(kind, target) * scene.WITHIN),
        moves=moves(log, began - 1.0, ended, path_at),
        after_ms=round(float(after_ms), 1) if np.isfinite(after_ms) else 0.0,
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("system", choices=sorted(SYSTEMS))
    for name in ("first", "last", "faults", "seed"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--control", action="store_true", help="count control traffic first")
    args = parser.parse_args()
    os.nice(PRIORITY)
    args.folder.mkdir(parents=True, exist_ok=True)
    system = SYSTEMS[args.system](args.folder, lambda text: print(json.dumps({"tell": text}), flush=True))
    lane = Lane(system, args.folder, args.rate)
    try:
        print(json.dumps(lane.prepare(args.control)), flush=True)
        for line in lane.run(scene.schedule(args.faults, args.seed)[args.first : args.last]):
            print(json.dumps(line), flush=True)
    finally:
        system.stop()


if __name__ == "__main__":
    main()
