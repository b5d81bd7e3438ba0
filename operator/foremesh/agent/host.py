"""Running the host's own programs, and its sysctls. Every call has a deadline and an error that says what was run."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import tempfile
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

COMMAND_TIMEOUT_S = 15.0
"""Seconds for one command; ``ip`` and ``nft`` answer in milliseconds, a large ruleset on a busy host in a second."""

ERROR_CHARACTERS = 500
"""How much of a program's complaint an error repeats."""

SYSCTL_ROOT = Path("/proc/sys")


class HostError(RuntimeError):
    """Something on the host could not be read or changed."""


class CommandFailed(HostError):
    """A program that failed; carries ``argv``, ``code`` (None: out of time) and ``complaint``."""

    def __init__(self, argv: Sequence[str], code: int | None, complaint: str) -> None:
        self.argv = tuple(argv)
        self.code = code
        self.complaint = complaint.strip()[:ERROR_CHARACTERS]
        how = f"exit {code}" if code is not None else f"no end within {COMMAND_TIMEOUT_S:.0f} s"
        super().__init__(f"{' '.join(argv)}: {how}: {self.complaint or 'it said nothing'}; the change is not made")


async def run_command(
    argv: Sequence[str],
    *,
    input: str | None = None,
    env: Mapping[str, str] | None = None,
    start_new_session: bool = False,
    timeout_s: float = COMMAND_TIMEOUT_S,
) -> str:
    """Run a program to its end and return what it wrote.

    Args:
        argv: Program and arguments.
        input: Its standard input.
        env: Its whole environment; None: the agent's.
        start_new_session: Whether signals to the agent's group must not reach it.
        timeout_s: Seconds until it is killed.

    Raises:
        CommandFailed: If it fails, is missing or takes too long.
    """
    # Files rather than pipes: a program that leaves a process behind would hold a pipe open.
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        try:
            process = await asyncio.create_subprocess_exec(
                *argv,
                stdin=asyncio.subprocess.DEVNULL if input is None else asyncio.subprocess.PIPE,
                stdout=out,
                stderr=err,
                env=env,
                start_new_session=start_new_session,
            )
        except OSError as error:
            raise CommandFailed(argv, error.errno, str(error)) from error
        try:
            # Not wait_for: before Python 3.12 it can swallow a cancellation, and the agent would not stop.
            async with asyncio.timeout(timeout_s):
                await process.communicate(None if input is None else input.encode())
        except BaseException as error:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            if isinstance(error, TimeoutError):
                raise CommandFailed(argv, None, "") from error
            raise
        out.seek(0)
        if process.returncode:
            err.seek(0)
            raise CommandFailed(argv, process.returncode, (err.read() or out.read()).decode(errors="replace"))
        return out.read().decode()


def address_towards(url: str) -> str | None:
    """The IPv4 address that this host reaches a URL from, by its routes: nothing is sent. None if there is no way, or
    none out of this host."""
    where = urlsplit(url)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((where.hostname or "", where.port or 443))
        except OSError:
            return None
        address: str = probe.getsockname()[0]
    return None if ip_address(address).is_loopback else address


def _sysctl(name: str, root: Path) -> Path:
    # Interface names may hold dots; only the last part and the fixed ones before it are separated by them.
    head, _, last = name.rpartition(".")
    if head.startswith("net.ipv4.conf."):
        return root / "net/ipv4/conf" / head.removeprefix("net.ipv4.conf.") / last
    return root / name.replace(".", "/")


def read_sysctl(name: str, root: Path = SYSCTL_ROOT) -> str:
    """The value of a sysctl of this network namespace; empty if there is none."""
    try:
        return _sysctl(name, root).read_text().strip()
    except OSError:
        return ""


def write_sysctl(name: str, value: str, root: Path = SYSCTL_ROOT) -> None:
    """Set a sysctl of this network namespace.

    Raises:
        HostError: If it cannot be written.
    """
    try:
        _sysctl(name, root).write_text(value)
    except OSError as error:
        now = read_sysctl(name, root) or "unknown"
        raise HostError(
            f"sysctl {name} is {now} and cannot be set to {value} ({error}); without it nothing is forwarded"
        ) from error


def filters_strictly(name: str, root: Path = SYSCTL_ROOT) -> bool:
    """Whether the reverse path filter of an interface (its sysctl) drops what its own answer would not leave by."""
    values = (read_sysctl(one, root) or "0" for one in (name, "net.ipv4.conf.all.rp_filter"))
    return max(values) == "1"


def is_fixed(name: str, root: Path = SYSCTL_ROOT) -> bool:
    """Whether a sysctl is there and cannot be written, as in most containers."""
    path = _sysctl(name, root)
    return path.exists() and not os.access(path, os.W_OK)


def move_down(setting: str, root: Path = SYSCTL_ROOT) -> None:
    """Move what ``conf.all`` says of a setting down to each interface, so that single ones can do without.

    Of ``rp_filter`` and ``send_redirects`` the kernel uses the larger of ``all`` and the interface's own value: with
    ``all`` at 0 every interface that was there keeps what held for it.
    """
    everywhere = int(read_sysctl(f"net.ipv4.conf.all.{setting}", root) or 0)
    for interface in sorted(os.listdir(root / "net/ipv4/conf")):
        if interface != "all" and everywhere:
            name = f"net.ipv4.conf.{interface}.{setting}"
            write_sysctl(name, str(max(everywhere, int(read_sysctl(name, root) or 0))), root)
    write_sysctl(f"net.ipv4.conf.all.{setting}", "0", root)
