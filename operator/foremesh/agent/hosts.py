"""Names of the mesh in a hosts file: a block between two marks. Everything outside of it is others' and stays."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from foremesh.agent.host import HostError

log = logging.getLogger(__name__)

BUSY = (errno.EBUSY, errno.EXDEV, errno.EACCES, errno.EPERM, errno.EROFS)
"""What the kernel says where a file cannot be replaced by another but may be written: a file mounted by itself, as
``/etc/hosts`` of a pod is, or one in a folder that is not the agent's."""

Names = Iterable[tuple[str, str]]
"""Pairs of an address and a name."""


def read(path: Path, owner: str) -> tuple[tuple[str, str], ...]:
    """The names in an owner's block; none if there is no file or no block."""
    try:
        text = path.read_text()
    except (OSError, ValueError):
        return ()
    return listed(text, owner)


def write(path: Path, owner: str, names: Names) -> None:
    """Give an owner's block these names; without any, the block goes.

    The file is replaced as a whole, so that nobody reads half of it; in place where it cannot be.

    Raises:
        HostError: If it can be neither.
    """
    try:
        before = path.read_text() if path.exists() else ""
        after = merged(before, owner, names)
        if after == before:
            return
        try:
            _replace(path, after)
        except OSError as error:
            if error.errno not in BUSY:
                raise
            path.write_text(after)
    except (OSError, ValueError) as error:
        raise HostError(
            f"names of the mesh cannot be written to {path} ({error}); addresses work all the same"
        ) from error
    log.info("names written file=%s names=%d", path, len(listed(after, owner)))


def listed(text: str, owner: str) -> tuple[tuple[str, str], ...]:
    """The names in an owner's block of a hosts file; none if there is not exactly one block."""
    begin, end = _marks(owner)
    lines = text.splitlines()
    if lines.count(begin) != 1 or lines.count(end) != 1:
        return ()
    inside = [line.split() for line in lines[lines.index(begin) + 1 : lines.index(end)]]
    return tuple((fields[0], fields[1]) for fields in inside if len(fields) == 2)


def merged(text: str, owner: str, names: Names) -> str:
    """A hosts file with an owner's block as it is to be, where it was or else at the end; other lines as they were."""
    begin, end = _marks(owner)
    kept: list[str] = []
    place: int | None = None
    inside = False
    for line in text.splitlines(keepends=True):
        mark = line.rstrip("\r\n")
        if mark == begin:
            place, inside = len(kept) if place is None else place, True
        elif mark == end:
            inside = False
        elif not inside:
            kept.append(line)
    if inside:  # somebody cut off the end: what follows the beginning may be anybody's
        return merged(text.replace(f"{begin}\n", "", 1), owner, names)
    lines = [f"{address}\t{name}\n" for address, name in names]
    if lines:
        place = len(kept) if place is None else place
        if place and not kept[place - 1].endswith("\n"):
            kept[place - 1] += "\n"
        kept[place:place] = [f"{begin}\n", *lines, f"{end}\n"]
    return "".join(kept)


def _marks(owner: str) -> tuple[str, str]:
    return f"# begin of foremesh {owner}: written by its agent", f"# end of foremesh {owner}"


def _replace(path: Path, text: str) -> None:
    path = path.resolve()
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
        if path.exists():
            shutil.copystat(path, name)
            seen = path.stat()
            os.chown(name, seen.st_uid, seen.st_gid)
        else:
            os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
