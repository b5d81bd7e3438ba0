"""What a machine lacks is said in words a person can act on, and CI cannot pass by skipping."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lab import build, requirements
from lab.process import free_port, wait_until, wait_until_async

TESTS = Path(__file__).parent
DEADLINE_S = 120
"""Seconds a child process of these tests may take."""

SKIPS = """
import pytest

def test_skips():
    pytest.skip("no tunnel here")

@pytest.mark.skipif(True, reason="no kernel here")
def test_marked():
    pass

@pytest.mark.xfail(reason="known")
def test_expected_failure():
    assert False

def test_passes():
    pass
"""


def run_python(*args: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run Python as the tests do, without what this machine's owner set."""
    unset = ("FOREMESH_REQUIRE", "FOREMESH_SHARED", "KUBEBUILDER_ASSETS", "PYTEST_ADDOPTS")
    clean = {name: value for name, value in os.environ.items() if name not in unset}
    argv = [sys.executable, *map(str, args)]
    env = clean | {"PYTHONPATH": str(TESTS)} | env
    return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=DEADLINE_S)


def run_pytest(folder: Path, source: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a test module of its own under the rules of this suite's conftest."""
    (folder / "pytest.ini").write_text("[pytest]\n")
    module = folder / "test_probe.py"
    module.write_text(source)
    return run_python("-m", "pytest", "-p", "conftest", "-p", "no:cacheprovider", "-rA", module, **env)


def test_skip_is_a_skip_by_default(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, SKIPS)
    assert "1 passed, 2 skipped, 1 xfailed" in done.stdout
    assert done.returncode == 0


def test_skip_is_a_failure_where_all_is_required(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, SKIPS, FOREMESH_REQUIRE="all")
    # A marker skips in the setup phase, where pytest calls a failure an error.
    assert "1 failed, 1 passed, 1 xfailed, 1 error" in done.stdout
    assert "allows no skip: Skipped: no tunnel here" in done.stdout
    assert "allows no skip: Skipped: no kernel here" in done.stdout
    assert done.returncode == 1


def test_skipped_module_is_an_error_where_all_is_required(tmp_path: Path) -> None:
    source = "import pytest\npytest.skip('no room here', allow_module_level=True)\n"
    assert "1 skipped" in run_pytest(tmp_path, source).stdout
    done = run_pytest(tmp_path, source, FOREMESH_REQUIRE="all")
    assert "allows no skip: Skipped: no room here" in done.stdout
    assert done.returncode != 0


@pytest.mark.parametrize(
    "need", ["@pytest.mark.shared\ndef test_it(): pass", "def test_it(shared): pass"], ids=["marker", "fixture"]
)
def test_need_that_is_not_met_skips_with_its_reason_and_fails_where_all_is_required(tmp_path: Path, need: str) -> None:
    source = f"import pytest\n{need}\n"
    done = run_pytest(tmp_path, source)
    assert "1 skipped" in done.stdout
    assert "needs FOREMESH_SHARED: set it to the folder" in done.stdout
    done = run_pytest(tmp_path, source, FOREMESH_REQUIRE="all")
    assert "needs FOREMESH_SHARED: set it to the folder" in done.stdout
    assert done.returncode == 1
    (tmp_path / "crds").mkdir()
    (tmp_path / "data").mkdir()
    assert "1 passed" in run_pytest(tmp_path, source, FOREMESH_SHARED=str(tmp_path)).stdout


def test_shared_folder_that_lacks_a_part_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "crds").mkdir()
    monkeypatch.setenv("FOREMESH_SHARED", str(tmp_path))
    assert requirements.missing("shared") == f"needs data in the folder FOREMESH_SHARED names, {tmp_path}"


