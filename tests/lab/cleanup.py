"""What a lab leaves on the machine, and its removal; also for a lab whose process was killed and could not do it."""

from __future__ import annotations

import fcntl
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

STATE = Path("/run/foremesh-lab")
"""One folder per lab: who owns it, the emulator's world, socket and log. Gone with a reboot, as namespaces are."""

NETNS = Path("/run/netns")

WIREGUARD = Path("/var/run/wireguard")
"""Where userspace WireGuards listen for configuration, by interface name; one folder for all network namespaces."""

KILL_TIMEOUT_S = 10.0
"""Seconds killed processes may take to go: a process that holds a device goes when the kernel has taken that down."""


def ip(*argv: str, batch: str | None = None) -> str:
    """Run iproute2's ``ip`` in the root namespace, or with ``-n``; returns what it printed.

    Raises:
        RuntimeError: With what it complained about.
    """
    argv = ("ip", *argv, *(("-batch", "-") if batch is not None else ()))
    done = subprocess.run(argv, input=batch or "", capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv)}: exit {done.returncode}: {done.stderr.strip()}")
    return done.stdout


@contextmanager
def exclusive() -> Iterator[None]:
    """Hold the lock under which labs take names and management addresses, and dead labs are removed."""
    STATE.mkdir(mode=0o755, exist_ok=True)
    with open(STATE / "lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def claim(prefix: str) -> Path:
    """Make the folder of a lab owned by this process; call it holding :func:`exclusive`."""
    folder = STATE / prefix
    folder.mkdir(mode=0o700)
    (folder / "owner.json").write_text(json.dumps({"pid": os.getpid(), "started": _started(os.getpid())}))
    return folder


def remove(prefix: str) -> None:
    """End the processes of the lab ``prefix``, delete its namespaces, links and files. Twice is the same as once."""
    namespaces = _namespaces(prefix)
    sockets = _wireguard_sockets(namespaces)
    _kill(namespaces)
    for path in sockets:
        if not _answers(path):  # else an interface of that name elsewhere on the machine owns it
            path.unlink(missing_ok=True)
    for link in _root_links(prefix):
        with suppress(RuntimeError):  # its namespace may have taken it along since
            ip("link", "del", link)
    if namespaces:
        ip(batch="".join(f"netns del {name}\n" for name in namespaces))
    shutil.rmtree(STATE / prefix, ignore_errors=True)


def leftovers(prefix: str) -> list[str]:
    """What of the lab ``prefix`` is still on the machine, for people to read; empty when nothing is."""
    namespaces = _namespaces(prefix)
    found = [f"namespace {name}" for name in namespaces]
    found += [f"process {pid} in one of them" for pid in _processes(namespaces)]
    found += [f"link {name}" for name in _root_links(prefix)]
    return found + ([f"folder {STATE / prefix}"] if (STATE / prefix).exists() else [])


def remove_dead() -> list[str]:
    """Remove every lab whose owner is dead; returns their prefixes. Call it holding :func:`exclusive`."""
    dead = [p.name for p in sorted(STATE.iterdir()) if p.is_dir() and not _alive(p)] if STATE.exists() else []
    for prefix in dead:
        remove(prefix)
    return dead


def _alive(folder: Path) -> bool:
    try:
        owner = json.loads((folder / "owner.json").read_text())
        return bool(_started(owner["pid"]) == owner["started"])
    except (OSError, ValueError, KeyError):
        return False


def _started(pid: int) -> int:
    """When a process started, in clock ticks since boot: tells it from a later one of the same number."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


def _namespaces(prefix: str) -> list[str]:
    return sorted(p.name for p in NETNS.glob(f"{prefix}-*"))


def _root_links(prefix: str) -> list[str]:
    return sorted(p.name for p in Path("/sys/class/net").glob(f"{prefix}-*"))


def _processes(namespaces: list[str]) -> list[int]:
    inodes = set()
    for name in namespaces:
        with suppress(OSError):
            inodes.add(os.stat(NETNS / name).st_ino)
    pids = []
    for entry in os.listdir("/proc"):
        with suppress(OSError):  # not a process, or gone since
            if entry.isdigit() and os.stat(f"/proc/{entry}/ns/net").st_ino in inodes:
                pids.append(int(entry))
    return pids


def _wireguard_sockets(namespaces: list[str]) -> list[Path]:
    """Control sockets in the machine's own folder that may be of interfaces in ``namespaces``.

    Programs started by :class:`lab.nodes.Node` have their own folder; those by ``ip netns exec`` share the machine's.
    """
    sockets = sorted(WIREGUARD.glob("*.sock"))
    if not sockets:
        return []
    links = {link["ifname"] for name in namespaces for link in json.loads(ip("-n", name, "-j", "link") or "[]")}
    return [path for path in sockets if path.stem in links]


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(path))
        except OSError:
            return False
        return True


def _kill(namespaces: list[str]) -> None:
    deadline = time.monotonic() + KILL_TIMEOUT_S
    while pids := _processes(namespaces):
        if os.getpid() in pids:
            raise RuntimeError("this process is in one of the lab's namespaces; it cannot remove them")
        for pid in pids:
            with suppress(ProcessLookupError):
                _kill_one(pid, deadline)


def _kill_one(pid: int, deadline: float) -> None:
    """Kill a process and wait for its last thread: until then it holds its sockets, though /proc shows no namespace."""
    handle = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        if not select.select([handle], [], [], max(0.0, deadline - time.monotonic()))[0]:
            raise RuntimeError(f"process {pid} survives SIGKILL for {KILL_TIMEOUT_S:g} s; its namespace stays")
    finally:
        os.close(handle)
