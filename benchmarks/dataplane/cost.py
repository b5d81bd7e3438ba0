"""Part 3: what an agent costs with 50 peers and 200 circuits between 50 pairs of ends.

The gateway under test is real: its agent, fail-over process and WireGuard, with the default settings. Its far ends are
``crowd``'s. Measured once with the default hellos and once without, so that their cost is a difference. Nothing is
carried meanwhile but hellos, probes, handshakes and keepalives. The agent's time includes that of the commands it runs.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from agent.mesh_api import FakeMeshApi
from dataplane.crowd import HUB, HUB_ADDRESS, QUIET, Crowd
from dataplane.figures import Figure, Sheet, processor_s, resident_mb
from dataplane.mesh import start_agent
from foremesh.model.config import Hello
from lab.nodes import Node
from lab.process import Daemon, wait_until
from lab.scenes import Gateway
from lab.topology import Lab, Topology

UP_TIMEOUT_S = 240.0
"""Seconds until all circuits answer; half a minute on two idle cores."""
SETTLE_S = 5.0
"""Seconds between a change of the hellos and the measurement: everything that follows a new config is over then."""
TICKS_PER_S = os.sysconf("SC_CLK_TCK")

MEMORY_TARGET_MB, PROCESSOR_TARGET = 60.0, 20.0
AGENT, FAILOVER, HOP, INNER = "agent", "fail-over process", "WireGuard of links", "WireGuard of circuits"


def measure(sheet: Sheet, say: Callable[[str], None], *, peers: int, last_s: float) -> None:
    """Set the gateway up, look at it for ``last_s`` seconds with hellos and without, and add the figures."""
    with (
        Lab(Topology((Gateway("hub", "Core", "shub", "eu", 0.0),), (), {})) as lab,
        FakeMeshApi(lab.mgmt_address) as api,
        tempfile.TemporaryDirectory() as folder,
    ):
        agent = start_agent(lab, api, Path(folder), "hub", HUB_ADDRESS)
        wait_until(lambda: HUB in api.registrations, 60, what="the agent registers")
        crowd = Crowd(lab, peers, Path(folder))
        try:
            say(f"starting {peers} far gateways")
            crowd.start(api.registrations[HUB].keys, Hello())
            say(f"{len(crowd.circuits)} circuits: applying")
            begun = time.monotonic()
            _apply(api, crowd, 1, Hello())
            say(f"applied after {time.monotonic() - begun:.1f} s; waiting for all circuits")
            wait_until(lambda: _all_up(api, crowd), UP_TIMEOUT_S, what="all circuits answer, all labels are heard")
            say(f"all up after {time.monotonic() - begun:.1f} s; measuring {last_s:.0f} s with hellos")
            time.sleep(SETTLE_S)
            with_hellos = _watch(lab["hub"], agent, crowd, last_s)
            memory = _memory(lab["hub"], agent)
            _apply(api, crowd, 2, QUIET)
            crowd.ask(f"interval {QUIET.interval_ms}")
            say(f"measuring {last_s:.0f} s without hellos")
            time.sleep(SETTLE_S)
            without = _watch(lab["hub"], agent, crowd, last_s)
        finally:
            crowd.close()
    bench = f"agent, {peers} peers, {len(crowd.circuits)} circuits"
    _add_memory(sheet, bench, memory)
    _add_processor(sheet, bench, with_hellos, without)


def _apply(api: FakeMeshApi, crowd: Crowd, epoch: int, hello: Hello) -> None:
    config = crowd.hub_config(epoch, hello)
    api.offer(config)
    outcome = wait_until(lambda: api.outcome(config), 120, what="word on the config")
    if not outcome.applied:
        raise RuntimeError(f"{outcome.error}; nothing is measured")


def _all_up(api: FakeMeshApi, crowd: Crowd) -> bool:
    beacon = api.beacons.get(HUB)
    if beacon is None:
        return False
    answering = sum(report.answering for name, report in beacon.probes.items())
    return answering >= len(crowd.circuits) and len(beacon.heard) >= 2 * len(crowd.circuits)


@dataclass(frozen=True, slots=True)
class Spent:
    """Processor time by part, in seconds of one, and hellos sent and received here, in ``lasted_s`` seconds."""

    processor_s: dict[str, float]
    hellos: int
    lasted_s: float

    def share(self, *parts: str) -> float:
        """Of a core, in percent."""
        return 100 * sum(self.processor_s[part] for part in parts) / self.lasted_s

    @property
    def hellos_per_s(self) -> float:
        return self.hellos / self.lasted_s


def _watch(hub: Node, agent: Daemon, crowd: Crowd, last_s: float) -> Spent:
    parts = _parts(hub, agent)
    before, sent, begun = _processor(parts), crowd.ask("count"), time.monotonic()
    time.sleep(last_s)
    after, now, ended = _processor(parts), crowd.ask("count"), time.monotonic()
    hellos = sum(now.values()) - sum(sent.values())
    return Spent({part: after[part] - before[part] for part in parts}, hellos, ended - begun)


def _parts(hub: Node, agent: Daemon) -> dict[str, list[int]]:
    """Process ids of the gateway's parts."""
    found: dict[str, list[int]] = {AGENT: [agent.pid], FAILOVER: [], HOP: [], INNER: []}
    for pid in map(int, hub.exec("ip", "netns", "pids", hub.netns).stdout.split()):
        with suppress(FileNotFoundError):  # a command of the agent's that has ended since
            argv = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if argv[0].endswith(b"wireguard-go"):
                found[HOP if argv[1].startswith(b"fm-h") else INNER].append(pid)
            elif pid != agent.pid and any(b"failover.process" in word for word in argv):
                found[FAILOVER].append(pid)
    return found


