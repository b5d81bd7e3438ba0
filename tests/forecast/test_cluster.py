"""Fits over Dask come to the same as in processes, and whatever dies takes no more with it than it has to."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, CancelledError, Executor
from pathlib import Path

import numpy as np
import pytest

from foremesh.forecast import FittedModels, quantile_forecast, refit
from foremesh.forecast.cluster import DaskExecutor, Tls
from lab.certs import Authority
from lab.process import wait_until, wait_until_async

from .made import batch, congested, daily, times

pytest.importorskip("distributed", reason="needs Dask: pip install foremesh[dask]")

DEADLINE_S = 60.0


class Cluster:
    """A scheduler and workers, each a program on loopback; with TLS, if there are files for it."""

    def __init__(self, folder: Path, tls: Tls | None = None) -> None:
        self.folder = folder
        self.tls = tls
        self.programs: list[subprocess.Popen[bytes]] = []
        self.log = (folder / "dask.log").open("wb")
        scheme = ("--protocol", "tls") if tls else ()
        self.scheduler = self.start(
            "scheduler", "--port", "0", "--no-dashboard", "--scheduler-file", self.file, *scheme
        )
        # There is a moment in which the file is empty.
        wait_until(
            lambda: self.file.exists() and self.file.stat().st_size > 0, DEADLINE_S, what="the scheduler listens"
        )
        self.address: str = json.loads(self.file.read_text())["address"]

    @property
    def file(self) -> Path:
        return self.folder / "scheduler.json"

    def worker(self) -> subprocess.Popen[bytes]:
        options = ("--nthreads", "1", "--no-nanny", "--no-dashboard", "--local-directory", self.folder)
        return self.start("worker", self.address, *options)

    def start(self, what: str, *options: object) -> subprocess.Popen[bytes]:
        path = os.pathsep.join(filter(None, [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")]))
        tls = self.tls
        files = ("--tls-ca-file", tls.ca_file, "--tls-cert", tls.cert_file, "--tls-key", tls.key_file) if tls else ()
        program = subprocess.Popen(
            [sys.executable, "-m", "dask", what, "--host", "127.0.0.1", *map(str, options), *files],
            stdout=self.log,
            stderr=self.log,
            # A job that kills whoever does it is given up after the second worker.
            env=os.environ | {"PYTHONPATH": path, "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1"},
        )
        self.programs.append(program)
        return program

    def close(self) -> None:
        for program in reversed(self.programs):
            if program.poll() is None:
                program.terminate()
        for program in self.programs:
            try:
                program.wait(10)
            except subprocess.TimeoutExpired:
                program.kill()
                program.wait()
        self.log.close()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def dask(cluster: Cluster) -> Iterator[DaskExecutor]:
    executor = DaskExecutor(cluster.address)
    yield executor
    executor.shutdown(wait=True)


def twice(number: int) -> int:
    return 2 * number


def fails(_: int) -> int:
    raise ValueError("no convergence")


def dies_once(folder: Path) -> str:
    """Whoever does it first waits to be killed."""
    try:
        (folder / "begun").open("x").write(str(os.getpid()))
    except FileExistsError:
        return "done by another"
    signal.pause()
    return "never"


def dies(_: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


async def test_fits_are_the_same_as_in_processes(cluster: Cluster, dask: DaskExecutor, pool: Executor) -> None:
    cluster.worker()
    past = batch(daily(times()), congested(times()), np.full(len(times()), 20.0))
    here = await refit(FittedModels(), past, pool=pool, horizon_s=600)
    there = await refit(FittedModels(), past, pool=dask, horizon_s=600)
    assert len(here.fits) == 2
    assert there.fits.keys() == here.fits.keys()
    assert there.refused == here.refused
    for name, fit in here.fits.items():
        np.testing.assert_array_equal(there.fits[name].curve.values, fit.curve.values)
        np.testing.assert_array_equal(there.fits[name].proof.values, fit.proof.values)
    one, other = (quantile_forecast(past, horizon_s=600, fitted=fitted) for fitted in (here, there))
    np.testing.assert_array_equal(one.values, other.values)


def test_a_cluster_with_tls_is_joined_by_whoever_has_a_certificate(tmp_path: Path) -> None:
    authority, other = Authority(tmp_path / "ours"), Authority(tmp_path / "theirs")
    (tmp_path / "cluster").mkdir()
    cluster = Cluster(tmp_path / "cluster", _issued(authority, authority, "dask"))
    try:
        cluster.worker()
        assert cluster.address.startswith("tls://")
        ours = DaskExecutor(cluster.address, _issued(authority, authority, "operator"))
        theirs = DaskExecutor(cluster.address, _issued(authority, other, "operator"))
        try:
            assert ours.submit(twice, 21).result(DEADLINE_S) == 42
            with pytest.raises(BrokenExecutor, match="is away"):
                theirs.submit(twice, 21).result(DEADLINE_S)
        finally:
            ours.shutdown(wait=True)
            theirs.shutdown(wait=True)
    finally:
        cluster.close()


def _issued(trusted: Authority, by: Authority, name: str) -> Tls:
    pair = by.issue(name, ips=["127.0.0.1"])
    return Tls(str(trusted.cert_file), str(pair.cert_file), str(pair.key_file))


def test_a_job_that_raises_fails_alone(cluster: Cluster, dask: DaskExecutor) -> None:
    cluster.worker()
    bad, good = dask.submit(fails, 1), dask.submit(twice, 21)
    assert good.result(DEADLINE_S) == 42
    with pytest.raises(ValueError, match="no convergence"):
        bad.result(DEADLINE_S)


def test_what_a_killed_worker_was_at_is_done_by_another(cluster: Cluster, dask: DaskExecutor, tmp_path: Path) -> None:
    workers = [cluster.worker(), cluster.worker()]
    hit, others = dask.submit(dies_once, tmp_path), [dask.submit(twice, number) for number in range(8)]
    begun = tmp_path / "begun"
    wait_until(lambda: begun.exists() and bool(begun.read_text()), DEADLINE_S, what="a worker has begun")
    (victim,) = [worker for worker in workers if worker.pid == int(begun.read_text())]
    victim.kill()
    assert hit.result(DEADLINE_S) == "done by another"
    assert [other.result(DEADLINE_S) for other in others] == [2 * number for number in range(8)]


def test_a_job_that_kills_workers_is_given_up_and_others_come(cluster: Cluster, dask: DaskExecutor) -> None:
    for _ in range(3):
        cluster.worker()
    deadly = dask.submit(dies, 1)
    with pytest.raises(Exception, match="died") as caught:
        deadly.result(DEADLINE_S)
    assert not isinstance(caught.value, BrokenExecutor), "the cluster is still there"
    assert dask.submit(twice, 4).result(DEADLINE_S) == 8


async def test_a_scheduler_that_dies_breaks_the_refit_and_not_the_forecast(
    cluster: Cluster, dask: DaskExecutor, tmp_path: Path
) -> None:
    past = batch(daily(times()))
    refitting = asyncio.create_task(refit(FittedModels(), past, pool=dask, horizon_s=600))
    # No worker: the fit waits in the scheduler.
    log = tmp_path / "dask.log"
    await wait_until_async(lambda: "foremesh" in log.read_text(), DEADLINE_S, what="the client came")
    cluster.scheduler.kill()
    with pytest.raises(BrokenExecutor, match=r"dask scheduler tcp://127\.0\.0\.1:\d+ is away"):
        await asyncio.wait_for(refitting, DEADLINE_S)
    answer = quantile_forecast(past, horizon_s=600, fitted=FittedModels())
    assert np.isfinite(answer.values).all()
    assert answer.reasons[0].endswith("; prophet: not fitted yet")


def test_what_was_not_handed_over_is_cancelled_if_that_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    leaving = threading.Event()

    def slow(_: DaskExecutor) -> None:
        leaving.wait(DEADLINE_S)
        raise OSError("no answer")

    monkeypatch.setattr(DaskExecutor, "_connect", slow)
    executor = DaskExecutor("tcp://192.0.2.1:8786")
    first, *others = [executor.submit(twice, number) for number in range(3)]
    wait_until(first.running, DEADLINE_S, what="the first job is being handed over")
    executor.shutdown(wait=False, cancel_futures=True)
    leaving.set()
    with pytest.raises(BrokenExecutor, match="is away"):
        first.result(DEADLINE_S)
    for one in others:
        with pytest.raises(CancelledError):
            one.result(DEADLINE_S)


def test_a_scheduler_that_is_not_there_is_told(unused_port: int) -> None:
    executor = DaskExecutor(f"tcp://127.0.0.1:{unused_port}")
    with pytest.raises(BrokenExecutor, match="is away"):
        executor.submit(twice, 1).result(DEADLINE_S)
    executor.shutdown(wait=True)
    with pytest.raises(RuntimeError):
        executor.submit(twice, 1)


@pytest.fixture
def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_scheduler_that_says_nothing_holds_nobody_up() -> None:
    """Not even at the program's end."""
    program = """
        import socket
        import foremesh.forecast.cluster as cluster
        cluster.CONNECT_S = 0.5
        with socket.create_server(("127.0.0.1", 0)) as silent:
            executor = cluster.DaskExecutor("tcp://%s:%d" % silent.getsockname())
            print(executor.submit(abs, -1).exception())
            executor.shutdown()
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=DEADLINE_S
    )
    assert "is away: no answer in 1 s" in done.stdout
    assert done.returncode == 0, done.stderr
