"""Processes in the lab's namespaces.

Every namespace has a holder: a process that keeps a mount namespace alive beside the network one, in which
``/var/run/wireguard`` is private. So two gateways may use the same interface names although they share a file system,
and no control socket outlives the lab.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.process import Daemon

HOLDER = """\
for setting in "$@"; do
  path=/proc/sys/net/${setting%=*}
  [ ! -e "$path" ] || echo "${setting#*=}" > "$path" || exit 1
done
mkdir -p /var/run/wireguard && mount -t tmpfs -o mode=700 tmpfs /var/run/wireguard && ip link set lo up || exit 1
echo ready
exec sleep infinity
"""


class LabError(RuntimeError):
    """The lab cannot be built, or a command in it failed: state, cause, consequence."""


class Namespace:
    """A network namespace of the lab, and a way to run programs in it."""

    def __init__(self, name: str, netns: str) -> None:
        self.name, self.netns = name, netns
        self._holder: subprocess.Popen[str] | None = None
        self._daemons: list[Daemon] = []

    def start(self, settings: Mapping[str, int]) -> None:
        """Start the holder in the namespace, which exists; ``settings`` are sysctls under ``net/``, if known there."""
        argv = ["ip", "netns", "exec", self.netns, "sh", "-c", HOLDER, "sh", *(f"{k}={v}" for k, v in settings.items())]
        pipe = subprocess.PIPE
        self._holder = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=pipe, text=True, start_new_session=True)

    def ready(self) -> None:
        """Return once programs can be run.

        Raises:
            LabError: If the namespace could not be prepared; the reason is on standard error.
        """
        said = self._holder.stdout.readline() if self._holder and self._holder.stdout else ""
        if said != "ready\n":
            raise LabError(f"{self.netns}: no settings or no private /var/run/wireguard; nothing can run in it")

    def command(self, *argv: object) -> list[str]:
        """The command that runs ``argv`` in the namespace from the current folder."""
        if self._holder is None or self._holder.poll() is not None:
            raise LabError(f"{self.netns}: its holder is gone (the lab has ended?); cannot run {argv[0]}")
        inside = ["nsenter", "--target", str(self._holder.pid), "--net", "--mount", "env", "-C", os.getcwd()]
        return [*inside, *map(str, argv)]

    def exec(
        self, *argv: object, check: bool = True, timeout: float = 30.0, input: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a program to its end.

        Args:
            argv: Program and arguments.
            check: Whether an exit code other than 0 is an error.
            timeout: Seconds until it is killed.
            input: Its standard input.

        Raises:
            LabError: If it failed and ``check`` is set; carries what it wrote.
            subprocess.TimeoutExpired: If it took too long.
        """
        stdin: dict[str, Any] = {"stdin": subprocess.DEVNULL} if input is None else {"input": input}
        done = subprocess.run(
            self.command(*argv), capture_output=True, text=True, timeout=timeout, check=False, **stdin
        )
        if check and done.returncode:
            said = (done.stderr + done.stdout).strip()
            raise LabError(f"{self.name}: {' '.join(map(str, argv))}: exit {done.returncode}: {said}")
        return done

    def popen(self, *argv: object, **options: Any) -> subprocess.Popen[Any]:
        """Start a program; ``options`` are :class:`subprocess.Popen`'s. The lab's end kills it if nothing else did."""
        return subprocess.Popen(self.command(*argv), **options)

    def daemon(
        self,
        argv: Sequence[object],
        log: Path,
        *,
        env: Mapping[str, str] | None = None,
        ready: Callable[[], object] | None = None,
    ) -> Daemon:
        """Start a program of long life that writes to ``log``, and wait until it is ``ready``.

        The arguments are those of :class:`lab.process.Daemon`, which is returned; the lab's end kills what still runs.

        Raises:
            DaemonError: If it dies before it is ready, or is not in time.
        """
        daemon = Daemon(self.command(*argv), log=log, name=f"{self.name}: {Path(str(argv[0])).name}", env=env)
        self._daemons.append(daemon)
        return daemon.start(ready)

    def stop(self) -> None:
        """Collect the holder and the daemons, which end now if they did not yet."""
        for daemon in self._daemons:
            daemon.kill()
        if self._holder is not None:
            self._holder.kill()
            self._holder.wait()
            if self._holder.stdout:
                self._holder.stdout.close()


@dataclass(frozen=True, slots=True)
class Addresses:
    """A node's addresses, without prefix lengths; ``underlay`` only on gateways."""

    mgmt: str
    lan: str
    underlay: str | None = None


class Node(Namespace):
    """A gateway or a workload."""

    def __init__(self, name: str, netns: str, site: str, addresses: Addresses) -> None:
        super().__init__(name, netns)
        self.site = site
        self.mgmt_address, self.lan_address, self.underlay_address = addresses.mgmt, addresses.lan, addresses.underlay
