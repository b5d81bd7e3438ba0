"""Programs that tests start, and waiting for conditions: what every other fixture is made of.

Programs are ended by their own process id, never by name: other test runs on the machine run the same programs.
"""

import asyncio
import inspect
import os
import random
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

T = TypeVar("T")

POLL_S = 0.05
"""Seconds between two looks at a condition; small against what is waited for, large against what a look costs."""

MOST_PATIENCE = 3.0
"""Times a limit at most, however busy the machine: a test has an end of its own."""

LOG_TAIL_LINES = 25
"""Lines of a program's log that an error shows; enough for a usage message or a traceback."""

LOWEST_PORT = 20_000
"""Test ports start here, above the ports services are usually given."""

_ports_given: set[int] = set()


class DaemonError(RuntimeError):
    """A program died or did not become ready; the message ends with the last lines of its log."""


def patience() -> float:
    """How many times longer things may take here and now than the limits say, which are for a quiet machine: as many
    times as there are programs for each core to run, from 1 to ``MOST_PATIENCE``."""
    return min(max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1)), MOST_PATIENCE)


def wait_until(
    predicate: Callable[[], T],
    timeout_s: float,
    *,
    what: str = "",
    ignoring: tuple[type[Exception], ...] = (),
    every_s: float = POLL_S,
) -> T:
    """Wait until a condition holds.

    Args:
        predicate: Called again and again; what it returns is the result as soon as that is true.
        timeout_s: Seconds to wait at most on a quiet machine, see ``patience``. The condition is always looked at once.
        what: What is waited for, for the error.
        ignoring: Exceptions of the predicate that mean "not yet"; the last one is named if time runs out.
        every_s: Seconds between two looks.

    Raises:
        TimeoutError: If the condition did not hold in time.
    """
    begun_s = time.monotonic()
    while True:
        try:
            if value := predicate():
                return value
            last = f"last value {value!r}"
        except ignoring as error:
            last = f"last error {error!r}"
        waited_s = time.monotonic() - begun_s
        if waited_s >= timeout_s * patience():
            raise TimeoutError(_timed_out(what, predicate, waited_s, last))
        time.sleep(every_s)


async def wait_until_async(
    predicate: Callable[[], Any],
    timeout_s: float,
    *,
    what: str = "",
    ignoring: tuple[type[Exception], ...] = (),
    every_s: float = POLL_S,
) -> Any:
    """Wait until a condition holds without blocking the event loop; the predicate may be a coroutine function.

    Arguments, result and errors are those of ``wait_until``; a predicate that hangs is cancelled at the deadline.
    """
    begun_s = time.monotonic()
    while True:
        left_s = begun_s + timeout_s * patience() - time.monotonic()
        limit = asyncio.timeout(max(left_s, every_s))
        try:
            async with limit:
                value = predicate()
                if inspect.isawaitable(value):
                    value = await value
            if value:
                return value
            last = f"last value {value!r}"
        except ignoring as error:
            last = f"last error {error!r}"
        except TimeoutError as error:
            if not limit.expired():
                raise
            last = f"it never answered: {error!r}"
        waited_s = time.monotonic() - begun_s
        if waited_s >= timeout_s * patience():
            raise TimeoutError(_timed_out(what, predicate, waited_s, last))
        await asyncio.sleep(every_s)


def _timed_out(what: str, predicate: object, waited_s: float, last: str) -> str:
    return f"{what or getattr(predicate, '__qualname__', predicate)}: not so after {waited_s:.1f} s; {last}"


def free_port(host: str = "127.0.0.1") -> int:
    """Return a TCP port that nothing listens on and that this process has not been given before.

    The port lies below the kernel's ephemeral range: a port inside it can be taken by anybody's outgoing connection
    while a server is stopped, even by a client that retries to reach that very server and connects to itself.
    """
    lowest_ephemeral = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for port in random.sample(range(LOWEST_PORT, max(lowest_ephemeral, LOWEST_PORT + 1000)), 1000):
        if port in _ports_given:
            continue
        with socket.socket() as probe:
            # As servers do: a port whose old connections are in TIME_WAIT is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
        _ports_given.add(port)
        return port
    raise OSError(f"1000 ports of {host} from {LOWEST_PORT} on tried, none free; no server can be started")


class Daemon:
    """A program that runs until it is stopped, with its output in a log file.

    Args:
        argv: Program and arguments.
        log: The file its output is appended to; its folder is made.
        name: What errors call it; by default the program's file name.
        env: Variables set on top of this process's own.
        netns: A network namespace to run it in (as root).
        cwd: The folder it starts in.
    """

    def __init__(
        self,
        argv: Sequence[str | Path],
        *,
        log: Path,
        name: str | None = None,
        env: Mapping[str, str] | None = None,
        netns: str | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.argv = [str(word) for word in argv]
        self.log = log
        self.name = name or Path(self.argv[0]).name
        self.env = dict(env or {})
        self.netns = netns
        self.cwd = cwd
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The program's process id.

        Raises:
            DaemonError: If it was not started.
        """
        if self._process is None:
            raise DaemonError(f"{self.name}: not started, so it has no process id")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the program was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def start(self, ready: Callable[[], object] | None = None, *, timeout_s: float = 30.0) -> Self:
        """Start the program and wait until it is ready.

        Args:
            ready: True once the program can be used; an ``OSError`` (connection refused, a failed request) means "not
                yet". timeout_s: Seconds to wait for that.

        Raises:
            DaemonError: If it dies first or is not ready in time; it has been ended then.
        """
        if self.running:
            raise DaemonError(f"{self.name}: already running as {self.pid}; not started again")
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as out:
            # A session of its own: Ctrl-C in a terminal must reach the test run, which then ends its programs in order.
            self._process = subprocess.Popen(
                self._command(),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=os.environ | self.env,
                cwd=self.cwd,
                start_new_session=True,
            )
        if ready is None:
            return self

        def ready_or_dead() -> object:
            return self._process is None or self._process.poll() is not None or ready()

        try:
            wait_until(ready_or_dead, timeout_s, what=f"{self.name} ready", ignoring=(OSError,))
        except BaseException as error:
            self.stop()
            if isinstance(error, TimeoutError):
                raise DaemonError(f"{error}; {self.describe_log()}") from error
            raise
        if not self.running:
            raise DaemonError(f"{self.name}: exited with {self._process.returncode}; {self.describe_log()}")
        return self

    def stop(self, *, grace_s: float = 10.0) -> int | None:
        """End the program: SIGTERM, and SIGKILL if it still runs after the grace time, in seconds.

        Returns:
            Its exit status, negative for a signal; None if it was never started. Stopping twice is fine.
        """
        if self._process is None:
            return None
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(grace_s)
            except subprocess.TimeoutExpired:
                self._process.kill()
        return self._process.wait()

    def kill(self) -> None:
        """End the program without warning, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal: SIGSTOP makes a program that hangs, SIGCONT wakes it."""
        os.kill(self.pid, number)

    def describe_log(self) -> str:
        """The end of the log, for an error message."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return f"the end of {self.log}:\n" + "\n".join(lines[-LOG_TAIL_LINES:])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _command(self) -> list[str]:
        command = self.argv
        if self.netns:
            command = ["ip", "netns", "exec", self.netns, *command]
        # If the test run is killed, its programs must not outlive it. The kernel ties this to the thread that started
        # the program, so only the main thread, which lives as long as the process, may ask for it.
        if threading.current_thread() is threading.main_thread() and (setpriv := shutil.which("setpriv")):
            command = [setpriv, "--pdeathsig", "KILL", "--", *command]
        return command
