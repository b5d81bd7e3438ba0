"""Fixtures for every test, and the rule about skips.

A marker (``apiserver``, ``etcd``, ``prometheus``, ``lab``, ``helm``, ``browser``, ``graphviz``, ``shared``) or one of
the fixtures below says what a test needs; on a machine that lacks it the test skips and says why. Under
``FOREMESH_REQUIRE=all`` nothing may be skipped.
"""

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

from lab import build, requirements
from lab.controlplane import ControlPlane
from lab.etcd import EtcdServer
from lab.process import patience
from lab.prometheus import PrometheusServer

# How long an example takes is the machine's business, which may have others to serve.
settings.register_profile("foremesh", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("foremesh")

NEEDED_BY_FIXTURE = {
    "control_plane": "apiserver",
    "etcd_server": "etcd",
    "new_etcd": "etcd",
    "new_prometheus": "prometheus",
    "helm": "helm",
    "shared": "shared",
}


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """One Kubernetes control plane for the whole run; tests keep apart by namespace."""
    with ControlPlane(tmp_path_factory.mktemp("control-plane")) as running:
        yield running


@pytest.fixture(scope="session")
def etcd_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    """One plain etcd for the whole run; tests keep apart by key prefix. Not for tests that stop or compact it."""
    with EtcdServer(tmp_path_factory.mktemp("etcd")) as running:
        yield running


@pytest.fixture
def new_etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., EtcdServer]]:
    """Start an etcd of the test's own: ``new_etcd(mutual_tls=True)``; it ends with the test."""
    with ExitStack() as running:
        yield lambda **options: running.enter_context(EtcdServer(tmp_path_factory.mktemp("etcd"), **options))


@pytest.fixture
def new_prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., PrometheusServer]]:
    """Start a Prometheus: ``new_prometheus(config, backfill=openmetrics_file)``; it ends with the test."""
    with ExitStack() as running:

        def start(config: dict[str, Any], *, backfill: Path | None = None, **options: Any) -> PrometheusServer:
            server = PrometheusServer(tmp_path_factory.mktemp("prometheus"), config, **options)
            if backfill:
                server.backfill(backfill)
            return running.enter_context(server)

        yield start


@pytest.fixture(scope="session")
def helm() -> Path:
    """The helm command."""
    return build.ensure("helm")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with third-party schemas (``crds/``) and recorded data (``data/``)."""
    return requirements.shared_folder()


@pytest.fixture(scope="session", autouse=True)
def _current_wireguard() -> Iterator[None]:
    """Labs run a current WireGuard where one could be built, and otherwise Debian's."""
    with build.on_path("wireguard-go") if build.find("wireguard-go") else nullcontext():
        yield


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "helm: needs helm")
    config.addinivalue_line("markers", "browser: needs Chromium and its driver")
    config.addinivalue_line("markers", "graphviz: needs graphviz")
    config.addinivalue_line("markers", "shared: needs the folder FOREMESH_SHARED names")


class LabsInTurn(LoadScopeScheduling):
    """Hands out tests by file, and all files with labs to one worker: two labs at once on two cores disturb each
    other."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "labs" if _has_labs(self.config.rootpath / file) else file


@cache
def _has_labs(file: Path) -> bool:
    return "mark.lab" in file.read_text()


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    return LabsInTurn(config, log)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build what the selected tests run before the first of them starts: no test's time limit allows for a cold
    build."""
    if session.config.option.collectonly:
        return
    needed = {name for item in session.items for name in _needs(item)}
    programs = dict.fromkeys(program for name in sorted(needed) for program in requirements.tools_for(name))
    if all(build.find(program) for program in programs):
        return
    capture = session.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        for program in programs:
            try:
                build.ensure(program)
            except build.BuildError:
                # Remembered there: the tests that need it skip, or fail, with this reason.
                continue


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A lab test that fails while the machine has more to do than it can is tried a second time, and the summary says
    so: who does not get the processor for as long as three hellos take is as good as dead to the others. On a machine
    that has time for its labs nothing is tried twice."""
    for item in items:
        if item.get_closest_marker("lab"):
            item.add_marker(pytest.mark.flaky(reruns=1, condition=lambda: patience() > 1.0))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    for name in sorted(_needs(item)):
        requirements.require(name)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a test's skip into a failure where nothing may be skipped; an expected failure is no skip."""
    report = yield
    if requirements.require_all() and report.skipped and not hasattr(report, "wasxfail"):
        _fail_for_skipping(report)
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Turn a whole module's skip into a failure where nothing may be skipped."""
    report = yield
    if requirements.require_all() and report.outcome == "skipped":
        _fail_for_skipping(report)
    return report


def _needs(item: pytest.Item) -> set[str]:
    marked = {name for name in requirements.REQUIREMENTS if item.get_closest_marker(name)}
    return marked | {NEEDED_BY_FIXTURE[name] for name in getattr(item, "fixturenames", ()) if name in NEEDED_BY_FIXTURE}


def _fail_for_skipping(report: pytest.TestReport | pytest.CollectReport) -> None:
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
    report.outcome = "failed"
    report.longrepr = f"FOREMESH_REQUIRE=all allows no skip: {reason}"
