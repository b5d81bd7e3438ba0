"""Files to text: nothing is read before it is known to be a file of a size that can be."""

from __future__ import annotations

import stat
from pathlib import Path

from foremesh.files.errors import InputError

MEBIBYTE = 1 << 20

LARGEST_BYTES = 16 * MEBIBYTE
"""A file of manifests or links: some 40,000 objects. A larger one is something else by mistake."""


def check_file(path: Path, *, largest_bytes: int = LARGEST_BYTES) -> None:
    """See that a file can be read, without reading it.

    Raises:
        InputError: If it is not there, is no file, or is too large, or is closed to this user.
    """
    try:
        info = path.stat()
    except OSError as error:
        raise unreadable(path, error) from error
    if stat.S_ISDIR(info.st_mode):
        raise InputError(path, None, "is a directory, but a file is expected", "rename it, or put a file in its place")
    if not stat.S_ISREG(info.st_mode):
        raise InputError(path, None, "is a device or a pipe, but a file is expected", "put a file in its place")
    if info.st_size > largest_bytes:
        raise InputError(
            path,
            None,
            f"has {info.st_size / MEBIBYTE:,.0f} MiB, and at most {largest_bytes // MEBIBYTE} MiB are read",
            "split it, or remove what does not belong here",
        )
    try:
        path.open("rb").close()
    except OSError as error:
        raise unreadable(path, error) from error


def read_text(path: Path) -> str:
    """The text of a file of manifests or links, without a byte order mark.

    Raises:
        InputError: If it cannot be read, is too large or is no UTF-8.
    """
    check_file(path)
    with path.open("rb") as file:
        data = file.read(LARGEST_BYTES)  # it may have grown since
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        cause = f"holds the byte 0x{data[error.start]:02x}, so it is no UTF-8 text"
        raise InputError(path, line, cause, "save it as UTF-8, or remove it if it is no text") from error


def unreadable(path: Path, error: OSError) -> InputError:
    """What an operating system's refusal means to whoever asked for the file."""
    if isinstance(error, FileNotFoundError):
        if path.is_symlink():
            return InputError(path, None, "is a link to something that is not there", "mend or remove the link")
        return InputError(path, None, "does not exist", "check the path")
    if isinstance(error, PermissionError):
        return InputError(path, None, "may not be read by this user", "make it readable, for instance with chmod a+r")
    return InputError(path, None, f"cannot be read ({error.strerror or error})", "check the path and the file system")
