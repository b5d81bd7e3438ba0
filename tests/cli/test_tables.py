"""Tables fit the terminal, and say what they leave out."""

from __future__ import annotations

from dataclasses import replace

import pytest
from click.testing import CliRunner

from foremesh.cli import tables, terminal
from foremesh.cli.main import cli
from foremesh.cli.tables import Column, fitting
from foremesh.simulation.policies import POLICIES
from foremesh.simulation.score import GAP_TEXT, Score

WIDE = (
    Column("name", ["abcdef"]),
    Column("one", ["1"], 1),
    Column("two", ["22"], 2),
    Column("path", ["x" * 50], least=10),
)
ONE = Score(1_470.0, 1_440.0, 83.4, 147.2, 12.0, 705.0, -0.75, 24.5)


def shown(scores: dict[str, Score], width: int, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", str(width))
    return terminal.render(*tables.policies(scores, width))


@pytest.mark.parametrize(
    ("width", "kept"),
    [
        pytest.param(35, ["name", "one", "two", "path"], id="all-fit-when-the-path-is-folded"),
        pytest.param(34, ["name", "one", "path"], id="the-highest-rank-goes-first"),
        pytest.param(28, ["name", "path"], id="then-the-next"),
        pytest.param(5, ["name", "path"], id="what-has-no-rank-stays"),
    ],
)
def test_what_matters_least_is_left_out_first(width: int, kept: list[str]) -> None:
    assert [one.title for one in fitting(WIDE, width)[0]] == kept


@pytest.mark.parametrize("width", [60, 72, 80, 100])
def test_policies_fit(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(dict.fromkeys(POLICIES, ONE), width, monkeypatch)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text, "no name and no figure is cut"
    assert all(name in text for name in POLICIES)
    assert ("No room" in text) == (width < 100)


def test_nobody_is_told_of_unplaced_intents_where_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    found = shown({"predictive": replace(ONE, unplaced_minutes=0.0)}, 100, monkeypatch)
    assert "placed" not in found


def test_minutes_of_placed_intents_stand_beside_all_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = {"direct": replace(ONE, unplaced_minutes=0.0), "predictive": ONE}
    (row,) = [line for line in shown(scores, 100, monkeypatch).splitlines() if "predictive" in line]
    assert [cell.strip() for cell in row.split("│")[2:4]] == ["1,470", "30"]
    assert "at any time, 0 to 1,440 of them" in shown(scores, 100, monkeypatch)


def test_the_gap_is_defined_under_the_table_and_in_the_help(monkeypatch: pytest.MonkeyPatch) -> None:
    said = [shown({"predictive": ONE}, 100, monkeypatch)]
    said += [CliRunner().invoke(cli, [command, "--help"]).stdout for command in ("simulate", "demo")]
    for text in said:
        assert GAP_TEXT[1:] in " ".join(text.split())


@pytest.mark.parametrize(
    ("said", "width"),
    [("60", 60), ("40", terminal.LEAST_WIDTH), ("200", 200), ("", terminal.WIDTH), ("wide", terminal.WIDTH)],
)
def test_width_is_what_the_environment_says(said: str, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", said)
    assert terminal.columns() == width


def test_no_summary_of_a_command_is_cut_short() -> None:
    assert "..." not in CliRunner().invoke(cli, ["--help"]).stdout.partition("Commands:")[2]
