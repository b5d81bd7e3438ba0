"""Part 2: how much of the same nesting by hand a circuit carries, on plain veth, in alternating runs.

What is measured runs from a machine on the LAN behind one gateway to one behind the other: veth, gateway, tunnel over
two WireGuard hops and a transit, gateway, veth. It is the same on both sides but for what foremesh adds: its routing
tables, nftables, and rewriting. While one side is measured, the processes of foremesh's side stand still if it is not
theirs, so that they take nothing from it.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from agent.mesh_api import FakeMeshApi
from dataplane.by_hand import ByHand
from dataplane.figures import Sheet, median_pair, processor_s
from dataplane.mesh import END_TO_END_MTU, HOP_BY_HOP_MTU, Label, Mesh, State
from foremesh.model.intent import Encryption
from lab.nodes import Node
from lab.process import wait_until
from lab.scenes import Gateway, Workload
from lab.topology import Lab, Topology

TARGETS = {Encryption.END_TO_END: 0.90, Encryption.HOP_BY_HOP: 0.95}
MTUS = {Encryption.END_TO_END: END_TO_END_MTU, Encryption.HOP_BY_HOP: HOP_BY_HOP_MTU}
STREAMS = (1, 4)
PORT = 5201
CONGESTION = ("-C", "cubic")
"""Linux's usual congestion control, whatever this machine's is: BBR takes the shortest round trip, that of a gateway
which has nothing to do, for the path's own, and then lies idle or not by chance."""
WARM_UP_S = 1
"""Seconds at the beginning of a run that do not count: TCP is still finding its window."""

OURS, HAND = {"a": "a", "t": "t", "b": "b"}, {"a": "ha", "t": "ht", "b": "hb"}
"""Node names by role."""


def measure(
    sheet: Sheet, say: Callable[[str], None], *, pairs: int, run_s: int, wanted: tuple[Encryption, ...]
) -> None:
    """Alternate runs of ours and by hand, and add a figure for each way to encrypt and number of streams.

    Both sides run the ``wireguard-go`` that is on the PATH, and the figures name its version.

    Args:
        pairs: Runs of each side.
        run_s: Seconds of a run that count.
        wanted: The ways to encrypt.
    """
    version = _version()
    names = [(prefix, role) for prefix in ("", "h") for role in "atb"]
    gateways = tuple(Gateway(p + r, "Transit" if r == "t" else "Core", f"s{p}{r}", "eu", 0.0) for p, r in names)
    workloads = tuple(Workload(f"{p}w{r}", f"s{p}{r}") for p, r in names if r != "t")
    with (
        Lab(Topology(gateways, workloads, {})) as lab,
        FakeMeshApi(lab.mgmt_address) as api,
        tempfile.TemporaryDirectory() as folder,
    ):
        ours_ways, hand_ways = _veths(lab, OURS, 128), _veths(lab, HAND, 160)
        lans = {role: _lan(lab[f"w{role}"]) for role in "ab"}
        mesh = Mesh(lab, api, Path(folder), ("a", "t", "b"), ours_ways, lans)
        mesh.start()
        hand_lans = {role: _lan(lab[f"hw{role}"]) for role in "ab"}
        hand = ByHand({role: lab[name] for role, name in HAND.items()}, hand_ways, hand_lans, Path(folder))
        hand.build_hops()
        for number, encryption in enumerate(wanted):
            mesh.offer(State(Label(number + 1, "t")), encryption)
            mesh.steer_lans()
            hand.build_tunnel(encryption, MTUS[encryption])
            for name in ("wa", "wb", "hwa", "hwb"):
                lab[name].exec("ip", "link", "set", "lan0", "mtu", MTUS[encryption])
            for streams in STREAMS:
                ours: list[Run] = []
                theirs: list[Run] = []
                gathered: list[Run] = []
                for pair in range(1, pairs + 1):
                    ours.append(_run(lab, OURS, "w", run_s, streams))
                    with _standing_still([lab[name] for name in OURS.values()]):
                        theirs.append(_run(lab, HAND, "hw", run_s, streams))
                        if encryption is Encryption.HOP_BY_HOP:
                            hand.gather(True)
                            gathered.append(_run(lab, HAND, "hw", run_s, streams))
                            hand.gather(False)
                    all_runs = " | ".join(f"{runs[-1].mbit_s:.0f}" for runs in (ours, theirs, gathered) if runs)
                    say(
                        f"{version}, {encryption.value}, {streams} stream(s), pair {pair} of {pairs}: {all_runs} Mbit/s"
                    )
                bench = f"throughput {encryption.value}, {version}"
                _add(sheet, bench, f"{_how(streams)}; baseline by hand", ours, theirs, TARGETS[encryption])
                if gathered:
                    _add(sheet, bench, f"{_how(streams)}; baseline by hand, gathered too", ours, gathered)


@dataclass(frozen=True, slots=True)
class Run:
    """What one run carried, and the processor time that WireGuard of its three gateways took for a gigabyte: of the
    processes, and of what the kernel forwards, filters and rewrites while it takes packets from them."""

    mbit_s: float
    processor_s_per_gb: float


def _how(streams: int) -> str:
    return f"{streams} TCP stream{'s' * (streams > 1)}"


