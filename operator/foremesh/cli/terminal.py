"""What every subcommand does at its ends: say what is wrong in one line, show progress, write results."""

from __future__ import annotations

import errno
import functools
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from shutil import get_terminal_size
from tempfile import TemporaryFile
from typing import Any, TypeVar

import click

BAD_INPUT = 2
"""Exit code where files are not what they should be; click's own for wrong options."""

INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 and the number of SIGINT, as shells have it."""

WIDTH = 100
"""Columns of what is printed where there is no terminal."""

LEAST_WIDTH = 60
"""Columns of the narrowest terminal that tables fit."""

QUIET_S = 10.0
"""Seconds between lines of progress where there is no terminal: a log is read later, and not watched."""

STDOUT = Path("standard output")
"""What errors call it."""

Command = TypeVar("Command", bound=Callable[..., Any])


def told(command: Command) -> Command:
    """Turn bad input into one line on stderr and exit code 2; a closed pipe (``| head``) into silence."""

    @functools.wraps(command)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        from foremesh.files import InputError

        try:
            return command(*args, **kwargs)
        except InputError as error:
            name = click.get_current_context().command_path
            click.echo(f"{name}: {error}", err=True)
            sys.exit(BAD_INPUT)
        except BrokenPipeError:
            _close_stdout()
            sys.exit(0)

    return guarded  # type: ignore[return-value]


def one_thread_each() -> None:
    """Matrices here are small: the threads that would share them wait for each other and keep processors busy, which
    made forecasts three times as expensive. Has to come before the first import of NumPy, so before any subcommand,
    whose options and errors may import it."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


@contextmanager
def progress(what: str) -> Iterator[Callable[[float], None]]:
    """How far something is, on stderr: a bar on a terminal, elsewhere a line at the start and one now and then.

    Args:
        what: What takes so long, for instance ``simulating 1 day``.

    Yields:
        To be called with the share done.
    """
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(what)
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=1.0)
        yield lambda share: bar.update(task, completed=share)


def _lines(what: str) -> Callable[[float], None]:
    """Progress for a log: little of it, as lines stay."""
    started_s = said_s = time.monotonic()
    click.echo(f"{what} ...", err=True)

    def show(share: float) -> None:
        nonlocal said_s
        now_s = time.monotonic()
        if now_s - said_s >= QUIET_S:
            said_s = now_s
            click.echo(f"{what}: {share:.0%} after {now_s - started_s:.0f} s", err=True)

    return show


def columns(to: Path | None = None) -> int:
    """How wide what is printed may be: as the terminal is, or as COLUMNS says; 100 in a file or a pipe."""
    said = os.environ.get("COLUMNS", "")
    if to is not None or not (said.isdecimal() or sys.stdout.isatty()):
        return WIDTH
    return max(LEAST_WIDTH, int(said) if said.isdecimal() else get_terminal_size().columns)


def render(*parts: Any, to: Path | None = None) -> str:
    """Rich text as it would stand on the terminal, with its colours if it will; plain for a file or a pipe."""
    from rich.console import Console

    terminal = to is None and sys.stdout.isatty() and "NO_COLOR" not in os.environ
    text = StringIO()
    console = Console(file=text, width=columns(to), force_terminal=terminal, soft_wrap=False, highlight=False)
    for part in parts:
        console.print(part)
    return text.getvalue()


def write(text: str, to: Path | None = None, *, option: str = "--out") -> None:
    """Write to a file, which ``option`` named, or else to the terminal.

    Raises:
        InputError: If it cannot be written.
    """
    if to is not None:
        with written(to, option):
            to.write_text(text)
        click.echo(f"wrote {to}", err=True)
        return
    try:
        click.echo(text, nl=False)
    except BrokenPipeError:
        raise
    except OSError as error:
        from foremesh.files import InputError

        _close_stdout()
        raise InputError(STDOUT, None, f"cannot be written: {error.strerror}", "send the output elsewhere") from error


def _close_stdout() -> None:
    """What is still buffered would be written at exit, and fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def written(path: Path, option: str = "--out") -> Iterator[None]:
    """Where files are written: what the system refuses becomes an InputError that names the path."""
    from foremesh.files import InputError

    try:
        yield
    except OSError as error:
        raise InputError(
            path, None, f"cannot be written: {error.strerror}", f"give another path to {option}"
        ) from error


def check_writable(path: Path | None, option: str = "--out") -> None:
    """See that a file, or a folder to be made, can be written; before what takes long, and without leaving a trace.

    Args:
        path: What an option names.
        option: Which one.

    Raises:
        InputError: If it cannot, or the folder that it would be in is not there: nobody asked for that one.
    """
    from foremesh.files import InputError

    if path is None:
        return
    folder = path if path.is_dir() else path.parent
    if not folder.is_dir():
        cause = f"cannot be written: {folder} {'is no folder' if folder.exists() else 'does not exist'}"
        raise InputError(path, None, cause, f"make that folder first, or give another path to {option}")
    with written(path, option):
        if path.exists() and not path.is_dir():
            if not os.access(path, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        else:
            TemporaryFile(dir=folder).close()  # permissions do not tell of file systems that take no files


class Days(click.FloatRange):
    """Days to simulate; NaN, which is neither below nor above any bound, is none."""

    def __init__(self) -> None:
        super().__init__(0.05, 60)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        days = super().convert(value, param, ctx)
        if math.isnan(days):
            self.fail(f"{value} is no number of days; give one from {self.min:g} to {self.max:g}", param, ctx)
        return days
