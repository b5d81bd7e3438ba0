"""Golden files: what is rendered, as a person reviews it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

DATA = Path(__file__).parents[1] / "data"


def load(name: str) -> Any:
    return yaml.safe_load((DATA / "input" / name).read_text())


def assert_golden(name: str, *documents: Any) -> None:
    """Compare documents with a file in ``tests/data/output``; ``FOREMESH_WRITE_GOLDEN=1`` writes it instead."""
    assert_text(name, yaml.safe_dump_all(documents, sort_keys=False, width=120))


def assert_text(name: str, text: str) -> None:
    """Compare text with a file in ``tests/data/output``, or write it, as ``assert_golden`` does."""
    path = DATA / "output" / name
    if os.environ.get("FOREMESH_WRITE_GOLDEN") == "1":
        path.write_text(text)
    assert path.read_text() == text, f"{name} differs; if that is meant, run again with FOREMESH_WRITE_GOLDEN=1"
