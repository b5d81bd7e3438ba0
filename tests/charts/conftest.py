"""helm, kept away from the user's own settings and clusters."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

CHARTS = Path(__file__).parents[2] / "charts"
RELEASE, NAMESPACE = "foremesh", "foremesh-system"

Helm = Callable[..., subprocess.CompletedProcess[str]]
Render = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="session")
def run_helm(helm: Path, tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """Run helm: ``run_helm("lint", path, check=False)``; it knows no cluster unless given ``--kubeconfig``."""
    home = tmp_path_factory.mktemp("helm")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HELM_", "KUBE"))}
    environment = kept | {"HOME": str(home), "KUBECONFIG": os.devnull}

    def run(*args: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run([helm, *args], env=environment, capture_output=True, text=True, timeout=120)
        assert not check or done.returncode == 0, done.stderr
        return done

    return run


@pytest.fixture(scope="session")
def render(run_helm: Helm) -> Render:
    """Render a chart: ``render("foremesh", "--set", "api.replicas=3")``; every object, in helm's order."""

    def objects(chart: str, *options: str) -> list[dict[str, Any]]:
        text = run_helm("template", RELEASE, CHARTS / chart, "--namespace", NAMESPACE, *options).stdout
        return [one for one in yaml.safe_load_all(text) if one]

    return objects
