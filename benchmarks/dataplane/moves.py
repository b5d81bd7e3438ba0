"""Part 1: what planned moves do to traffic.

A circuit between two gateways is moved between two transits, as the controller moves one: the new label is staged and
heard, then it is named to send on while the former becomes the standby, then the former standby goes. The ways differ
by a few milliseconds, so packets overtake each other when a circuit moves to the faster one. Each kind of traffic runs
once with moves and once for as long without.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent.mesh_api import FakeMeshApi
from dataplane import traffic
from dataplane.figures import Arrivals, Figure, Sheet, arrivals, netstat
from dataplane.mesh import END_TO_END_MTU, HOP_BY_HOP_MTU, Label, Mesh, State
from foremesh.model.intent import Encryption
from lab.nodes import Node
from lab.process import wait_until
from lab.scenes import Gateway, Workload
from lab.topology import Lab, Topology
from lab.world import Pair

DELAYS_MS = {"t": 5.0, "u": 8.0}
"""One way of each link of a transit: a circuit takes 10 ms over t and 16 ms over u."""
PACKETS_PER_S = 1000
TCP_BPS = 20e6
"""Rate of the TCP transfer, about a third of what an emulated path carries here beside other work: what is looked for
is what moves do, not what a full queue does."""
UDP_PORT, TCP_PORT = 5202, 5203
SETTLE_S = 1.0
"""Seconds of traffic before the first move and after the last."""
TIMEOUTS, RETRANSMITTED, REORDERED = "TcpExt.TCPTimeouts", "Tcp.RetransSegs", "TcpExt.TCPSACKReorder"


class Mover:
    """Moves the circuit back and forth.

    Args:
        mesh: Its agents run.
        encryption: Of the circuit.
    """

    def __init__(self, mesh: Mesh, encryption: Encryption) -> None:
        self._mesh, self._encryption = mesh, encryption
        self._numbers = iter(range(1, 1 << 16))
        self._state = State(self._label("t"), self._label("u"))

    def _label(self, transit: str) -> Label:
        return Label(next(self._numbers), transit)

    def begin(self) -> None:
        """Set the circuit up over t, with a standby over u."""
        self._mesh.offer(self._state, self._encryption)
        self._mesh.wait_heard(*self._state.labels)

    def move(self) -> None:
        """Move to a new label over the other transit; returns when the old standby is gone."""
        before = self._state
        assert before.standby is not None
        new = self._label(before.standby.transit)
        self._mesh.offer(State(before.active, before.standby, (new,)), self._encryption)
        self._mesh.wait_heard(new)
        self._mesh.offer(State(new, before.active, (before.standby,)), self._encryption)
        self._mesh.wait_sending(new)
        self._state = State(new, before.active)
        self._mesh.offer(self._state, self._encryption)


def measure(sheet: Sheet, say: Callable[[str], None], *, moves: int, encryption: Encryption) -> None:
    """Move a circuit under UDP and under TCP, and add the figures."""
    core = tuple(Gateway(name, "Core", f"s{name}", "eu", 0.0) for name in "ab")
    transits = tuple(Gateway(name, "Transit", f"s{name}", "eu", 0.0) for name in DELAYS_MS)
    pairs = {way: Pair(ms) for t, ms in DELAYS_MS.items() for end in "ab" for way in ((end, t), (t, end))}
    workloads = (Workload("wa", "sa"), Workload("wb", "sb"))
    with (
        Lab(Topology((*core, *transits), workloads, pairs)) as lab,
        FakeMeshApi(lab.mgmt_address) as api,
        tempfile.TemporaryDirectory() as folder,
    ):
        ways = {way: lab[way[1]].underlay_address or "" for way in pairs}
        lans = {role: f"{lab[f'w{role}'].lan_address.rpartition('.')[0]}.0/24" for role in "ab"}
        mesh = Mesh(lab, api, Path(folder), ("a", "b", *DELAYS_MS), ways, lans)
        mesh.start()
        mover = Mover(mesh, encryption)
        mover.begin()
        mesh.steer_lans()
        mtu = END_TO_END_MTU if encryption is Encryption.END_TO_END else HOP_BY_HOP_MTU
        for name in ("wa", "wb"):
            lab[name].exec("ip", "link", "set", "lan0", "mtu", mtu)
        ping = ("ping", "-c", 1, "-W", 1, lab["wb"].lan_address)
        wait_until(lambda: lab["wa"].exec(*ping, check=False).returncode == 0, 30, what="a ping over the circuit")

        def move_all() -> None:
            time.sleep(SETTLE_S)
            for number in range(1, moves + 1):
                mover.move()
                say(f"{encryption.value}: move {number} of {moves}")
            time.sleep(SETTLE_S)

        bench = f"{moves} moves {encryption.value}"
        begun = time.monotonic()
        moved = _udp(lab, move_all)
        lasted_s = time.monotonic() - begun
        say(f"{encryption.value}: UDP for {lasted_s:.0f} s without moves")
        still = _udp(lab, lambda: time.sleep(lasted_s))
        _add_udp(sheet, bench, moved, still)
        begun = time.monotonic()
        moved_tcp = _tcp(lab, move_all)
        lasted_s = time.monotonic() - begun
        say(f"{encryption.value}: TCP for {lasted_s:.0f} s without moves")
        _add_tcp(sheet, bench, moved_tcp, _tcp(lab, lambda: time.sleep(lasted_s)))


def _add_udp(sheet: Sheet, bench: str, moved: Arrivals, still: Arrivals) -> None:
    metric = f"UDP at {PACKETS_PER_S}/s, packets lost of {moved.sent}; baseline without moves"
    why = "packets are lost without a move too where this machine is busy: see the baseline" if still.lost else ""
    sheet.add(Figure(bench, metric, moved.lost, "packets", baseline=still.lost, target=0, bound_by=why))
    for what, after, before, unit in (
        ("arrived after a later one", moved.reordered, still.reordered, "packets"),
        ("arrived twice", moved.doubled, still.doubled, "packets"),
        ("longest gap", moved.longest_gap_ms, still.longest_gap_ms, "ms"),
    ):
        sheet.add(Figure(bench, f"the same, {what}", after, unit, baseline=before))


def _add_tcp(sheet: Sheet, bench: str, moved: dict[str, float], still: dict[str, float]) -> None:
    more = moved[TIMEOUTS] - still[TIMEOUTS]
    name = f"TCP at {TCP_BPS / 1e6:.0f} Mbit/s"
    sheet.add(Figure(bench, f"{name}, retransmission timeouts more than without moves", more, "timeouts", target=0))
    for metric, key, unit in (
        ("the same, timeouts", TIMEOUTS, "timeouts"),
        ("the same, segments sent again", RETRANSMITTED, "segments"),
        ("the same, longest gap at the receiver", "longest_gap_ms", "ms"),
        ("the same, arrived", "mbit_s", "Mbit/s"),
    ):
        sheet.add(Figure(bench, f"{metric}; baseline without moves", moved[key], unit, baseline=still[key]))


def _udp(lab: Lab, during: Callable[[], object]) -> Arrivals:
    receiver = _start(lab["wb"], "receive", "0.0.0.0", UDP_PORT, ready=True)
    sender = _start(lab["wa"], "send", lab["wb"].lan_address, UDP_PORT, PACKETS_PER_S)
    try:
        during()
        sent = _said(sender)["sent"]
        came = _said(receiver)["came"]
    finally:
        for process in (sender, receiver):
            process.kill()
            process.wait()
    return arrivals(sent, [(number, at_ns) for number, at_ns in came])


def _tcp(lab: Lab, during: Callable[[], object]) -> dict[str, float]:
    receiver = _start(lab["wb"], "drain", "0.0.0.0", TCP_PORT, ready=True)
    before, begun = _counters(lab["wa"]), time.monotonic()
    sender = _start(lab["wa"], "stream", lab["wb"].lan_address, TCP_PORT, TCP_BPS)
    try:
        during()
        _said(sender)
        lasted_s = time.monotonic() - begun
        arrived = json.loads(receiver.communicate(timeout=60)[0])
    finally:
        for process in (sender, receiver):
            process.kill()
            process.wait()
    after = _counters(lab["wa"])
    counted = {name: float(after[name] - before[name]) for name in (TIMEOUTS, RETRANSMITTED, REORDERED)}
    mbit_s = arrived["octets"] * 8 / lasted_s / 1e6
    return counted | {"longest_gap_ms": arrived["longest_gap_ms"], "mbit_s": mbit_s}


def _counters(node: Node) -> dict[str, int]:
    """TCP's counters of a namespace."""
    return netstat(node.exec("cat", "/proc/net/netstat").stdout) | netstat(node.exec("cat", "/proc/net/snmp").stdout)


def _start(node: Node, *argv: object, ready: bool = False) -> subprocess.Popen[Any]:
    process = node.popen(sys.executable, traffic.__file__, *argv, stdout=subprocess.PIPE, text=True)
    if ready and process.stdout.readline() != "ready\n":
        raise RuntimeError(f"{node.name}: traffic {argv} did not start; nothing is measured")
    return process


def _said(process: subprocess.Popen[Any]) -> dict[str, Any]:
    """End a program of ``traffic`` and read what it says."""
    process.terminate()
    said: dict[str, Any] = json.loads(process.communicate(timeout=60)[0])
    return said
