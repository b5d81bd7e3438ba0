"""manifests/argocd: what Argo CD would take, and what its health script says of an object, run in Argo CD's own Lua."""

import copy
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from charts.conftest import CHARTS, Helm
from lab import build
from lab.controlplane import ControlPlane
from lab.requirements import require

ROOT = CHARTS.parent
APPLICATIONS = ROOT / "manifests/argocd/foremesh.yaml"
HEALTH = ROOT / "manifests/argocd/health/argocd-cm.yaml"
KINDS = ("MeshResource", "Intent", "Circuit", "MeshPolicy")


def _applications() -> dict[str, dict[str, Any]]:
    return {one["metadata"]["name"]: one for one in yaml.safe_load_all(APPLICATIONS.read_text())}


def _structural(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema as a CRD may hold it; refusing unknown fields is the API server's part."""
    schema = copy.deepcopy(schema)
    stack: list[Any] = [schema]
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            if node.get("additionalProperties") is False:
                del node["additionalProperties"]
            stack += node.values()
        elif isinstance(node, list):
            stack += node
    schema["properties"]["metadata"] = {"type": "object"}
    return schema


@pytest.fixture(scope="module")
def argocd(control_plane: ControlPlane, shared: Path) -> Any:
    """A control plane that knows Argo CD's Applications, from Argo CD's own schema."""
    schema = json.loads((shared / "crds/argocd/application_v1alpha1.json").read_text())
    version = {"name": "v1alpha1", "served": True, "storage": True, "schema": {"openAPIV3Schema": _structural(schema)}}
    crd = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "applications.argoproj.io"},
        "spec": {
            "group": "argoproj.io",
            "scope": "Namespaced",
            "names": {"kind": "Application", "plural": "applications"},
            "versions": [version],
        },
    }
    control_plane.kubectl("apply", "--server-side", "-f", "-", stdin=yaml.safe_dump(crd))
    control_plane.wait_established("applications.argoproj.io")
    control_plane.kubectl("create", "namespace", "argocd")
    yield control_plane
    control_plane.kubectl("delete", "namespace/argocd", "crd/applications.argoproj.io", "--wait=false")


@pytest.mark.apiserver
def test_argocd_takes_the_applications(argocd: ControlPlane) -> None:
    answer = argocd.kubectl("apply", "--dry-run=server", "-f", APPLICATIONS, check=False)
    assert answer.returncode == 0, answer.stderr
    assert len(answer.stdout.splitlines()) == len(_applications())


@pytest.mark.apiserver
def test_argocds_schema_refuses_a_misspelled_field(argocd: ControlPlane) -> None:
    """Shows that the test above can fail."""
    application = _applications()["foremesh"]
    application["spec"]["syncPolicy"]["selfHeel"] = True
    text = yaml.safe_dump(application)
    answer = argocd.kubectl("apply", "--dry-run=server", "-f", "-", stdin=text, check=False)
    assert 'unknown field "spec.syncPolicy.selfHeel"' in answer.stderr


def test_crds_come_first_and_everything_is_applied_server_side() -> None:
    applications = _applications()
    waves = {
        name: int(one["metadata"]["annotations"]["argocd.argoproj.io/sync-wave"]) for name, one in applications.items()
    }
    assert waves == {"foremesh-crds": -2, "foremesh": 0}
    assert all("ServerSideApply=true" in one["spec"]["syncPolicy"]["syncOptions"] for one in applications.values())


def test_nothing_deletes_the_crds() -> None:
    application = _applications()["foremesh-crds"]
    assert "finalizers" not in application["metadata"]
    assert application["spec"]["syncPolicy"]["automated"]["prune"] is False


def test_the_repository_is_a_placeholder_and_the_paths_exist() -> None:
    for application in _applications().values():
        source = application["spec"]["source"]
        assert source["repoURL"].startswith("https://git.example.com/")
        assert (ROOT / source["path"] / "Chart.yaml").exists()


