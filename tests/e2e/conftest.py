"""One mesh for all end-to-end tests: starting it takes longer than most of them. Tests keep apart by what they apply,
and leave the world as they found it."""

from __future__ import annotations

from collections.abc import Generator, Iterator

import pytest
import yaml

from lab.mesh import NAMESPACE, MeshLab
from lab.process import wait_until

BEST_PATH = "ams > lon > fra"
"""What the undisturbed lab's Intent gets."""
INTENT = "app-to-db"
BACK_WITHIN_S = 240.0
"""Seconds until traffic is back on the best path after the network was restored: what was measured meanwhile has to be
older than the two minutes that forecasts look back, plus a plan and its acknowledgements."""
LOG_LINES = {"operator": 40, "agent": 12}
"""Lines of a log that a failed test shows, by the beginning of its name."""

_running: list[MeshLab] = []
_EARLIER = pytest.StashKey[list[tuple[str, str]]]()


@pytest.fixture(scope="session")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MeshLab]:
    """The mesh, its agents ready, nothing asked of it yet."""
    lab = MeshLab(tmp_path_factory.mktemp("mesh"))
    with lab:
        _running.append(lab)
        yield lab
        _running.remove(lab)
    assert lab.leftovers() == []


@pytest.fixture(autouse=True)
def operator_is_never_refused(mesh: MeshLab) -> Iterator[None]:
    """What the chart allows the operator is enough for whatever the test made it do."""
    yield
    assert mesh.refused() == []


@pytest.fixture
def placed(mesh: MeshLab) -> MeshLab:
    """The mesh with the example's Intent placed and its circuit carrying traffic, on whichever path."""
    mesh.lab.internet.restore()
    mesh.apply_example("intent.yaml")
    mesh.wait_condition("intent", INTENT, "Ready")
    return mesh


@pytest.fixture
def satisfied(placed: MeshLab) -> MeshLab:
    """That mesh with the Intent on its best path and measured to be good enough. A machine that was too busy for a
    moment may have moved it; it comes back by itself."""
    mesh = placed
    wait_until(
        lambda: mesh.get("intent", INTENT)["status"]["path"] == BEST_PATH,
        BACK_WITHIN_S,
        what=f"traffic by {BEST_PATH}",
        every_s=0.25,
    )
    mesh.wait_condition("intent", INTENT, "Ready")
    mesh.wait_condition("intent", INTENT, "Satisfied")
    return mesh


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failed test shows what the mesh says about itself, and if it failed twice, how it did the first time."""
    report = yield
    if report.failed and _running:
        earlier, said = item.stash.setdefault(_EARLIER, []), _describe(_running[0])
        report.sections += [("what the mesh says", said), *earlier]
        earlier.append(("what an earlier attempt said", f"{report.longreprtext}\n{said}"))
    return report


def _describe(mesh: MeshLab) -> str:
    said = []
    for kind in ("intents", "circuits"):
        shown = mesh.control_plane.kubectl("get", kind, f"--namespace={NAMESPACE}", "-o", "json", check=False)
        for body in (yaml.safe_load(shown.stdout) or {}).get("items", []):
            said.append(f"{kind} {body['metadata']['name']}: {yaml.safe_dump(body.get('status'))}")
    for name, log in mesh.logs().items():
        if lines := LOG_LINES.get(name.partition("-")[0]):
            said += [f"{name}: {line}" for line in log.read_text(errors="replace").splitlines()[-lines:]]
    return "\n".join(said)
