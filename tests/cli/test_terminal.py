"""The ends of every command: where it writes, how wide, and what it says while it works."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from foremesh.cli import terminal
from foremesh.cli.main import cli
from foremesh.files import InputError

FOREMESH = Path(sys.executable).with_name("foremesh")
THREE_CLOUDS = Path(__file__).parents[2] / "manifests" / "examples" / "three-clouds"
FULL = Path("/dev/full")
DEADLINE_S = 120


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
def test_a_full_disk_behind_the_output_is_one_line() -> None:
    with FULL.open("w") as full:
        command = [FOREMESH, "plan", "-f", THREE_CLOUDS]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=DEADLINE_S)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "foremesh plan: standard output: cannot be written: No space left on device; send the output elsewhere"
    ]


def test_writing_makes_no_folders(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written"):
        terminal.write("text", tmp_path / "absent" / "file")
    assert not [*tmp_path.iterdir()]


def test_a_drawing_makes_no_folders_either_and_says_so_before_it_reads(tmp_path: Path) -> None:
    out = tmp_path / "absent" / "mesh.svg"
    found = CliRunner().invoke(cli, ["graph", "-f", str(tmp_path / "nowhere"), "-o", "svg", "--out", str(out)])
    assert found.exit_code == 2
    assert found.stderr.count("\n") == 1
    assert f"{out}: cannot be written: {out.parent} does not exist; make that folder first" in found.stderr
    assert not out.parent.exists()


def test_looking_whether_it_can_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("before")
    for path in (tmp_path / "new", tmp_path / "there", tmp_path):
        terminal.check_writable(path)
    assert [one.name for one in tmp_path.iterdir()] == ["there"]
    assert (tmp_path / "there").read_text() == "before"


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc")
def test_a_file_system_that_takes_no_files_is_found_out_early() -> None:
    with pytest.raises(InputError, match="/proc/new: cannot be written"):
        terminal.check_writable(Path("/proc/new"))


def test_without_a_terminal_progress_is_a_line_at_first_and_then_now_and_again(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 100.0
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now_s)
    with terminal.progress("counting") as show:
        for second in range(25):
            now_s = 100.0 + second
            show(second / 100)
    assert capsys.readouterr().err.splitlines() == [
        "counting ...",
        "counting: 10% after 10 s",
        "counting: 20% after 20 s",
    ]


@pytest.mark.parametrize("value", ["nan", "inf", "-1", "61"])
def test_days_are_a_number_within_bounds(value: str) -> None:
    with pytest.raises(click.BadParameter):
        terminal.Days().convert(value, None, None)
    assert terminal.Days().convert("1.5", None, None) == 1.5
