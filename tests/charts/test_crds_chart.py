"""charts/foremesh-crds is generated from crds/, and renders to it."""

import importlib.util
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from charts.conftest import CHARTS, Helm, Render

ADDED = {"app.kubernetes.io/name", "app.kubernetes.io/part-of", "app.kubernetes.io/managed-by", "helm.sh/chart"}


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("charts_generate", CHARTS / "generate.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_what_is_committed_is_what_is_generated(generate: ModuleType) -> None:
    committed = {file.name: file.read_text() for file in generate.TARGET.iterdir()}
    assert committed == generate.templates(), "run make charts"


def _source(text: str) -> dict[str, Any]:
    crd = yaml.safe_load(text)
    assert crd["metadata"].keys() == {"name"}
    return crd


def _without_additions(crd: dict[str, Any]) -> dict[str, Any]:
    labels, annotations = crd["metadata"].pop("labels"), crd["metadata"].pop("annotations")
    assert labels.keys() == ADDED
    assert annotations == {"helm.sh/resource-policy": "keep"}
    return crd


def test_the_chart_renders_to_the_source_and_deletes_nothing(render: Render, generate: ModuleType) -> None:
    rendered = sorted(render("foremesh-crds"), key=lambda crd: crd["metadata"]["name"])
    sources = [_source(file.read_text()) for file in generate.SOURCE.glob("*.yaml")]
    assert len(rendered) == 4
    assert [_without_additions(crd) for crd in rendered] == sorted(sources, key=lambda crd: crd["metadata"]["name"])


def test_braces_in_a_description_are_text(generate: ModuleType, run_helm: Helm, tmp_path: Path) -> None:
    text = "metadata:\n  name: a.foremesh.io\nspec:\n  description: 'write {{ .Values.x }} or {{{{ and }}'\n"
    text = f"kind: CustomResourceDefinition\n{text}"
    chart = tmp_path / "chart"
    shutil.copytree(CHARTS / "foremesh-crds", chart, ignore=shutil.ignore_patterns("templates"))
    (chart / "templates").mkdir()
    (chart / "templates/a.yaml").write_text(generate.template("a.yaml", text))
    rendered = yaml.safe_load(run_helm("template", "x", chart).stdout)
    assert _without_additions(rendered) == _source(text)


@pytest.mark.parametrize("more", ["  labels: {}\n", "  annotations: {}\n"])
def test_metadata_that_the_generator_would_lose_is_refused(generate: ModuleType, more: str) -> None:
    with pytest.raises(generate.SourceError, match=r"a\.yaml: metadata"):
        generate.template("a.yaml", f"kind: X\nmetadata:\n  name: a\n{more}spec:\n")


def test_values_are_refused_since_there_are_none(run_helm: Helm) -> None:
    refused = run_helm("template", "x", CHARTS / "foremesh-crds", "--set", "keep=false", check=False)
    assert refused.returncode != 0
    assert "additional properties 'keep' not allowed" in refused.stderr
