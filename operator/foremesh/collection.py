"""Python's search for cycles of objects that nobody needs any more, and when it only costs."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Without that search: a large plan, and reading what it is made of, makes a million small objects and keeps nearly
    all of them, so looking through them again and again took a fifth of a plan's time and half of its YAML's."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()
