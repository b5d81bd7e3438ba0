"""``foremesh demo``: what is promised to a newcomer is there, and adds up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from foremesh.cli.main import cli
from foremesh.simulation.policies import POLICIES

EXAMPLE = Path(__file__).parents[2] / "manifests" / "examples" / "three-clouds"


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    folder = tmp_path_factory.mktemp("out")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("COLUMNS", raising=False)
        found = CliRunner().invoke(cli, ["demo", "-f", str(EXAMPLE), "--out", str(folder), "--days", "0.1"])
    assert found.exit_code == 0, found.output
    return folder, found


def test_it_says_what_is_simulated_and_shows_every_intent_and_policy(out: tuple[Path, Result]) -> None:
    folder, found = out
    assert "Simulated here, and not measured" in found.stdout
    for name in (*POLICIES, "office-to-shop", "payments", "live-stock-from-asia"):
        assert name in found.stdout
    assert "maxLatency: asked 80ms" in found.stdout.replace("\n", " ") or "asked 80ms" in found.stdout
    assert max(map(len, found.stdout.replace(str(folder), "out").splitlines())) <= 100
    assert "violation minutes: predictive " in found.stdout
    assert "moves a day: predictive " in found.stdout


def test_demo_json_has_policies_and_intents(out: tuple[Path, Result]) -> None:
    answer = json.loads((out[0] / "demo.json").read_text())
    assert list(answer["policies"]) == list(POLICIES)
    assert answer["policies"]["oracle"]["unplaced_minutes"] == 144, "0.1 days of the one that cannot be had"
    intents = answer["intents"]
    assert len(intents) == 6
    unplaced = [name for name, one in intents.items() if one["path"] is None]
    assert unplaced == ["three-clouds/live-stock-from-asia"]
    assert "nearest" in intents[unplaced[0]]["why_not"]
    for name, one in intents.items():
        if name not in unplaced:
            assert one["predicted_ms"] == pytest.approx(one["actual_ms"], rel=0.25), name


def test_what_would_be_applied_is_written_for_every_agent(out: tuple[Path, Result]) -> None:
    folders = sorted((out[0] / "gateways").iterdir())
    resources = [
        document["metadata"]["name"]
        for path in EXAMPLE.glob("*.yaml")
        for document in yaml.safe_load_all(path.read_text())
        if document["kind"] == "MeshResource"
    ]
    assert [folder.name for folder in folders] == sorted(resources)
    for folder in folders:
        assert yaml.safe_load((folder / "config.yaml").read_text())["gateway"].endswith(f"/{folder.name}")
        assert "add table ip" in (folder / "nftables.nft").read_text()
        wireguard = [path.read_text() for path in folder.glob("*.conf")]
        assert wireguard
        assert all("PublicKey" in text and "PrivateKey" not in text for text in wireguard)
    policies = [document for document in yaml.safe_load_all((out[0] / "policies.yaml").read_text()) if document]
    assert {document["kind"] for document in policies} == {"NetworkPolicy"}


def test_the_report_is_one_page_with_map_and_plots(out: tuple[Path, Result]) -> None:
    page = (out[0] / "report.html").read_text()
    assert page.count("<svg") > 5
    assert "src=" not in page.replace("data:", "")
    assert len(page) < 3_000_000


def test_a_folder_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    found = CliRunner().invoke(cli, ["demo", "-f", str(tmp_path / "nowhere"), "--out", str(tmp_path / "out")])
    assert found.exit_code == 2
    assert "nowhere" in found.stderr
    assert not (tmp_path / "out").exists()


def test_a_place_that_cannot_be_written_is_said_so_before_anything_is_planned(tmp_path: Path) -> None:
    found = CliRunner().invoke(cli, ["demo", "-f", str(EXAMPLE), "--out", str(tmp_path / "absent" / "out")])
    assert found.exit_code == 2
    assert found.stderr.count("\n") == 1
    assert f"{tmp_path / 'absent'} does not exist" in found.stderr
    assert not [*tmp_path.iterdir()]


def test_what_an_earlier_run_wrote_for_gateways_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    run = ["demo", "-f", str(EXAMPLE), "--out", str(tmp_path), "--days", "0.05"]
    assert CliRunner().invoke(cli, run).exit_code == 0
    first = set(tmp_path.rglob("*"))
    (tmp_path / "gateways" / "ghost").mkdir()
    (tmp_path / "gateways" / "ghost" / "config.yaml").write_text("of a gateway that is no more")
    (tmp_path / "gateways" / "erp" / "fm-up9.conf").write_text("of an interface that is no more")
    (tmp_path / "notes.txt").write_text("mine")
    assert CliRunner().invoke(cli, run).exit_code == 0
    assert {*tmp_path.rglob("*")} == {*first, tmp_path / "notes.txt"}


@pytest.mark.parametrize("answer", [None, "{}", "[1]", "no JSON"])
def test_a_folder_of_gateways_that_no_demo_made_is_left_alone(tmp_path: Path, answer: str | None) -> None:
    mine = tmp_path / "gateways" / "mine.txt"
    mine.parent.mkdir()
    mine.write_text("keep")
    if answer is not None:
        (tmp_path / "demo.json").write_text(answer)
    before = {*tmp_path.rglob("*")}
    found = CliRunner().invoke(cli, ["demo", "-f", str(EXAMPLE), "--out", str(tmp_path), "--days", "0.05"])
    assert found.exit_code == 2
    assert found.stderr.count("\n") == 1
    assert "move it away" in found.stderr
    assert {*tmp_path.rglob("*")} == before


def test_a_file_where_a_folder_has_to_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "gateways").write_text("in the way")
    found = CliRunner().invoke(cli, ["demo", "-f", str(EXAMPLE), "--out", str(tmp_path), "--days", "0.1"])
    assert found.exit_code == 2
    assert f"{tmp_path / 'gateways'}" in found.stderr.splitlines()[-1]
    assert "cannot be written" in found.stderr.splitlines()[-1]
