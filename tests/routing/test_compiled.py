"""Where compiled code is kept, and that nothing breaks where it cannot be."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PLAN = """
from foremesh.routing import select_path
from routing.worlds import both, mesh, node
graph = mesh(node("a"), node("b"), node("z"), links=(*both("a", "b", 1.0), *both("b", "z", 1.0), *both("a", "z", 90.0)))
print(select_path(graph, {"a": 0.0}, {"z": 0.0}).path.text)
"""

ONE = "import foremesh.routing.order, foremesh.routing.kernels.bounds"
"""Two modules with compiled functions."""


def run(code: str, **environment: str) -> str:
    """What a new process prints."""
    paths = os.pathsep.join((str(Path(__file__).parents[1]), *filter(None, sys.path)))
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": paths, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_who_waits_for_the_compiler_is_told_once(tmp_path: Path) -> None:
    """On standard error, as everything else that is logged."""
    code = f"import logging, sys; logging.basicConfig(level=logging.INFO, stream=sys.stdout); {ONE}"
    told = run(code, XDG_CACHE_HOME=str(tmp_path))
    assert told.count("compiling to machine code, once for this version of foremesh") == 1
    assert run(code, XDG_CACHE_HOME=str(tmp_path)) == "", "nothing is compiled any more"


def test_it_is_kept_in_the_users_cache_folder_by_version(tmp_path: Path) -> None:
    assert run(PLAN, XDG_CACHE_HOME=str(tmp_path)) == "a > b > z"
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob("foremesh/*/**/*.nbc")}
    search = {
        "order.sort",
        "order.lower",
        "exact.best",
        "bounds.distances",
        "over.judge",
        "sides.least_over",
        "turns.take_turns",
        "passing.walk",
    }
    functions = search | {"prices.reprice", "prices.add_terms_now", "prices.add_terms", "ledger.promise_path"}
    functions.add("crowding.add")
    assert {path.name.partition("-")[0] for path in kept} == functions, "what only they call"
    assert run(PLAN, XDG_CACHE_HOME=str(tmp_path)) == "a > b > z"
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("foremesh/*/**/*.nbc")} == kept, "compiled twice"


def test_a_file_that_a_crash_left_half_written_is_made_again(tmp_path: Path) -> None:
    run(ONE, XDG_CACHE_HOME=str(tmp_path))
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob("foremesh/*/**/*.nbc")}
    assert kept
    for path in kept:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert run(f"{ONE}; print('imported')", XDG_CACHE_HOME=str(tmp_path)) == "imported"
    for path in kept:
        assert not path.exists() or path.stat().st_mtime_ns > kept[path], "away with it"


def test_make_setup_compiles_all_that_a_plan_needs() -> None:
    root = Path(__file__).parents[2]
    (code,) = re.findall(r"python -c '(import foremesh[^']*)'", (root / "Makefile").read_text())
    code_of = {
        ".".join(file.relative_to(root / "operator").with_suffix("").parts): file.read_text()
        for file in (root / "operator/foremesh").rglob("*.py")
    }
    compiled = {module for module, text in code_of.items() if "\n@compiled(" in text}
    assert "foremesh.forecast.kernels" in compiled
    assert compiled <= set(run(f"{code}; import sys; print(*sys.modules)").split())


def test_where_nothing_can_be_written_it_is_compiled_in_memory(tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.write_text("no folder")
    code = f"import logging, sys; logging.basicConfig(level=logging.INFO, stream=sys.stdout); {ONE}"
    assert run(code, XDG_CACHE_HOME=str(taken)).count("and again next time, as nothing can be kept") == 1
    assert taken.read_text() == "no folder"


@pytest.mark.parametrize("module", ["foremesh.cli.main", "foremesh.cli.agent", "foremesh.agent.agent"])
def test_an_agent_does_without_the_compiler(module: str) -> None:
    assert run(f"import sys, {module}; print('numba' in sys.modules)") == "False"
