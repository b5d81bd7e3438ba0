"""``foremesh simulate`` as people and programs use it, and what it says to wrong input."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from foremesh.cli.main import cli
from foremesh.simulation.policies import POLICIES

SMALL = ("--topology", "topozoo/Abilene", "--days", "0.1", "--intents", "6")

FIGURES = {
    "violation_minutes",
    "unplaced_minutes",
    "mean_latency_ms",
    "p95_latency_ms",
    "moves_per_day",
    "egress_usd",
    "gap_closed",
    "plan_seconds",
}


def simulate(*args: str | Path) -> Result:
    return CliRunner().invoke(cli, ["simulate", *map(str, args)])


def test_json_has_every_policy_and_what_was_won() -> None:
    found = simulate(*SMALL, "--seeds", "1-2", "-o", "json")
    assert found.exit_code == 0, found.output
    answer = json.loads(found.stdout)
    assert list(answer["policies"]) == list(POLICIES)
    assert all(set(one) == FIGURES for one in answer["policies"].values())
    seeds = answer["seeds"]
    assert seeds["won"] + seeds["lost"] + seeds["tied"] == seeds["count"] == 2
    assert set(seeds["by_seed"]) == {"1", "2"}
    assert answer["world"]["topology"] == "topozoo/Abilene"


def test_the_same_seed_gives_the_same_answer_on_any_number_of_processors() -> None:
    def answer(*args: str) -> dict[str, object]:
        found = json.loads(simulate(*SMALL, "--policies", "reactive,predictive", "-o", "json", *args).stdout)
        for one in found["policies"].values():
            one.pop("plan_seconds")
        return dict(found["policies"])

    assert answer("-j", "1") == answer("-j", "2")


def test_the_table_fits_a_terminal_and_prints_losses_as_well() -> None:
    found = simulate(*SMALL, "--seeds", "1-3", "--policies", "reactive,predictive,oracle")
    assert found.exit_code == 0, found.output
    lines = found.stdout.splitlines()
    assert max(map(len, lines)) <= 100
    assert "against the best reactive policy of each seed" in found.stdout
    assert "lost" in found.stdout
    assert sum(line.startswith("│ 1 ") or line.startswith("│ 2 ") or line.startswith("│ 3 ") for line in lines) == 3


def test_sixty_columns_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    found = simulate(*SMALL, "--seeds", "1-2", "--policies", "static,reactive-hysteresis,ewma,predictive,oracle")
    assert found.exit_code == 0, found.output
    assert max(map(len, found.stdout.splitlines())) <= 60
    assert "No room in 60 columns for: " in found.stdout


def test_a_recording_is_played_to_its_end(tmp_path: Path) -> None:
    rows = ["series,time,value"]
    for name, rtt_ms in (("a->b", 10), ("b->c", 10), ("a->c", 15)):
        rows += [f"{name},{1_700_000_000 + 240 * index},{rtt_ms + index % 3}" for index in range(360)]
    path = tmp_path / "trace.csv"
    path.write_text("\n".join(rows))
    found = simulate("--trace", path, "-o", "json", "--policies", "static,reactive,predictive,oracle")
    assert found.exit_code == 0, found.output
    answer = json.loads(found.stdout)
    assert answer["world"]["kind"] == "trace"
    assert answer["world"]["days"] == pytest.approx(0.5, abs=0.01)
    assert answer["policies"]["oracle"]["violation_minutes"] == 0
    assert {one["egress_usd"] for one in answer["policies"].values()} == {None}, "a recording has no prices"
    table = simulate("--trace", path, "--policies", "static").stdout
    title = next(line for line in table.splitlines() if "egress" in line)
    row = next(line for line in table.splitlines() if line.startswith("│ static"))
    where = next(at for at, cell in enumerate(title.split("┃")) if "egress" in cell)
    assert row.split("│")[where].strip() == "-"
    page = simulate("--trace", path, "--policies", "static", "-o", "html").stdout
    assert "Egress cost" not in page


def recorded(tmp_path: Path, *values: str, times: int = 1) -> Path:
    path = tmp_path / "trace.csv"
    rows = [f"a->b,{1_700_000_000 + 60 * index},{value}" for index, value in enumerate(values * times)]
    path.write_text("\n".join(["series,time,value", *rows]))
    return path


@pytest.mark.parametrize(
    ("value", "cause"),
    [
        pytest.param("inf", "is infinite", id="infinite"),
        pytest.param("1e200", "at most 60,000 makes sense", id="beyond-any-unit"),
        pytest.param("-3", "rtt is -3, which is negative", id="negative"),
        pytest.param("fast", "is no number", id="a-word"),
    ],
)
def test_a_round_trip_that_is_none_is_told_with_its_line(tmp_path: Path, value: str, cause: str) -> None:
    found = simulate("--trace", recorded(tmp_path, "5", value, "5"))
    assert found.exit_code == 2, found.output
    (said,) = found.stderr.splitlines()
    assert f"{tmp_path}/trace.csv:3: " in said
    assert cause in said
    assert "milliseconds" in said


def test_a_recording_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = recorded(tmp_path, "5")
    with path.open("r+b") as file:
        file.truncate(1 << 30)
    found = simulate("--trace", path)
    assert found.exit_code == 2
    assert "has 1,024 MiB, and at most 256 MiB are read" in found.stderr


@pytest.mark.parametrize(
    ("args", "said"),
    [
        pytest.param((), "lasts 5 minutes", id="too-short"),
        pytest.param(("--world", "diurnal"), "--world: --trace", id="even-the-default-world-if-asked-for"),
    ],
)
def test_what_a_recording_cannot_be_asked_names_it(tmp_path: Path, args: tuple[str, ...], said: str) -> None:
    found = simulate("--trace", recorded(tmp_path, *"12345"), *args)
    assert found.exit_code == 2
    assert said in found.stderr
    assert args or f"{tmp_path}/trace.csv: " in found.stderr


def test_more_days_than_were_recorded_are_refused(tmp_path: Path) -> None:
    path = recorded(tmp_path, "5", times=2880)
    found = simulate("--trace", path, "--days", "3", "--policies", "static")
    assert found.exit_code == 2
    assert f"{path}: holds 1.00 days after what is for learning, and --days asks for 3" in found.stderr
    assert simulate("--trace", path, "--days", "1", "--policies", "static").exit_code == 0


@pytest.mark.parametrize(
    "args",
    [
        ("--seeds", "3"),
        ("--days", "1"),
        ("--policies", "static"),
        ("--world", "diurnal"),
        ("-j", "2"),
        ("--every", "5"),
    ],
    ids=" ".join,
)
def test_a_matrix_has_no_use_for_what_worlds_are_made_of(args: tuple[str, ...]) -> None:
    found = simulate("--matrix", "nowhere.npz", *args)
    assert found.exit_code == 2
    assert "--matrix judges every slice" in found.stderr


def test_declared_intents_are_not_made_up() -> None:
    found = simulate("-f", "nowhere", "--intents", "5")
    assert found.exit_code == 2
    assert "--intents: -f has the Intents to serve" in found.stderr


def test_a_matrix_is_judged(tmp_path: Path) -> None:
    path = tmp_path / "matrix.npz"
    rng = np.random.default_rng(1)
    slice_ = rng.uniform(20, 200, (12, 12))
    np.savez(path, rtt_ms=np.stack([slice_ + rng.uniform(0, 1, (12, 12)) for _ in range(6)]))
    found = simulate("--matrix", path, "-o", "json")
    assert found.exit_code == 0, found.output
    answer = json.loads(found.stdout)
    assert {"direct_ms", "chosen_ms", "oracle_ms", "share_worse"} <= set(answer)
    assert max(answer["oracle_ms"], answer["chosen_ms"]) < answer["direct_ms"]
    figures = [value for one in (answer, *answer["slices"]) for value in one.values() if isinstance(value, float)]
    assert figures == [round(value, 4) for value in figures]
    what, means = simulate("--matrix", path).stdout.splitlines()
    assert what == "matrix.npz: 6 slices of 12 nodes, the first 4 for warm-up and not judged"
    assert means.startswith("mean round trip: direct ")


def test_a_matrix_of_one_slice_is_counted_so(tmp_path: Path) -> None:
    np.savez(tmp_path / "matrix.npz", rtt_ms=np.ones((1, 3, 3)))
    assert "rtt_ms has 1 slice, and the first 4 are" in simulate("--matrix", tmp_path / "matrix.npz").stderr


def test_a_report_on_a_folder_bears_its_name() -> None:
    folder = Path(__file__).parents[2] / "manifests" / "examples" / "three-clouds"
    found = simulate("-f", folder, "-o", "html", "--policies", "static", "--days", "0.05")
    assert found.exit_code == 0, found.output
    assert "<title>three-clouds, 0.05 days</title>" in found.stdout


@pytest.mark.parametrize(
    ("args", "said"),
    [
        pytest.param(["--topology", "topozoo/Geant2021"], "topozoo/Geant2012", id="unknown-topology-gets-the-nearest"),
        pytest.param(["--links", "nowhere.csv"], "nowhere.csv", id="missing-file"),
        pytest.param(["-f", "nowhere"], "nowhere", id="missing-folder"),
        pytest.param(["--trace", "nowhere.csv"], "nowhere.csv: does not exist; check the path", id="missing-recording"),
        pytest.param(["--matrix", "nowhere.npz"], "nowhere.npz", id="missing-matrix"),
        pytest.param(["--seeds", "5-1"], "5-1", id="seeds-the-wrong-way-round"),
        pytest.param(["--seeds", "one"], "1-20", id="seeds-that-are-none"),
        pytest.param(["--policies", "clever"], "predictive", id="unknown-policy-lists-all"),
        pytest.param(["--days", "-1"], "--days", id="negative-days"),
        pytest.param(["--days", "nan"], "no number of days", id="days-that-are-no-number"),
        pytest.param(["--seeds", "9" * 20], "highest seed, 999,999,999", id="a-seed-of-twenty-digits"),
        pytest.param(["--seeds", "1-1000000000"], "highest seed, 999,999,999", id="a-billion-seeds"),
        pytest.param(["--seeds", "1-999999999"], "more than 1,000 seeds", id="one-long-range"),
        pytest.param(["--seeds", "1-900,2000-2900"], "more than 1,000 seeds", id="two-ranges-too-many-together"),
        pytest.param(["--policies", ","], "names no policy; there are direct", id="no-policy-lists-all"),
        pytest.param(["--links", "a.csv", "--topology", "x"], "exclude each other", id="two-meshes"),
        pytest.param(["--topology", ""], "--topology is empty", id="empty-topology"),
        pytest.param(["--seeds", "1-2", "-o", "html"], "one --seed", id="a-report-of-two-worlds"),
        pytest.param(["--world", "sunny"], "aperiodic", id="unknown-world"),
    ],
)
def test_wrong_input_is_told_in_a_few_words(args: list[str], said: str) -> None:
    found = simulate(*args)
    assert found.exit_code == 2, found.output
    assert said in found.stderr
    assert "Traceback" not in found.output
    assert isinstance(found.exception, SystemExit)


@pytest.mark.parametrize("below", ["file/below.json", "nowhere/below.json", "."])
def test_where_nothing_can_be_written_nothing_is_simulated(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("")
    found = simulate("--topology", "nobody/reads-this", "--out", tmp_path / below)
    assert found.exit_code == 2
    assert str(tmp_path / below) in found.stderr
    assert "nobody" not in found.stderr
    assert [one.name for one in tmp_path.iterdir()] == ["file"], "no folder that nobody asked for"


def test_what_is_refused_in_another_process_is_told_in_a_line(tmp_path: Path) -> None:
    rows = "".join(f"place-{index},{index / 10},{index / 10},a,b\n" for index in range(44))
    (tmp_path / "regions.csv").write_text(f"name,latitude,longitude,provider,region\n{rows}")
    found = simulate("--regions", tmp_path / "regions.csv", "--policies", "static", "--days", "60")
    assert found.exit_code == 2, found.output
    assert "or a smaller topology" in found.stderr.splitlines()[-1]


@pytest.mark.parametrize("seeds", ["1-1000", "1-600,401-1000", "999999999"])
def test_as_many_seeds_as_are_allowed(seeds: str) -> None:
    found = simulate("--seeds", seeds, "-f", "nowhere")
    assert "nowhere: does not exist" in found.stderr


def test_the_command_itself_leaves_nothing_running(tmp_path: Path) -> None:
    foremesh = Path(sys.executable).with_name("foremesh")
    command = [foremesh, "simulate", *SMALL, "--policies", "static", "-o", "html"]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "report.html")], capture_output=True, text=True, timeout=300, env=os.environ
    )
    assert done.returncode == 0, done.stderr
    assert "<svg" in (tmp_path / "report.html").read_text()
