"""Files that cannot be files of a mesh: absent, huge, closed, or no files at all."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from files.folders import INTENT, outcome, put, refused, small_mesh

GIB = 1 << 30
NOBODY = 65534


def test_no_such_folder(tmp_path: Path) -> None:
    error = refused(tmp_path / "absent")
    assert str(error) == f"{tmp_path}/absent: does not exist; name the folder that holds the manifests"


def test_a_file_instead_of_a_folder(tmp_path: Path) -> None:
    assert "is no folder" in str(refused(put(tmp_path, {"a.yaml": INTENT}) / "a.yaml"))


def test_an_empty_folder(tmp_path: Path) -> None:
    assert "holds no YAML file; put MeshResources and Intents" in str(refused(tmp_path))


@pytest.mark.parametrize("content", ["", "# nothing\n---\n", "apiVersion: v1\nkind: Namespace\n"])
def test_a_folder_without_anything_of_foremesh(tmp_path: Path, content: str) -> None:
    assert "holds no foremesh manifest (1 YAML file)" in str(refused(put(tmp_path, {"a.yaml": content})))


@pytest.mark.parametrize("name", ["big.yaml", "links.csv", "history.csv", "history.parquet"])
def test_a_gibibyte_answers_at_once(tmp_path: Path, name: str) -> None:
    small_mesh(tmp_path)
    with (tmp_path / name).open("wb") as file:
        file.truncate(GIB)
    started = time.monotonic()
    error = refused(tmp_path)
    assert time.monotonic() - started < 5
    assert error.path == tmp_path / name
    assert "has 1,024 MiB, and at most" in error.cause


@pytest.mark.parametrize("name", ["links.csv", "history.csv"])
def test_a_folder_where_a_file_is_due(tmp_path: Path, name: str) -> None:
    small_mesh(tmp_path, {f"{name}/x.txt": ""})
    error = refused(tmp_path)
    assert (error.path, error.cause) == (tmp_path / name, "is a directory, but a file is expected")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    small_mesh(tmp_path)
    os.mkfifo(tmp_path / "pipe.yaml")
    assert "is a device or a pipe" in refused(tmp_path).cause


@pytest.mark.parametrize("name", ["broken.yaml", "links.csv", "history.csv"])
def test_a_link_to_nothing(tmp_path: Path, name: str) -> None:
    small_mesh(tmp_path)
    (tmp_path / name).symlink_to(tmp_path / "absent")
    error = refused(tmp_path)
    assert (error.path, error.cause) == (tmp_path / name, "is a link to something that is not there")


def test_a_link_that_leads_back_is_not_followed(tmp_path: Path) -> None:
    (small_mesh(tmp_path) / "again").symlink_to(tmp_path, target_is_directory=True)
    assert outcome(tmp_path) == ""


def test_a_history_that_is_not_there(tmp_path: Path) -> None:
    error = refused(small_mesh(tmp_path), history=tmp_path / "absent.csv")
    assert str(error) == f"{tmp_path}/absent.csv: does not exist; check the path"


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """A folder that everybody may look into, and a user whom a closed file stops: root is not stopped by any."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    before = os.geteuid()
    if before == 0:
        os.seteuid(NOBODY)
    try:
        yield folder
    finally:
        os.seteuid(before)
        shutil.rmtree(folder)


@pytest.mark.parametrize("closed", ["intent.yaml", "links.csv", "history.csv", "more"])
def test_what_may_not_be_read(unprivileged: Path, closed: str) -> None:
    user = os.geteuid()
    os.seteuid(os.getuid())
    small_mesh(
        unprivileged,
        {"links.csv": "src,dst\nams,fra\n", "history.csv": "series,time,value\nams->fra,0,1\n", "more/a.yaml": ""},
    )
    (unprivileged / closed).chmod(0)
    os.seteuid(user)
    try:
        error = refused(unprivileged)
    finally:
        os.seteuid(os.getuid())
        (unprivileged / closed).chmod(0o700)
        os.seteuid(user)
    assert error.path == unprivileged / closed
    assert error.cause == "may not be read by this user"


def test_a_folder_that_may_not_be_entered(unprivileged: Path) -> None:
    user = os.geteuid()
    os.seteuid(os.getuid())
    small_mesh(unprivileged / "closed/mesh")
    (unprivileged / "closed").chmod(0)
    os.seteuid(user)
    assert refused(unprivileged / "closed/mesh").cause == "may not be read by this user"
    os.seteuid(os.getuid())
    (unprivileged / "closed").chmod(0o700)


def test_a_name_that_is_too_long(tmp_path: Path) -> None:
    assert "cannot be read (File name too long)" in refused(tmp_path / ("a" * 300)).cause


@settings(max_examples=200)
@given(
    content=st.binary(max_size=60)
    | st.text(max_size=60)
    | st.lists(
        st.sampled_from([*"{}[]:-,&*?|>!#'\"\t\n ", "a", "<<", "*a", "&a ", "- ", ": ", "\n  ", "---\n"]), max_size=30
    ).map("".join)
)
def test_any_file_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes | str) -> None:
    data = content if isinstance(content, bytes) else content.encode(errors="surrogatepass")
    folder = small_mesh(tmp_path_factory.mktemp("mesh"), {"any.yaml": data})
    assert outcome(folder).isprintable()
