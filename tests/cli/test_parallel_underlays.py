"""Where two gateways are joined by more than one underlay, plans and explanations say which one a path takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from cli.planning import copied, placement, replaced
from foremesh.cli.main import cli

MESH = """\
apiVersion: foremesh.io/v1alpha1
kind: MeshResource
metadata: {name: ams, namespace: mesh}
spec:
  type: Gateway
  location: {site: ams}
  gateway: {role: Core, endpoint: "ams.example.com:51820", underlays: [{name: mpls, endpoint: "10.0.0.1:51820"}]}
---
apiVersion: foremesh.io/v1alpha1
kind: MeshResource
metadata: {name: fra, namespace: mesh}
spec:
  type: Gateway
  location: {site: fra}
  gateway: {role: Core, endpoint: "fra.example.com:51820", underlays: [{name: mpls, endpoint: "10.0.0.2:51820"}]}
---
apiVersion: foremesh.io/v1alpha1
kind: MeshResource
metadata: {name: lon, namespace: mesh}
spec:
  type: Gateway
  location: {site: lon}
  gateway: {role: Core, endpoint: "lon.example.com:51820"}
---
apiVersion: foremesh.io/v1alpha1
kind: MeshResource
metadata: {name: web, namespace: mesh}
spec: {type: Container, location: {site: ams}, workload: {selector: {matchLabels: {app: web}}}}
---
apiVersion: foremesh.io/v1alpha1
kind: MeshResource
metadata: {name: db, namespace: mesh}
spec: {type: VirtualMachine, location: {site: fra}, machine: {address: 10.9.0.7}}
---
apiVersion: foremesh.io/v1alpha1
kind: Intent
metadata: {name: web-to-db, namespace: mesh}
spec: {from: {resource: web}, to: {resource: db}}
"""

LINKS = """\
src,dst,underlay,rtt_ms,loss
ams,fra,internet,30,0
fra,ams,internet,30,0
ams,fra,mpls,20,0
fra,ams,mpls,20,0
ams,lon,,25,0
lon,ams,,25,0
lon,fra,,25,0
fra,lon,,25,0
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "before"
    made.mkdir()
    (made / "mesh.yaml").write_text(MESH)
    (made / "links.csv").write_text(LINKS)
    return made


def run(*arguments: str | Path) -> str:
    result = CliRunner().invoke(cli, [*map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result.stdout


def planned(folder: Path, *arguments: str | Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run("plan", "-f", folder, *arguments, "-o", "json"))
    return found


def test_a_plan_says_which(folder: Path) -> None:
    one = placement(planned(folder), "web-to-db")
    assert (one["pathText"], one["underlays"]) == ("ams > fra (mpls)", ["mpls"])
    assert [other["pathText"] for other in one["runnersUp"]] == ["ams > fra (internet)", "ams > lon > fra"]
    assert "underlays" not in one["runnersUp"][1], "there it could be no other"
    told = run("plan", "-f", folder)
    for text in ("  ams > fra (mpls)  ", ": ams > fra (internet): latency +", ": ams > lon > fra: latency +"):
        assert text in told, told


def test_figures_that_nobody_knows_say_which(folder: Path) -> None:
    told = run("plan", "-f", folder)
    assert "unknown free bandwidth (no capacity is declared): ams->fra (internet), ams->fra (mpls), ams->lon" in (
        " ".join(told.split())
    ), told
    replaced(folder / "mesh.yaml", "to: {resource: db}}", "to: {resource: db}, requirements: {minBandwidth: 1M}}")
    refused = CliRunner().invoke(cli, ["plan", "-f", str(folder)])
    assert refused.exit_code == 3
    one = "ams > fra ({0}) cannot be judged: free bandwidth of ams->fra ({0}) unknown: no capacity declared"
    assert any(one.format(which) in " ".join(refused.stdout.split()) for which in ("mpls", "internet")), refused.stdout


def test_an_explanation_says_which(folder: Path) -> None:
    told = run("explain", "intent/web-to-db", "-f", folder)
    for text in ("  ams > fra (mpls)  ", "  next ams > fra (internet)  ", "  next ams > lon > fra  "):
        assert text in told, told


def test_a_difference_tells_a_move_to_another_underlay(folder: Path, tmp_path: Path) -> None:
    after = copied(folder, tmp_path / "after")
    replaced(after / "links.csv", "mpls,20", "mpls,90")
    found = planned(after, "--against", folder)
    (moved,) = found["circuits"]["moved"]
    ways = [(moved[end]["pathText"], moved[end]["underlays"]) for end in ("from", "to")]
    assert ways == [("ams > fra (mpls)", ["mpls"]), ("ams > fra (internet)", ["internet"])]
    assert len(found["intents"]["rerouted"]) == 1
    assert "ams > fra (mpls)" in run("plan", "-f", after, "--against", folder)


def without(folder: Path, rows: tuple[str, ...], *changes: tuple[str, str]) -> None:
    """Leave out links, and change the manifests so that there are none."""
    for old, new in changes:
        replaced(folder / "mesh.yaml", old, new)
    lines = (folder / "links.csv").read_text().splitlines(keepends=True)
    (folder / "links.csv").write_text("".join(line for line in lines if not any(row in line for row in rows)))


def test_an_underlay_in_use_that_goes_is_a_move(folder: Path, tmp_path: Path) -> None:
    after = copied(folder, tmp_path / "after")
    lists = [f', underlays: [{{name: mpls, endpoint: "10.0.0.{number}:51820"}}]' for number in (1, 2)]
    without(after, (",mpls,",), *((one, "") for one in lists))
    (moved,) = planned(after, "--against", folder)["circuits"]["moved"]
    assert [moved[end]["pathText"] for end in ("from", "to")] == ["ams > fra (mpls)", "ams > fra (internet)"]


def test_another_underlay_that_goes_is_none(folder: Path, tmp_path: Path) -> None:
    after = copied(folder, tmp_path / "after")
    without(
        after,
        (",internet,", "ams,lon", "lon,ams"),
        ("{site: ams}\n  gateway", "{site: ams}\n  network: dsl\n  gateway"),
    )
    assert planned(after, "--against", folder)["circuits"]["moved"] == []
