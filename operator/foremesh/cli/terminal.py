"""What every subcommand does at its ends: say what is wrong in one line, show progress, write results."""

from __future__ import annotations

import functools
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any, TypeVar

import click

BAD_INPUT = 2
"""Exit code where files are not what they should be; click's own for wrong options."""

INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 and the number of SIGINT, as shells have it."""

WIDTH = 100
"""Columns of what is printed where the terminal does not say."""

QUIET_S = 10.0
"""Seconds between lines of progress where there is no terminal: a log is read later, and not watched."""

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
            # What is still buffered would be written at exit, and fail again.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
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


def render(*parts: Any, to: Path | None = None) -> str:
    """Rich text as it would stand on the terminal, with its colours if it will; plain for a file or a pipe."""
    from rich.console import Console

    terminal = to is None and sys.stdout.isatty() and "NO_COLOR" not in os.environ
    width = Console().width if terminal else WIDTH
    text = StringIO()
    console = Console(file=text, width=width, force_terminal=terminal, soft_wrap=False, highlight=False)
    for part in parts:
        console.print(part)
    return text.getvalue()


def write(text: str, to: Path | None = None) -> None:
    """Write to a file, or else to the terminal.

    Raises:
        InputError: If the file cannot be written.
    """
    if to is None:
        click.echo(text, nl=False)
        return
    from foremesh.files import InputError

    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_text(text)
    except OSError as error:
        raise InputError(to, None, f"cannot be written: {error.strerror}", "give another file") from error
    click.echo(f"wrote {to}", err=True)
