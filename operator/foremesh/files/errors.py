"""What is wrong with a file, said so that whoever wrote it can put it right."""

from __future__ import annotations

import json
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

LONGEST_SHOWN = 60
"""Characters of a value that are repeated in a message; more would hide what is said about it."""

MOST_LISTED = 8
"""Names that are listed as possible; a longer list is no help."""


class InputError(ValueError):
    """Input that cannot be used. One line for people: ``mesh/links.csv:12: <cause>; <cure>``.

    Attributes:
        path: The file or folder.
        line: Counted from 1; None where no line is to blame.
        cause: What is there and what is wrong with it.
        cure: What to do.
    """

    def __init__(self, path: Path, line: int | None, cause: str, cure: str) -> None:
        self.path = path
        self.line = line
        self.cause = cause
        self.cure = cure
        where = f"{path}:{line}" if line is not None else f"{path}"
        # Names and values come from files: none of them may break the line or send a terminal its own commands.
        super().__init__("".join(one if one.isprintable() else "\ufffd" for one in f"{where}: {cause}; {cure}"))

    def __reduce__(self) -> tuple[Any, ...]:
        """Errors come back from other processes, which make them anew from what they were made of."""
        return type(self), (self.path, self.line, self.cause, self.cure)


def shown(value: Any) -> str:
    """A value as it stands in a message: text in quotes, and never long."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except (ValueError, RecursionError):  # an integer too long to print, or a structure too deep
        text = type(value).__name__
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."


def listed(names: Iterable[str]) -> str:
    """Names in one line, the first few of them."""
    every = list(names)
    more = f" and {len(every) - MOST_LISTED} more" if len(every) > MOST_LISTED else ""
    return ", ".join(every[:MOST_LISTED]) + more


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The name that somebody probably meant; None if there is no such."""
    lower = {one.lower(): one for one in names}
    found = get_close_matches(name.lower(), lower, n=1)
    return lower[found[0]] if found else None
