"""``foremesh plan`` in tests: run it, change a copy of an example, compare with what a person has reviewed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import yaml
from click.testing import CliRunner, Result

from foremesh.cli.main import cli

ROOT = Path(__file__).parents[2]
INPUT = ROOT / "tests/data/input"
OUTPUT = ROOT / "tests/data/output"
THREE_CLOUDS = ROOT / "manifests/examples/three-clouds"


def run(*arguments: str | Path) -> Result:
    """The command in this process, from the project's folder, so that it shows paths as a person there sees them."""
    before = Path.cwd()
    os.chdir(ROOT)
    try:
        return CliRunner().invoke(cli, ["plan", *(_told(argument) for argument in arguments)])
    finally:
        os.chdir(before)


def _told(argument: str | Path) -> str:
    inside = isinstance(argument, Path) and argument.is_relative_to(ROOT)
    return str(argument.relative_to(ROOT) if inside else argument)


def document(*arguments: str | Path) -> dict[str, Any]:
    """What it says as YAML, read."""
    result = run(*arguments, "-o", "yaml")
    assert result.exit_code in (0, 3), result.output
    found: dict[str, Any] = yaml.safe_load(result.stdout)
    return found


def placement(found: dict[str, Any], intent: str) -> dict[str, Any]:
    """The only placement of an intent, by its bare name."""
    (one,) = [one for one in found["placements"] if one["intent"].endswith(f"/{intent}")]
    return one


def copied(folder: Path, to: Path) -> Path:
    """A copy to be changed."""
    target = to / folder.name
    shutil.copytree(folder, target)
    return target


def replaced(file: Path, old: str, new: str) -> None:
    """Change a file; what is to go must be there."""
    text = file.read_text()
    assert old in text, f"{file.name} has no {old!r}"
    file.write_text(text.replace(old, new))


def assert_golden(name: str, text: str) -> None:
    """Compare with a file in ``tests/data/output``; ``FOREMESH_WRITE_GOLDEN=1`` writes it instead."""
    path = OUTPUT / name
    if os.environ.get("FOREMESH_WRITE_GOLDEN") == "1":
        path.write_text(text)
    assert path.read_text() == text, f"{name} differs; if that is meant, run again with FOREMESH_WRITE_GOLDEN=1"
