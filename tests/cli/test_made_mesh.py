"""benchmarks/made_mesh.py: what planning is measured with can be planned."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cli.planning import ROOT, document

PROGRAM = ROOT / "benchmarks/made_mesh.py"


def made(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, PROGRAM, folder, *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def test_a_made_mesh_can_be_planned_and_has_something_to_find(tmp_path: Path) -> None:
    assert made(tmp_path, "--gateways", "12", "--workloads", "10", "--intents", "50").returncode == 0
    found = document("-f", tmp_path)
    mesh = {name: found["mesh"][name] for name in ("gateways", "workloads", "intents", "links")}
    assert mesh == {"gateways": 12, "workloads": 10, "intents": 50, "links": 12 * 11}
    assert found["unknown"] == {}
    assert found["totals"]["notPlaced"] == 1, "one in fifty asks for what cannot be had"
    assert any(len(one["path"]) > 2 for one in found["placements"] if one["state"] == "Placed"), "detours pay"


def test_the_same_arguments_write_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "other"):
        assert made(tmp_path / name, "--gateways", "5", "--workloads", "3", "--intents", "4").returncode == 0
    one, other = ({file.name: file.read_bytes() for file in (tmp_path / name).iterdir()} for name in ("one", "other"))
    assert one == other
    assert one.keys() == {"10-gateways.yaml", "20-workloads.yaml", "30-intents.yaml", "links.csv"}


@pytest.mark.parametrize("arguments", [("--gateways", "1"), ("--intents", "-1")], ids=["one-gateway", "fewer-than-no"])
def test_a_mesh_that_is_none_is_refused(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = made(tmp_path / "mesh", *arguments)
    assert done.returncode == 2
    assert "two gateways" in done.stderr
    assert not (tmp_path / "mesh").exists()
