"""``foremesh backtest`` as people and programs use it, and what it says to wrong input."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result

from foremesh.cli.backtest import METRICS
from foremesh.cli.backtest import backtest as command
from foremesh.cli.main import cli
from foremesh.forecast.evaluate import MODELS
from foremesh.model.series import Metric

STEP_S = 1800
DAYS = 12
KEYS = {
    "model",
    "horizon",
    "rel_mae",
    "mase",
    "wmape",
    "pinball",
    "coverage80",
    "seconds_per_series",
    "series",
    "folds",
}


def backtest(*args: str | Path | int) -> Result:
    return CliRunner().invoke(cli, ["backtest", *map(str, args)])


def recording(path: Path, *, days: float = DAYS, step_s: int = STEP_S, series: int = 3) -> Path:
    """Series that swing over the day, each with its own noise."""
    at_s = 1_700_000_000 + step_s * np.arange(int(days * 86400 / step_s))
    lines = ["series,time,value"]
    for index in range(series):
        noise = np.random.default_rng(index).normal(0, 1, len(at_s))
        values = 50 + 20 * np.sin(2 * np.pi * at_s / 86400) + (1 + index) * noise
        lines += [f"s{index},{time},{value:.3f}" for time, value in zip(at_s, values, strict=True)]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def swinging(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recording(tmp_path_factory.mktemp("recording") / "swinging.csv")


def test_json_has_a_row_for_each_model_and_horizon(swinging: Path) -> None:
    models = "last,median,seasonal,additive,auto"
    found = backtest(swinging, "--step", STEP_S, "--horizons", "6h,30m", "--models", models, "--folds", 3, "-o", "json")
    assert found.exit_code == 0, found.output
    rows = json.loads(found.stdout)
    assert all(set(row) >= KEYS for row in rows)
    assert {(row["model"], row["horizon"]) for row in rows} == {
        (model, horizon) for model in models.split(",") for horizon in ("30m", "6h")
    }
    told = {(row["model"], row["horizon"]): row for row in rows}
    assert told["last", "6h"]["rel_mae"] == 1.0
    assert told["auto", "6h"]["rel_mae"] < 0.2
    assert all(row["series"] == 3 and row["folds"] == 3 for row in rows)
    low, high = told["auto", "6h"]["rel_mae_interval"]
    assert low <= told["auto", "6h"]["rel_mae"] <= high
    assert "backtesting 3 series" in found.stderr


def test_the_table_fits_a_terminal_and_prints_intervals(swinging: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    found = backtest(swinging, "--step", "30m", "--horizons", "6h", "--models", "last,seasonal", "--folds", 3)
    assert found.exit_code == 0, found.output
    assert max(map(len, found.stdout.splitlines())) <= 80
    assert "95 %" in found.stdout
    assert "1.000-1.000" in found.stdout
    assert "3 series, 3 folds" in found.stdout


def test_fewer_than_three_folds_are_the_naive_model_and_it_is_said(swinging: Path) -> None:
    found = backtest(
        swinging, "--step", STEP_S, "--horizons", "6h", "--models", "last,auto", "--folds", 2, "-o", "json"
    )
    last, auto = json.loads(found.stdout)
    assert auto["rel_mae"] == last["rel_mae"] == 1.0
    assert auto["coverage80"] == last["coverage80"]
    assert auto["untrusted_series"] == 3
    assert "auto equals the naive model, last, for 3 of 3 series: they have fewer than 3 usable folds" in found.stderr


def test_a_short_recording_has_fewer_folds_than_asked_for(tmp_path: Path) -> None:
    short = recording(tmp_path / "short.csv", days=3)
    found = backtest(short, "--step", STEP_S, "--horizons", "6h", "--models", "last", "--folds", 9, "-o", "json")
    assert json.loads(found.stdout)[0]["folds"] < 9
    assert "9 folds were asked for; the series are long enough for " in found.stderr


def test_the_plot_is_a_picture_with_every_model(swinging: Path, tmp_path: Path) -> None:
    plot = tmp_path / "plot.svg"
    found = backtest(
        swinging, "--step", STEP_S, "--horizons", "30m,6h", "--models", "last,auto", "--folds", 3, "--plot", plot
    )
    assert found.exit_code == 0, found.output
    texts = [one.text for one in ElementTree.parse(plot).iter("{http://www.w3.org/2000/svg}text")]
    assert {"last", "auto", "30m ahead", "6h ahead"} <= set(texts)
    assert texts.count("last") == 2


def test_prophet_takes_part_in_processes_of_its_own(tmp_path: Path) -> None:
    few = recording(tmp_path / "few.csv", days=6, series=1)
    found = backtest(
        few, "--step", STEP_S, "--horizons", "6h", "--models", "last,prophet", "--folds", 1, "-j", 1, "-o", "json"
    )
    assert found.exit_code == 0, found.output
    last, prophet = json.loads(found.stdout)
    assert prophet["rel_mae"] < 0.5
    assert prophet["stood_in"] == 0.0
    assert prophet["seconds_per_series"] > last["seconds_per_series"]


def test_processes_that_die_are_told_in_one_line(swinging: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*given: object) -> None:
        raise BrokenProcessPool("a process was terminated abruptly")

    monkeypatch.setattr("foremesh.forecast.pool.FitPool.__call__", killed)
    found = backtest(swinging, "--step", STEP_S, "--models", "prophet", "-j", 1)
    assert found.exit_code == 1
    assert found.stderr.splitlines()[-1].startswith("Error: a process that fitted Prophet died")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--step", "0"), "'0' is no time; give one above 0"),
        (("--step", "often"), "'often' is no time span; write it like 300, 4m or 6h"),
        (("--step", "30m", "--horizons", "45m"), "the horizon 45m is no multiple of the step of 1800 s"),
        (("--step", "30m", "--horizons", "10m"), "the horizon 10m is no multiple of the step of 1800 s"),
        (("--step", "30m", "--horizons", ","), "names no horizon; write them like 4m,1h,6h"),
        (("--step", "30m", "--models", "last,arima"), "no model is called arima; there are last, median, seasonal"),
        (("--step", "30m", "--models", ","), "names no model"),
        (("--step", "30m", "--folds", "0"), "0 is not in the range"),
        (("--step", "1000", "--horizons", "2000"), "has a sample every 1800 s, which a step of 1000 s does not fit"),
        (("--step", "30m", "--horizons", "8d"), "its series are too short: the longest has 576 samples of 1800 s"),
        (
            ("--step", "30m", "--plot", "no/such/folder.svg"),
            "no/such does not exist; make that folder first, or give another path to --plot",
        ),
        (("--step", "30m", "--out", "no/such/file.json"), "give another path to --out"),
        (("--step", "30m", "--plot", "/proc/plot.svg"), "give another path to --plot"),
        (("--step", "30m", "--plot", "plot.PNG"), "--plot draws an SVG picture, and plot.PNG is named otherwise"),
        (("--step", "30m", "--history", "1d"), "--history 86400 s is too short to learn from; give at least 108000"),
        (("--step", "30m", "--metric", "latency"), "'latency' is not one of 'rtt', 'loss'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_makes_no_sense_is_refused(swinging: Path, options: tuple[str, ...], said: str) -> None:
    found = backtest(swinging, *options)
    assert found.exit_code == 2
    assert said in " ".join(found.stderr.split())
    assert "Traceback" not in found.output


def test_one_metric_of_a_file_that_holds_several(tmp_path: Path, swinging: Path) -> None:
    mixed = tmp_path / "mixed.csv"
    rows = swinging.read_text().splitlines()
    rtt = [f"{row},rtt" for row in rows[1:] if row.startswith("s0")]
    mixed.write_text("\n".join([f"{rows[0]},metric", *rtt, *(f"{row},throughput" for row in rows[1:])]) + "\n")
    asked = (mixed, "--step", "30m", "--horizons", "6h", "--models", "last", "--folds", 1, "-o", "json")
    for options, series in ((), 4), (("--metric", "rtt"), 1), (("--metric", "throughput"), 3):
        found = backtest(*asked, *options)
        assert found.exit_code == 0, found.output
        assert json.loads(found.stdout)[0]["series"] == series
    refused = backtest(*asked, "--metric", "loss")
    assert refused.exit_code == 2
    assert "holds no series of loss, but of rtt, throughput; give one of those to --metric" in refused.stderr


def test_the_page_explains_every_option_and_figure(swinging: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/reference/backtest.md").read_text()
    options = {option.opts[0] for option in command.params if isinstance(option, click.Option)} - {"--help"}
    found = backtest(swinging, "--step", STEP_S, "--horizons", "6h", "--models", "last", "--folds", 1, "-o", "json")
    words = [*options, *METRICS, *MODELS, *json.loads(found.stdout)[0]]
    assert [word for word in words if not re.search(rf"`{re.escape(word)}[ `]", page)] == []


def test_every_metric_can_be_asked_for() -> None:
    assert set(METRICS) == {metric.value for metric in Metric}


def test_series_that_stand_still_are_left_out_and_counted(tmp_path: Path) -> None:
    moving = recording(tmp_path / "some.csv", series=1)
    still = [f"still,{row.split(',')[1]},5" for row in moving.read_text().splitlines()[1:]]
    moving.write_text(moving.read_text() + "\n".join(still) + "\n")
    asked = ("--step", "30m", "--horizons", "6h", "--models", "last,auto", "--folds", 3, "-o", "json")
    found = backtest(moving, *asked)
    for row in json.loads(found.stdout):
        assert (row["series"], row["left_out"]) == (1, 1)
    assert "Left out of rel_mae: 1 of 2 series" in found.stderr
    moving.write_text("\n".join(["series,time,value", *still]) + "\n")
    found = backtest(moving, *asked)
    assert "NaN" not in found.stdout
    assert [row["rel_mae"] for row in json.loads(found.stdout)] == [None, None]


def test_figures_are_the_same_in_any_unit(tmp_path: Path, swinging: Path) -> None:
    """As single precision holds no squares of such values, and none so small."""
    asked = ("--step", "30m", "--horizons", "6h", "--models", "last,additive,auto", "--folds", 3, "-o", "json")
    usual = json.loads(backtest(swinging, *asked).stdout)
    for exponent in (200, -200):
        other = tmp_path / "other.csv"
        other.write_text(
            "\n".join(f"{row}e{exponent}" if row[0:2] != "se" else row for row in swinging.read_text().split())
        )
        found = backtest(other, *asked)
        for row, same in zip(json.loads(found.stdout), usual, strict=True):
            for key in ("rel_mae", "mase", "wmape", "pinball", "coverage80"):
                assert row[key] == pytest.approx(same[key], rel=0.01), (exponent, row["model"], key)


def test_a_file_that_is_none_is_refused_in_one_line(tmp_path: Path) -> None:
    found = backtest(tmp_path / "gone.csv", "--step", "60")
    assert (found.exit_code, found.stdout) == (2, "")
    assert found.stderr.splitlines()[-1].endswith("gone.csv: does not exist; check the path")