def test_go_that_is_too_old_is_a_reason_and_nothing_is_built(tmp_path: Path) -> None:
    old = tmp_path / "bin" / "go"
    old.parent.mkdir()
    old.write_text("#!/bin/sh\necho go1.19.8\n")
    old.chmod(0o755)
    path = f"{old.parent}{os.pathsep}{os.environ['PATH']}"
    done = run_python("-m", "lab.build", "etcd", PATH=path, XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert done.returncode == 1
    assert f"{old} is go1.19.8; install Go 1.26 or newer" in done.stderr
    assert not (tmp_path / "cache").exists()


def test_cache_folder_that_cannot_be_written_is_a_reason(tmp_path: Path) -> None:
    if reason := build.go_missing():
        pytest.skip(reason)
    (tmp_path / "file").touch()
    done = run_python("-m", "lab.build", "etcd", XDG_CACHE_HOME=str(tmp_path / "file"))
    assert done.returncode == 1
    assert "needs etcd, and cannot build it" in done.stderr
    assert "Traceback" not in done.stderr


def test_program_in_kubebuilder_assets_is_used_and_others_are_not_expected_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))
    given = tmp_path / "kubectl"
    given.write_text("#!/bin/sh\n")
    given.chmod(0o755)
    (tmp_path / "etcd").touch()  # there, but not a program
    assert build.find("kubectl") == given
    assert build.find("etcd") in (None, build.TOOLS["etcd"].built)


@pytest.mark.etcd
def test_two_builders_at_once_build_once(tmp_path: Path) -> None:
    if reason := build.go_missing():
        pytest.skip(reason)
    env = {name: value for name, value in os.environ.items() if name != "KUBEBUILDER_ASSETS"}
    # Go's own cache lies below XDG_CACHE_HOME too; it stays, or this would be a build from cold.
    go_cache = subprocess.run([build.go() or "go", "env", "GOCACHE"], capture_output=True, text=True).stdout.strip()
    env |= {"PYTHONPATH": str(TESTS), "XDG_CACHE_HOME": str(tmp_path), "GOCACHE": go_cache}
    argv = [sys.executable, "-m", "lab.build", "etcd"]
    pipe = subprocess.PIPE
    builders = [subprocess.Popen(argv, env=env, stdout=pipe, stderr=pipe, text=True) for _ in range(2)]
    said = [builder.communicate(timeout=DEADLINE_S) for builder in builders]
    assert [builder.returncode for builder in builders] == [0, 0], said
    assert "".join(stderr for _, stderr in said).count("building etcd") == 1
    (path,) = {Path(stdout.split()[1]) for stdout, _ in said}
    version = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=DEADLINE_S).stdout
    assert f"etcd Version: {build.TOOLS['etcd'].version}" in version


def test_program_does_not_outlive_a_killed_run(tmp_path: Path) -> None:
    script = (
        "import pathlib, sys; from lab.process import Daemon\n"
        f"daemon = Daemon(['sleep', '600'], log=pathlib.Path({str(tmp_path / 'log')!r})).start()\n"
        "print(daemon.pid, flush=True); sys.stdin.read()\n"
    )
    argv = [sys.executable, "-c", script]
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, env=os.environ | {"PYTHONPATH": str(TESTS)}, stdin=pipe, stdout=pipe, text=True) as run:
        assert run.stdout
        pid = int(run.stdout.readline())
        command = Path(f"/proc/{pid}/cmdline")
        # The wrapper that asks the kernel for this has to have become the program first.
        wait_until(lambda: command.read_text().startswith("sleep\0"), 10, what="sleep runs")
        os.kill(run.pid, signal.SIGKILL)
    wait_until(lambda: not command.exists() or not command.read_text(), 10, what="sleep gone")


def test_ports_given_are_distinct_and_below_the_ephemeral_range() -> None:
    lowest_ephemeral = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    ports = [free_port() for _ in range(20)]
    assert len(set(ports)) == 20
    assert max(ports) < lowest_ephemeral


async def test_waiting_ends_with_what_was_waited_for() -> None:
    answers = iter([0, 0, 7])
    assert await wait_until_async(lambda: next(answers), 10) == 7

    async def hangs() -> bool:
        await asyncio.Event().wait()
        return True

    with pytest.raises(TimeoutError, match=r"the link is up: not so after \d\.\d s; it never answered"):
        await wait_until_async(hangs, 0.1, what="the link is up")

    def broken() -> bool:
        raise ConnectionRefusedError("port 1")

    with pytest.raises(TimeoutError, match=r"last error ConnectionRefusedError\('port 1'\)"):
        await wait_until_async(broken, 0.1, ignoring=(OSError,))
    with pytest.raises(ConnectionRefusedError):
        wait_until(broken, 10)
