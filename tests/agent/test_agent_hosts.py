"""A block in a hosts file, whatever else is in it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foremesh.agent import hosts
from foremesh.agent.host import HostError

NAMES = (("100.64.0.2", "db.shop.mesh"), ("100.64.0.3", "orders.shop.mesh"))
LINES = st.lists(
    st.sampled_from(["127.0.0.1 localhost", "::1 ip6-localhost", "# mine", "", "10.0.0.1\tmine"]), max_size=5
)
ENTRIES = st.lists(st.sampled_from([*NAMES, ("100.64.0.9", "db.shop.mesh")]), max_size=4)


@given(before=LINES, names=ENTRIES, other=ENTRIES, ended=st.booleans())
def test_names_are_what_was_written_and_other_lines_stay(
    before: list[str], names: list[tuple[str, str]], other: list[tuple[str, str]], ended: bool
) -> None:
    text = "\n".join(before) + ("\n" if ended and before else "")
    once = hosts.merged(text, "fm", other)
    with_names = hosts.merged(once, "fm", names)
    assert hosts.listed(with_names, "fm") == tuple(names)
    assert hosts.merged(with_names, "fm", names) == with_names
    without = hosts.merged(with_names, "fm", ())
    assert without.removesuffix("\n") == text.removesuffix("\n")


def test_two_agents_on_one_host_keep_to_their_own_blocks() -> None:
    text = hosts.merged(hosts.merged("127.0.0.1 localhost\n", "fm", NAMES), "fn", NAMES[:1])
    assert hosts.listed(text, "fm") == NAMES
    assert hosts.listed(hosts.merged(text, "fm", ()), "fn") == NAMES[:1]


def test_a_block_stays_where_it_was() -> None:
    text = hosts.merged("127.0.0.1 localhost\n", "fm", NAMES) + "10.0.0.1 mine\n"
    changed = hosts.merged(text, "fm", NAMES[:1]).splitlines()
    assert (changed[0], changed[-1], len(changed)) == ("127.0.0.1 localhost", "10.0.0.1 mine", 5)


def test_a_block_whose_end_was_cut_off_takes_nobody_along() -> None:
    text = hosts.merged("127.0.0.1 localhost\n", "fm", NAMES[:1])
    cut = text.replace("# end of foremesh fm\n", "10.0.0.1 mine\n")
    assert hosts.listed(cut, "fm") == ()
    again = hosts.merged(cut, "fm", NAMES)
    assert hosts.listed(again, "fm") == NAMES
    assert "10.0.0.1 mine\n" in hosts.merged(again, "fm", ())


def test_the_file_is_replaced_with_its_mode_and_owner(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_text("127.0.0.1 localhost\n")
    path.chmod(0o640)
    inode = path.stat().st_ino
    hosts.write(path, "fm", NAMES)
    assert hosts.read(path, "fm") == NAMES
    assert (path.stat().st_mode & 0o777, path.stat().st_ino == inode) == (0o640, False)
    assert os.listdir(tmp_path) == ["hosts"]
    inode = path.stat().st_ino
    hosts.write(path, "fm", NAMES)
    assert path.stat().st_ino == inode


@pytest.mark.parametrize("code", hosts.BUSY, ids=errno.errorcode.get)
def test_a_file_that_cannot_be_replaced_is_written_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    path = tmp_path / "hosts"
    path.write_text("127.0.0.1 localhost\n")
    inode = path.stat().st_ino

    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "replace", refuse)
    hosts.write(path, "fm", NAMES)
    assert hosts.read(path, "fm") == NAMES
    assert path.stat().st_ino == inode
    assert os.listdir(tmp_path) == ["hosts"]


def test_a_file_that_is_not_there_is_made_and_one_that_cannot_be_is_an_error(tmp_path: Path) -> None:
    assert hosts.read(tmp_path / "hosts", "fm") == ()
    hosts.write(tmp_path / "hosts", "fm", NAMES)
    assert hosts.read(tmp_path / "hosts", "fm") == NAMES
    with pytest.raises(HostError, match="cannot be written"):
        hosts.write(tmp_path / "nowhere" / "hosts", "fm", NAMES)
