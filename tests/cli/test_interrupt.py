"""Ctrl-C, and what else ends a command early: one line, and nothing goes on in the background."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.process import wait_until

FOREMESH = Path(sys.executable).with_name("foremesh")
THREE_CLOUDS = Path(__file__).parents[2] / "manifests" / "examples" / "three-clouds"
DEADLINE_S = 90.0
"""Seconds for what takes one or two on a machine that does nothing else."""
AT_ONCE_S = 10.0
"""Seconds, many times what it takes to end, and far less than the simulations below have left."""

LONG = ("--days", "20")


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """Whoever runs these tests in the background of a script has told all his children to ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def started(*args: str | Path) -> Iterator[subprocess.Popen[str]]:
    """A command in a process group of its own, as a shell starts it; whatever is left of it in the end is killed."""
    running = subprocess.Popen(
        [FOREMESH, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        yield running
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
        running.communicate()


def members(group: int) -> list[int]:
    """Processes of a group that still run."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, _, process_group = (folder / "stat").read_text().rpartition(")")[2].split()[:3]
            if int(process_group) == group and state != "Z":
                found.append(int(folder.name))
    return found


def busy(running: subprocess.Popen[str]) -> bool:
    return running.poll() is None and len(members(running.pid)) > 1


COMMANDS = [
    pytest.param(("simulate", "--topology", "topozoo/Geant2012", *LONG), id="simulate"),
    pytest.param(("simulate", "--topology", "topozoo/Geant2012", *LONG, "-j", "1"), id="simulate-in-one-process"),
    pytest.param(("demo", "-f", THREE_CLOUDS, *LONG), id="demo"),
]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize("command", COMMANDS)
def test_ctrl_c_ends_every_process_at_once(command: tuple[str, ...], tmp_path: Path) -> None:
    out = ("--out", tmp_path / "out") if command[0] == "demo" else ()
    with started(*command, *out) as running:
        wait_until(lambda: busy(running), DEADLINE_S, what="it begins")
        os.killpg(running.pid, signal.SIGINT)
        _, said = running.communicate(timeout=AT_ONCE_S)
        assert running.returncode == 130
        assert said.splitlines()[-1] == f"foremesh {command[0]}: interrupted"
        assert "Traceback" not in said
        assert members(running.pid) == []


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
def test_who_is_killed_leaves_nobody_behind() -> None:
    with started("simulate", "--topology", "topozoo/Geant2012", *LONG) as running:
        wait_until(lambda: busy(running), DEADLINE_S, what="it begins")
        running.kill()
        running.wait(AT_ONCE_S)
        wait_until(lambda: not members(running.pid), AT_ONCE_S, what="nobody left")


def test_ctrl_c_while_a_plan_is_made_is_one_line() -> None:
    code = (
        "import os, signal, foremesh.files\n"
        "from foremesh.cli.main import main\n"
        "foremesh.files.read_bundle = lambda *_, **__: os.kill(os.getpid(), signal.SIGINT)\n"
        "main()\n"
    )
    command = [sys.executable, "-c", code, "plan", "-f", THREE_CLOUDS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S)
    assert done.returncode == 130
    assert done.stderr.count("\n") == 1
    assert done.stderr.endswith("plan: interrupted\n")
