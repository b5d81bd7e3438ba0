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
from functools import cache
from hashlib import blake2b
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
            folder = _FOLDER / _state_of(function)
            before, config.CACHE_DIR = config.CACHE_DIR, str(folder)
            if not folder.exists():
                _tell("once for this version of foremesh")
            try:
                return cast(Function, jit(signature, cache=True, nogil=True)(function))
            except Exception as error:
                # Whatever is wrong with what was kept (a full disk, a damaged file): away with it, and do without this
                # time. What is wrong with the function itself shows again below.
                log.info("compiled code not kept folder=%s error=%r", _FOLDER, error)
                shutil.rmtree(_FOLDER, ignore_errors=True)
            finally:
                config.CACHE_DIR = before
        _tell("and again next time, as nothing can be kept")
        return cast(Function, jit(signature, nogil=True)(function))

    return compile_


@cache
def _tell(how_often: str) -> None:
    """Say why nothing else happens for a while; once a process."""
    log.info("compiling to machine code, %s: about half a minute of processor time", how_often)


def _state_of(function: Callable[..., Any]) -> str:
    """Names what a function is compiled from: numba looks at its own file, and not at what it calls or at constants
    from elsewhere."""
    found, waiting = dict[Any, tuple[object, ...]](), [function]
    while waiting:
        one = waiting.pop()
        if one in found:
            continue
        named = {name: one.__globals__.get(name) for name in one.__code__.co_names}
        file = os.stat(one.__code__.co_filename)
        constants = sorted((name, value) for name, value in named.items() if isinstance(value, int | float))
        found[one] = (one.__module__, one.__qualname__, file.st_mtime_ns, file.st_size, *constants)
        waiting += [value.py_func for value in named.values() if hasattr(value, "py_func")]
    return blake2b(repr(sorted(found.values(), key=repr)).encode(), digest_size=8).hexdigest()


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
