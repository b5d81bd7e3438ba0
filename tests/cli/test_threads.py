"""Every command settles how many threads linear algebra gets before it loads any: afterwards nobody listens."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

WATCHED = """
import os, sys

class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "numpy":
            print("threads", os.environ.get("OPENBLAS_NUM_THREADS"))

sys.meta_path.insert(0, Watch())
from foremesh.cli.main import cli
cli()
"""


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(("simulate", "--links", "none.csv"), id="an-error-that-imports"),
        pytest.param(("simulate", "--policies", "none"), id="an-option-that-imports"),
        pytest.param(("demo", "-f", "none"), id="demo"),
        pytest.param(("plan", "-f", "none"), id="plan"),
    ],
)
@pytest.mark.parametrize(("wished", "threads"), [(None, "1"), ("2", "2")], ids=["one", "as-many-as-wished"])
def test_threads_are_settled_before_numpy_is_loaded(
    command: tuple[str, ...], wished: str | None, threads: str, tmp_path: os.PathLike[str]
) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, *command],
        env=environment | ({"OPENBLAS_NUM_THREADS": wished} if wished else {}),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2, done.stderr
    assert done.stdout == f"threads {threads}\n"
