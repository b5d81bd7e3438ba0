"""What people read first is true: links lead somewhere, manifests can be read, every reason and metric is explained."""

import ast
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from crds.schemas import KINDS
from foremesh.agent.settings import AgentSettings
from foremesh.cli.main import cli
from foremesh.model.manifest import read

ROOT = Path(__file__).parents[2]
CODE = ROOT / "operator/foremesh"
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(ROOT.glob("docs/**/*.md")),
    *ROOT.glob("manifests/**/*.md"),
]

PAGE_IDS = [str(page.relative_to(ROOT)) for page in PAGES]
LONGEST_README = 300
"""Lines: what can be read in ten minutes."""


@pytest.mark.parametrize("page", PAGES, ids=PAGE_IDS)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        if anchor:
            assert anchor in set(anchors(linked.read_text())), target


@pytest.mark.parametrize("page", PAGES, ids=PAGE_IDS)
def test_make_targets_that_are_named_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`(?:sudo )?make ([a-z-]+)", page.read_text())) <= targets


def test_readme_manifests_and_agent_configuration_are_readable() -> None:
    kinds = []
    for block in re.findall(r"^```yaml\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL):
        for body in yaml.safe_load_all(block):
            if "kind" in body:
                kinds.append(body["kind"])
                assert KINDS[body["kind"]].manifest.from_manifest(body)
            else:
                kinds.append("agent")
                assert read(AgentSettings, body, where="README").resource
    assert set(kinds) == {"MeshResource", "Intent", "MeshPolicy", "agent"}


def test_readme_can_be_read_in_ten_minutes() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) < LONGEST_README


def test_readme_commands_run_as_they_stand(tmp_path: Path) -> None:
    (tmp_path / "manifests").symlink_to(ROOT / "manifests")
    (tmp_path / "out").mkdir()  # as make demo does
    blocks = re.findall(r"^```sh\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    (block,) = [one for one in blocks if "foremesh plan" in one]
    lines = block.splitlines()
    # Simulations take minutes: of those, that they would begin is enough. 3 is a plan with an Intent that has no place.
    quick = [f"{line}\ncase $? in 0|3) ;; *) exit 1;; esac" for line in lines if "foremesh simulate" not in line]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    script = ["sh", "-c", "\n".join(quick)]
    done = subprocess.run(
        script, cwd=tmp_path, env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "- MeshPolicy three-clouds-payments-avoid-cloud-b" in done.stdout, "what the change would do"
    simulations = [shlex.split(line, comments=True) for line in lines if line.startswith("foremesh simulate")]
    assert simulations
    for _, name, *args in simulations:
        cli.commands[name].make_context(name, [one.replace("$M", "manifests/examples/three-clouds") for one in args])


def test_every_reason_is_explained() -> None:
    explained = set(re.findall(r"`([A-Z][A-Za-z]+)`", (ROOT / "docs/reference/conditions.md").read_text()))
    files = [*CODE.glob("controller/verdicts/*.py"), *CODE.glob("decide/*.py"), CODE / "discovery/matching.py"]
    given = {reason for file in files for reason in reasons(file)}
    assert len(given) > 20, "the reasons in the code are found"
    assert given <= explained


def test_every_metric_is_explained() -> None:
    explained = (ROOT / "docs/reference/metrics.md").read_text()
    for file in ("agent/metrics.py", "controller/metrics.py", "controller/foretold.py", "api/server.py"):
        names = {text.removesuffix("_total") for text in texts(file) if text.startswith("foremesh_")}
        assert names, file
        assert [name for name in names if name not in explained] == []


def anchors(text: str) -> Iterator[str]:
    """Anchors of headings, as they are made on the web."""
    for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE):
        yield re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def reasons(file: Path) -> Iterator[str]:
    """Reasons that a module gives: the third word of a condition, the first of a problem, the ``reason`` of a match."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            place = {"state": 2, "Problem": 0}.get(node.func.id)
            found = node.args[place : place + 1] if place is not None else []
            found += [keyword.value for keyword in node.keywords if keyword.arg == "reason"]
            yield from (
                one.value for one in found if isinstance(one, ast.Constant) and re.match("[A-Z]", str(one.value))
            )


def texts(file: str) -> Iterator[str]:
    """Strings of a module; what is filled in is written KIND."""
    for node in ast.walk(ast.parse((CODE / file).read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "KIND" for part in node.values)


def test_the_readme_picture_is_what_the_program_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    drawn = CliRunner().invoke(cli, ["graph", "-f", "manifests/examples/three-clouds", "-o", "svg"])
    assert drawn.exit_code == 0, drawn.output
    assert drawn.stdout == (ROOT / "docs/images/three-clouds.svg").read_text(), (
        "draw it anew: foremesh graph -f manifests/examples/three-clouds -o svg --out docs/images/three-clouds.svg"
    )