def _add(sheet: Sheet, bench: str, how: str, ours: list[Run], theirs: list[Run], target: float | None = None) -> None:
    carried = [run.mbit_s for run in ours], [run.mbit_s for run in theirs]
    judged = {"target": target, "judged": "ratio >= target"} if target else {}
    bound_by = _bound(*carried)
    sheet.add(median_pair(bench, f"LAN to LAN, {how}", *carried, unit="Mbit/s", bound_by=bound_by, **judged))
    spent = [run.processor_s_per_gb for run in ours], [run.processor_s_per_gb for run in theirs]
    sheet.add(median_pair(bench, f"processor time for a gigabyte, {how}", *spent, unit="s"))


def _bound(ours: list[float], theirs: list[float]) -> str:
    ratios = sorted(a / b for a, b in zip(ours, theirs, strict=True))
    spread = max(theirs) / min(theirs) - 1
    return (
        f"the {len(ratios)} pairs' own ratios are {', '.join(f'{r:.2f}' for r in ratios)} (median "
        f"{statistics.median(ratios):.2f}); by hand alone varies by {spread:.0%} from run to run"
    )


def _version() -> str:
    said = subprocess.run(("wireguard-go", "--version"), capture_output=True, text=True, check=True).stdout
    return " ".join(said.split()[:2])


def _lan(node: Node) -> str:
    return f"{node.lan_address.rpartition('.')[0]}.0/24"


def _veths(lab: Lab, names: dict[str, str], base: int) -> dict[tuple[str, str], str]:
    """Plain veth a-t and t-b, without the emulated Internet; where each is reached from its neighbour, by role."""
    ways = {}
    for number, (x, y) in enumerate((("a", "t"), ("t", "b"))):
        addresses = {x: f"203.0.113.{base + 4 * number + 1}", y: f"203.0.113.{base + 4 * number + 2}"}
        ends = ((x, y), (y, x))
        for own, far in ends:
            ways[own, far] = addresses[far]
        node, peer = lab[names[x]], lab[names[y]]
        node.exec("ip", "link", "add", f"to-{y}", "type", "veth", "peer", "name", f"to-{x}", "netns", _pid(peer))
        for own, far in ends:
            lab[names[own]].exec("ip", "address", "add", f"{addresses[own]}/30", "dev", f"to-{far}")
            lab[names[own]].exec("ip", "link", "set", f"to-{far}", "up")
    return ways


def _pid(node: Node) -> int:
    """A process in the node's namespace, by which ``ip`` in another one can name it."""
    return int(node.exec("sh", "-c", "ip netns pids $0 | head -n 1", node.netns).stdout)


def _run(lab: Lab, names: Mapping[str, str], workloads: str, run_s: int, streams: int) -> Run:
    """One run between the workloads behind gateways of these names by role."""
    client, server = lab[f"{workloads}a"], lab[f"{workloads}b"]
    wireguards = [pid for name in names.values() for pid in _wireguards(lab[name])]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    listener = server.popen("iperf3", "-s", "-1", "-p", PORT, **quiet)
    try:
        wait_until(lambda: server.exec("ss", "-Hltn", f"sport = :{PORT}").stdout, 10, what="iperf3 listens")
        ping = ("ping", "-c", 1, "-W", 1, server.lan_address)
        wait_until(lambda: client.exec(*ping, check=False).returncode == 0, 30, what="a ping before the run")
        before_s, before = _processor_s(wireguards), _received(server)
        argv = ["iperf3", "-c", server.lan_address, "-p", PORT, "-t", run_s, "-O", WARM_UP_S, "-P", streams, "-J"]
        argv += CONGESTION
        said = json.loads(client.exec(*argv, timeout=run_s + 60).stdout)
        spent_s, octets = _processor_s(wireguards) - before_s, _received(server) - before
    finally:
        listener.kill()
        listener.wait()
    return Run(float(said["end"]["sum_received"]["bits_per_second"]) / 1e6, spent_s / (octets / 1e9))


def _wireguards(node: Node) -> list[int]:
    found = []
    for pid in map(int, node.exec("ip", "netns", "pids", node.netns).stdout.split()):
        with suppress(FileNotFoundError):
            if Path(f"/proc/{pid}/comm").read_text().strip() == "wireguard-go":
                found.append(pid)
    return found


def _processor_s(pids: list[int]) -> float:
    return sum(processor_s(Path(f"/proc/{pid}/stat").read_text(), os.sysconf("SC_CLK_TCK")) for pid in pids)


def _received(node: Node) -> int:
    return int(node.exec("cat", "/sys/class/net/lan0/statistics/rx_bytes").stdout)


@contextmanager
def _standing_still(nodes: list[Node]) -> Iterator[None]:
    pids = [int(pid) for node in nodes for pid in node.exec("ip", "netns", "pids", node.netns).stdout.split()]
    stopped = []
    try:
        for pid in pids:
            with suppress(FileNotFoundError, ProcessLookupError):  # a command of the agent's that has ended since
                if Path(f"/proc/{pid}/comm").read_text().strip() != "sleep":  # the lab's own holder
                    os.kill(pid, signal.SIGSTOP)
                    stopped.append(pid)
        yield
    finally:
        for pid in stopped:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
