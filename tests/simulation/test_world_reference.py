"""The page on the world says what the program does."""

from __future__ import annotations

import ast
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

from foremesh.model.physics import FIBRE_KM_PER_MS
from foremesh.simulation import demand, incidents, network, places, regions, world

MODULES = (places, regions, demand, network, incidents, world)

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "world.md"

ROW = re.compile(r"^\| `(?P<name>[A-Z_]+)` \| (?P<value>[^|]+) \|[^|]*\| (?P<reason>[^|]+) \|$", re.MULTILINE)

NO_PARAMETERS = {"WORLD_VERSION", "STREAMS", "KINDS", "REGIONS", "NAMESPACE", "MINUTE_S", "DAY_MINUTES", "DEARER"} | {
    "NOISE_UNIT",  # how scatter is stored
    "USED",  # tables, made from the parameters
    "FILLED",
    "LOST",
}


def _number(text: str) -> Any:
    over = re.fullmatch(r"(\d+) / (\d+)", text)
    return int(over[1]) / int(over[2]) if over else ast.literal_eval(text)


def _targets(node: ast.stmt) -> list[ast.expr]:
    if isinstance(node, ast.Assign):
        return node.targets
    return [node.target] if isinstance(node, ast.AnnAssign) else []


def _assigned(module: Any) -> set[str]:
    names: set[str] = set()
    for node in ast.parse(Path(module.__file__).read_text()).body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        for target in targets:
            names |= {one.id for one in ast.walk(target) if isinstance(one, ast.Name) and one.id.isupper()}
    return names


def test_every_parameter_is_on_the_page_with_its_value_and_a_reason() -> None:
    rows = {row["name"]: row for row in ROW.finditer(PAGE.read_text())}
    real = {name: getattr(module, name) for module in MODULES for name in _assigned(module)}
    real["FIBRE_KM_PER_MS"] = FIBRE_KM_PER_MS
    assert set(rows) == set(real) - NO_PARAMETERS
    assert {name: _number(row["value"].strip()) for name, row in rows.items()} == {name: real[name] for name in rows}
    assert all(len(row["reason"]) > 10 for row in rows.values())


def test_every_source_is_cited_and_every_citation_has_a_source() -> None:
    text, _, sources = PAGE.read_text().partition("## Sources")
    cited = {int(number) for group in re.findall(r"\[([\d, ]+)\]", text) for number in group.split(",")}
    assert cited == {int(number) for number in re.findall(r"^(\d+)\. ", sources, re.MULTILINE)}


def test_every_parameter_has_a_docstring() -> None:
    for module in MODULES:
        body = ast.parse(Path(module.__file__).read_text()).body
        for node, after in pairwise([*body, ast.Pass()]):
            names = {one.id for target in _targets(node) for one in ast.walk(target) if isinstance(one, ast.Name)}
            if {name for name in names if name.isupper()} - NO_PARAMETERS:
                text = after.value if isinstance(after, ast.Expr) else None
                assert isinstance(text, ast.Constant), f"{module.__name__}: {names} has no reason"