def _processor(parts: dict[str, list[int]]) -> dict[str, float]:
    def spent(pid: int) -> float:
        return processor_s(Path(f"/proc/{pid}/stat").read_text(), TICKS_PER_S)

    return {part: sum(map(spent, pids)) for part, pids in parts.items()}


def _memory(hub: Node, agent: Daemon) -> dict[str, list[tuple[float, float]]]:
    return {
        part: [resident_mb(Path(f"/proc/{pid}/smaps_rollup").read_text()) for pid in pids]
        for part, pids in _parts(hub, agent).items()
    }


def _add_memory(sheet: Sheet, bench: str, memory: dict[str, list[tuple[float, float]]]) -> None:
    resident = {part: sum(rss for rss, _ in found) for part, found in memory.items()}
    proportional = {part: sum(pss for _, pss in found) for part, found in memory.items()}
    both = resident[AGENT] + resident[FAILOVER]
    shared = both - proportional[AGENT] - proportional[FAILOVER]
    why = f"of it {shared:.0f} MB are pages that several processes share; resident memory counts them for each"
    target = MEMORY_TARGET_MB
    sheet.add(Figure(bench, "resident memory, agent", resident[AGENT], "MB", target=target))
    sheet.add(Figure(bench, "resident memory, agent and fail-over process", both, "MB", target=target, bound_by=why))
    sheet.add(Figure(bench, "resident memory, fail-over process", resident[FAILOVER], "MB"))
    shared_out = proportional[AGENT] + proportional[FAILOVER]
    sheet.add(Figure(bench, "memory with shared pages divided, agent and fail-over process", shared_out, "MB"))
    for part in (HOP, INNER):
        name = f"resident memory, {part} ({len(memory[part])} processes)"
        sheet.add(Figure(bench, name, resident[part], "MB"))


def _add_processor(sheet: Sheet, bench: str, on: Spent, off: Spent) -> None:
    def share(name: str, *parts: str, target: float | None = None) -> None:
        metric = f"processor, {name}; baseline without hellos"
        sheet.add(Figure(bench, metric, on.share(*parts), "% of a core", baseline=off.share(*parts), target=target))

    sheet.add(Figure(bench, "hellos sent and received", on.hellos_per_s, "1/s", baseline=off.hellos_per_s))
    share("agent and fail-over process", AGENT, FAILOVER, target=PROCESSOR_TARGET)
    for part in (AGENT, FAILOVER, HOP, INNER):
        share(part, part)
    rate = (on.hellos_per_s - off.hellos_per_s) / 1000
    for name, parts in (("agent and fail-over process", (AGENT, FAILOVER)), ("WireGuard", (HOP, INNER))):
        more_ms = 10 * (on.share(*parts) - off.share(*parts)) / rate
        sheet.add(Figure(bench, f"processor for 1,000 hellos/s, {name}", more_ms, "ms/s"))