def test_the_chart_takes_the_applications_values(run_helm: Helm, tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    values.write_text(yaml.safe_dump(_applications()["foremesh"]["spec"]["source"]["helm"]["valuesObject"]))
    run_helm("template", "foremesh", CHARTS / "foremesh", "--values", values)


def _script(kind: str, group: str = "foremesh.io") -> str:
    return yaml.safe_load(HEALTH.read_text())["data"][f"resource.customizations.health.{group}_{kind}"]


def _lua(value: Any) -> str:
    """A value as a Lua literal; JSON's strings are Lua's as long as they hold no escapes but quotes."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"[{json.dumps(key)}] = {_lua(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "{" + ", ".join(map(_lua, value)) + "}"
    return json.dumps(value)


@pytest.fixture(scope="session")
def glua() -> Path:
    require("glua")
    return build.ensure("glua")


def _health(glua: Path, script: str, obj: dict[str, Any], folder: Path) -> list[str]:
    """Status and message that Argo CD would show."""
    program = folder / "health.lua"
    program.write_text(f"obj = {_lua(obj)}\nhs = (function()\n{script}\nend)()\nprint(hs.status)\nprint(hs.message)\n")
    answer = subprocess.run([glua, program], capture_output=True, text=True, timeout=60)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout.splitlines()


def _condition(type_: str, status: str, reason: str, generation: int = 2) -> dict[str, Any]:
    return {"type": type_, "status": status, "reason": reason, "message": "m", "observedGeneration": generation}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("conditions", "health"),
    [
        pytest.param(None, ["Progressing", "the operator has not looked at it yet"], id="no-status-is-progressing"),
        pytest.param([], ["Progressing", "the operator has not looked at it yet"], id="no-condition-is-progressing"),
        pytest.param(
            [_condition("Ready", "True", "Placed", generation=1)],
            ["Progressing", "the operator has not looked at the newest change yet"],
            id="ready-for-an-older-generation-is-progressing",
        ),
        pytest.param(
            [_condition("Ready", "Unknown", "Pending")], ["Progressing", "Pending: m"], id="unknown-is-progressing"
        ),
        pytest.param(
            [_condition("Ready", "False", "CircuitNotReady")],
            ["Progressing", "CircuitNotReady: m"],
            id="what-is-being-set-up-is-progressing",
        ),
        pytest.param(
            [_condition("Ready", "False", "NoFeasiblePath")],
            ["Degraded", "NoFeasiblePath: m"],
            id="no-path-is-degraded",
        ),
        pytest.param(
            [_condition("Ready", "False", "NotReachable"), _condition("Registered", "False", "NoAgent")],
            ["Progressing", "NoAgent: m"],
            id="an-agent-that-never-came-is-waited-for",
        ),
        pytest.param(
            [_condition("Ready", "False", "NotReachable"), _condition("Registered", "True", "AgentRegistered")],
            ["Degraded", "NotReachable: m"],
            id="an-agent-that-went-is-degraded",
        ),
        pytest.param(
            [_condition("Ready", "True", "Serving"), _condition("Quarantined", "True", "Contradicts")],
            ["Degraded", "Contradicts: m"],
            id="quarantined-is-degraded",
        ),
        pytest.param(
            [_condition("Ready", "True", "Placed"), _condition("Satisfied", "False", "LatencyTooHigh")],
            ["Degraded", "LatencyTooHigh: m"],
            id="worse-than-asked-is-degraded",
        ),
        pytest.param(
            [_condition("Ready", "True", "Placed"), _condition("Satisfied", "Unknown", "NotMeasured")],
            ["Healthy", "Placed: m"],
            id="not-measured-yet-is-healthy",
        ),
    ],
)
def test_health(
    glua: Path, tmp_path: Path, kind: str, conditions: list[dict[str, Any]] | None, health: list[str]
) -> None:
    status = {} if conditions is None else {"status": {"conditions": conditions}}
    obj = {"kind": kind, "metadata": {"name": "a", "generation": 2}, **status}
    assert _health(glua, _script(kind), obj, tmp_path) == health


def test_an_application_is_as_healthy_as_it_says(glua: Path, tmp_path: Path) -> None:
    script = _script("Application", group="argoproj.io")
    assert _health(glua, script, {"status": {"health": {"status": "Degraded"}}}, tmp_path) == ["Degraded", ""]
    assert _health(glua, script, {}, tmp_path) == ["Progressing", ""]


def test_passing_reasons_are_reasons_that_the_operator_gives() -> None:
    listed = re.search(r"local passing = \{(.*)\}", _script("Intent"))
    assert listed
    reasons = re.findall(r"(\w+) = true", listed[1])
    code = "\n".join(file.read_text() for file in (ROOT / "operator/foremesh/controller").rglob("*.py"))
    assert reasons
    assert [reason for reason in reasons if f'"{reason}"' not in code] == []
