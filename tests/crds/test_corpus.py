"""Manifests that a real API server must accept or refuse, and with which words.

Each file's name states a rule. A file in ``rejected`` says in ``# expect:`` lines what a person must get to read; where
it holds several documents, all but the last are in place already and the last is an update.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from crds.conftest import NAMESPACE
from crds.schemas import CORPUS, KINDS
from foremesh.model.manifest import read, write
from lab.controlplane import ControlPlane

ACCEPTED = sorted((CORPUS / "accepted").glob("*.yaml"))
REJECTED = sorted((CORPUS / "rejected").glob("*.yaml"))
EXPECT = "# expect: "


def _apply(served: ControlPlane, manifest: dict[str, Any], *options: str) -> Any:
    text = yaml.safe_dump(manifest)
    return served.kubectl("apply", "-n", NAMESPACE, "-f", "-", *options, stdin=text, check=False)


@pytest.mark.apiserver
@pytest.mark.parametrize("file", ACCEPTED, ids=lambda file: file.stem)
def test_accepted_and_read_by_the_model_as_the_server_stores_it(served: ControlPlane, file: Path) -> None:
    manifest = yaml.safe_load(file.read_text())
    answer = _apply(served, manifest, "--dry-run=server", "-o", "json")
    assert answer.returncode == 0, answer.stderr
    read_manifest = KINDS[manifest["kind"]].manifest.from_manifest
    # The server fills in defaults: if they are the model's, both say the same.
    assert read_manifest(json.loads(answer.stdout)).spec == read_manifest(manifest).spec


@pytest.mark.apiserver
@pytest.mark.parametrize("file", ACCEPTED, ids=lambda file: file.stem)
def test_what_the_model_writes_is_accepted(served: ControlPlane, file: Path) -> None:
    manifest = yaml.safe_load(file.read_text())
    manifest["spec"] = write(KINDS[manifest["kind"]].manifest.from_manifest(manifest).spec)
    answer = _apply(served, manifest, "--dry-run=server")
    assert answer.returncode == 0, answer.stderr


@pytest.mark.parametrize("file", ACCEPTED, ids=lambda file: file.stem)
def test_the_model_reads_back_what_it_writes(file: Path) -> None:
    manifest = yaml.safe_load(file.read_text())
    kind = KINDS[manifest["kind"]]
    spec = kind.manifest.from_manifest(manifest).spec
    assert read(kind.spec, write(spec)) == spec


@pytest.mark.apiserver
@pytest.mark.parametrize("file", REJECTED, ids=lambda file: file.stem)
def test_rejected_with_the_message(served: ControlPlane, file: Path) -> None:
    text = file.read_text()
    expected = [line.removeprefix(EXPECT) for line in text.splitlines() if line.startswith(EXPECT)]
    assert expected, f"{file} does not say which message it expects"
    *before, last = yaml.safe_load_all(text)
    for manifest in before:
        assert _apply(served, manifest).returncode == 0
    answer = _apply(served, last, "--dry-run=server")
    assert answer.returncode != 0, f"accepted: {answer.stdout}"
    assert [message for message in expected if message not in answer.stderr] == [], answer.stderr


def test_the_corpus_is_there() -> None:
    """An empty folder would make the tests above pass by running none."""
    assert len(ACCEPTED) >= 20
    assert len(REJECTED) >= 45


@pytest.mark.apiserver
def test_a_just_applied_intent_shows_its_ends(served: ControlPlane) -> None:
    name = "shows-its-ends"
    manifest = {
        "apiVersion": "foremesh.io/v1alpha1",
        "kind": "Intent",
        "metadata": {"name": name},
        "spec": {"from": {"selector": {"matchLabels": {"app": "web"}}}, "to": {"service": "orders-db"}},
    }
    assert _apply(served, manifest).returncode == 0
    header, row = served.kubectl("get", "mint", name, "-n", NAMESPACE).stdout.splitlines()
    assert header.split()[:3] == ["NAME", "FROM", "TO"]
    assert row.split()[:3] == [name, '{"matchLabels":{"app":"web"}}', "orders-db"]


@pytest.mark.apiserver
@pytest.mark.parametrize("short", ["mres", "mint", "mcir", "mpol", "foremesh"])
def test_short_names_and_the_category_are_served(served: ControlPlane, short: str) -> None:
    assert served.kubectl("get", short, "-n", NAMESPACE, check=False).returncode == 0
