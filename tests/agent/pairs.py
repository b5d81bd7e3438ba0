"""Two failover processes in namespaces of their own, with plain veths between them instead of tunnels.

A label is a pair of addresses on one of the veths; rules of the lab's own drop what is to be lost.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from foremesh.agent.failover.client import ROOT, START, Failover, source_version
from foremesh.agent.failover.table import CircuitLabels, FailoverTable, RouteLabels
from lab.nodes import Namespace

TABLE = "foremesh_hop"
_numbers = itertools.count()

MAPS = f"""
add table ip {TABLE}
add map ip {TABLE} send_own {{ type ipv4_addr : ipv4_addr; }}
add map ip {TABLE} send_far {{ type ipv4_addr : ipv4_addr; }}
add table ip lab
add chain ip lab arrive {{ type filter hook prerouting priority -400; }}
"""


def address(label: int, side: int) -> str:
    """A label's address at an end, 0 or 1."""
    return f"100.112.{label // 100}.{2 * (label % 100) + side + 1}"


def circuit_address(number: int, side: int) -> str:
    return f"100.96.{number // 100}.{2 * (number % 100) + side + 1}"


def table(
    side: int, *, send: int | None = 5, standby: int | None = 6, far: str = "default/far", interval_ms: int = 50
) -> FailoverTable:
    """One circuit with two labels, each on a route of its own."""
    numbers = [number for number in (send, standby) if number is not None]
    return FailoverTable(
        interval_ms,
        3,
        {f"label {n}": RouteLabels(far, ((n, address(n, side), address(n, 1 - side)),)) for n in numbers},
        {"c": CircuitLabels(circuit_address(1, side), circuit_address(1, 1 - side), send, standby)},
    )


class End(Namespace):
    """One of the two."""

    def __init__(self, side: int, folder: Path) -> None:
        super().__init__("ab"[side], f"fo{os.getpid() % 100000}-{next(_numbers)}")
        self.side = side
        self.socket = folder / f"{self.name}.sock"
        self.failover = Failover(self.socket, TABLE)
        self.log = folder / f"{self.name}.log"

    def nft(self, script: str) -> str:
        return self.exec("nft", "-f", "-", input=script).stdout

    def launch(self) -> None:
        """Start the process, as the client does, but in this namespace."""
        code = START.format(root=str(ROOT))
        argv = [sys.executable, "-I", "-S", "-c", code, self.socket, TABLE, source_version()]
        with self.log.open("ab") as log:
            process = self.popen(*argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        assert process.wait(20) == 0, self.log.read_text()

    def lose(self, label: int, share: float = 1.0, which: str = "ip daddr") -> None:
        """Lose hellos that arrive here on a label from now on."""
        chance = f"numgen random mod 1000 < {int(share * 1000)} " if share < 1 else ""
        self.nft(f"add rule ip lab arrive {which} {address(label, self.side)} {chance}drop\n")

    def lose_nothing(self) -> None:
        self.nft("flush chain ip lab arrive\n")

    def written(self) -> str:
        """What the maps hold, as nft prints it."""
        return self.exec("nft", "list", "table", "ip", TABLE).stdout


@contextmanager
def two_ends(folder: Path, labels: int = 10) -> Iterator[tuple[End, End]]:
    """Two ends with so many labels between them; their processes are not started, and ended with the context."""
    ends = (End(0, folder), End(1, folder))
    made = []
    try:
        for end in ends:
            subprocess.run(["ip", "netns", "add", end.netns], check=True)
            made.append(end)
            end.start({})
            end.ready()
            end.nft(MAPS)
        names = [end.netns for end in ends]
        subprocess.run(
            ["ip", "-n", names[0], "link", "add", "v0", "type", "veth", "peer", "name", "v0", "netns", names[1]],
            check=True,
        )
        for end in ends:
            lines = ["link set v0 up"]
            for label in range(labels):
                lines += [
                    f"address add {address(label, end.side)}/32 dev v0",
                    f"route add {address(label, 1 - end.side)}/32 dev v0 src {address(label, end.side)}",
                ]
            end.exec("ip", "-4", "-batch", "-", input="\n".join(lines) + "\n")
        yield ends
    finally:
        for end in made:
            inside = subprocess.run(["ip", "netns", "pids", end.netns], capture_output=True, text=True, check=True)
            end.stop()
            for pid in map(int, inside.stdout.split()):
                _kill(pid)
            subprocess.run(["ip", "netns", "delete", end.netns], check=True)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, 9)
    except ProcessLookupError:
        return
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
