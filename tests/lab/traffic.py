"""Traffic in a lab and a look at it: a running ping, transfers, captures. What people and tests judge a mesh by."""

from __future__ import annotations

import hashlib
import json
import random
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from lab.nodes import LabError, Node
from lab.process import wait_until

REPLY = re.compile(r"^\[(?P<at>[\d.]+)\] .*icmp_seq=(?P<seq>\d+) .*time=(?P<ms>[\d.]+) ms", re.MULTILINE)

LATE_S = 2.0
"""Seconds after which an unanswered packet counts as lost; above any round trip that a lab is given."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answered ping: when it came (Unix time), which one it was, and how long it took."""

    at_s: float
    sequence: int
    rtt_ms: float


class Ping:
    """A ping that runs until it is stopped.

    Args:
        source: Where it runs.
        address: What it pings.
        log: The file for what it prints.
        every_s: Seconds between packets.
    """

    def __init__(self, source: Node, address: str, log: Path, *, every_s: float = 0.05) -> None:
        self._source, self._address, self._log, self._every_s = source, address, log, every_s
        self._process: subprocess.Popen[Any] | None = None

    def __enter__(self) -> Self:
        with self._log.open("w") as out:
            argv = ("ping", "-D", "-n", "-W", LATE_S, "-i", self._every_s, self._address)
            self._process = self._source.popen(*argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End it; twice is the same as once."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(5 + LATE_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def replies(self) -> list[Reply]:
        """What was answered so far, in the order of arrival."""
        found = REPLY.finditer(self._log.read_text())
        return [Reply(float(reply["at"]), int(reply["seq"]), float(reply["ms"])) for reply in found]

    def lost(self) -> int:
        """Packets without an answer, of those sent before the newest one that was answered."""
        answered = {reply.sequence for reply in self.replies()}
        return max(answered, default=0) - len(answered)

    def wait_for(self, more: int, timeout_s: float = 30.0) -> list[Reply]:
        """Wait for so many replies from now on, and return them.

        Raises:
            TimeoutError: If they do not come.
        """
        before = len(self.replies())
        wait_until(lambda: len(self.replies()) >= before + more, timeout_s, what=f"{more} more answers to a ping")
        return self.replies()[before:]


@dataclass(frozen=True, slots=True)
class Transfer:
    """A TCP transfer that arrived whole: bytes, and seconds from the first of them to the last."""

    octets: int
    seconds: float

    @property
    def mbit_s(self) -> float:
        return self.octets * 8 / self.seconds / 1e6


SEND = """\
import random, socket, sys
address, port, octets, seed = sys.argv[1], *map(int, sys.argv[2:])
with socket.create_connection((address, port), timeout=30) as connection:
    connection.sendall(random.Random(seed).randbytes(octets))
"""

RECEIVE = """\
import hashlib, json, socket, sys, time
with socket.create_server((sys.argv[1], int(sys.argv[2]))) as server:
    print("listening", flush=True)
    connection, _ = server.accept()
digest, octets, started = hashlib.sha256(), 0, time.monotonic()
connection.settimeout(30)
while part := connection.recv(1 << 16):
    digest.update(part)
    octets += len(part)
seconds = time.monotonic() - started
print(json.dumps({"octets": octets, "seconds": seconds, "sha256": digest.hexdigest()}), flush=True)
"""


def transfer(source: Node, destination: Node, address: str, port: int, *, octets: int) -> Transfer:
    """Send random bytes over TCP and compare what arrives.

    Raises:
        LabError: If they do not arrive, or not as they were sent.
    """
    seed = 7
    expected = hashlib.sha256(random.Random(seed).randbytes(octets)).hexdigest()
    pipe = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    server = destination.popen(sys.executable, "-c", RECEIVE, address, port, **pipe)
    try:
        if server.stdout.readline() != "listening\n":
            raise LabError(f"{destination.name}: nothing can listen on {address}:{port}: {server.stderr.read()}")
        source.exec(sys.executable, "-c", SEND, address, port, octets, seed, timeout=90.0)
        arrived = json.loads(server.communicate(timeout=60)[0])
    finally:
        server.kill()
        server.communicate()
    if arrived["sha256"] != expected:
        raise LabError(f"{address}:{port}: {arrived['octets']} of {octets} bytes arrived, or others than were sent")
    return Transfer(arrived["octets"], arrived["seconds"])


class Capture:
    """Every packet of an interface, from entering the context until leaving it."""

    def __init__(self, node: Node, interface: str, file: Path) -> None:
        self.node, self.interface, self.file = node, interface, file
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        # Unbuffered, so that a packet is in the file once it has been seen.
        argv = ("tcpdump", "-i", self.interface, "-n", "-U", "--immediate-mode", "-s", "0", "-w", self.file)
        self._process = self.node.popen(
            *argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        assert self._process.stderr is not None
        while "listening on" not in (line := self._process.stderr.readline()):
            if not line:
                raise LabError(f"{self.node.name}: tcpdump does not run on {self.interface}; nothing is captured")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.communicate(timeout=10)

    def read(self) -> bytes:
        """The captured packets as they are in the file."""
        return self.file.read_bytes()

    def lines(self, expression: str = "") -> list[str]:
        """The captured packets that match a tcpdump expression, one line each."""
        return self.node.exec("tcpdump", "-n", "-r", self.file, expression).stdout.splitlines()


def send_text(source: Node, destination: Node, address: str, port: int, text: str, received: Path) -> None:
    """Send text over TCP; returns when the destination has it.

    Raises:
        TimeoutError: If it does not arrive.
    """
    listen = f"TCP-LISTEN:{port},bind={address},reuseaddr"
    server = destination.popen(
        *("socat", "-d", "-d", "-u", listen, f"CREATE:{received}"),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stderr is not None
        while "listening on" not in (line := server.stderr.readline()):
            if not line:
                raise LabError(f"{destination.name}: socat does not listen on {address}:{port}; nothing was sent")
        source.exec("socat", "-u", "-", f"TCP:{address}:{port},connect-timeout=10", input=text)
        server.communicate(timeout=20)
    finally:
        server.kill()
        server.communicate()
    wait_until(lambda: received.read_text() == text, 10.0, what=f"text at {destination.name}", ignoring=(OSError,))
