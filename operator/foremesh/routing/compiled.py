"""Functions compiled to machine code, and where the result is kept: the user's cache folder, by version of Foremesh.

Compiling takes seconds, once a machine and version. Where nothing can be written, as in a read-only container, it is
done in memory and again by the next process; nothing else differs.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar, cast

import numba

log = logging.getLogger(__name__)

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(signature: str) -> Callable[[Function], Function]:
    """Compile a function for one signature, when its module is imported, and keep the result in ``cache_folder``."""

    jit: Any = numba.njit
    config: Any = numba.config

    def compile_(function: Function) -> Function:
        if _FOLDER is not None:
            before, config.CACHE_DIR = config.CACHE_DIR, str(_FOLDER)
            try:
                return cast(Function, jit(signature, cache=True)(function))
            except Exception as error:
                # Whatever is wrong with what was kept (a full disk, a damaged file): away with it, and do without this
                # time. What is wrong with the function itself shows again below.
                log.info("compiled code not kept folder=%s error=%r", _FOLDER, error)
                shutil.rmtree(_FOLDER, ignore_errors=True)
            finally:
                config.CACHE_DIR = before
        return cast(Function, jit(signature)(function))

    return compile_


def called(function: Function) -> Function:
    """For what only compiled functions call: compiled as a part of them where that has to be done, and kept with them;
    a copy of its own would be loaded by every process and called by nobody."""
    jit: Any = numba.njit
    return cast(Function, jit(function))


def cache_folder() -> Path | None:
    """Where compiled code is kept; None if nothing can be written there."""
    home = os.environ.get("XDG_CACHE_HOME")
    try:
        folder = (Path(home) if home else Path.home() / ".cache") / "foremesh" / version("foremesh")
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except (OSError, RuntimeError) as error:  # RuntimeError: nobody knows where home is
        log.info("compiled code not kept error=%s", error)
        return None


_FOLDER = cache_folder()
