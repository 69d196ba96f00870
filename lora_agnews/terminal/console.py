"""Print lines, notes and errors, and show progress bars. Results go to standard output, everything else to stderr."""

import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from io import TextIOWrapper
from pathlib import Path
from typing import TypeVar

from rich.console import Console, RenderableType
from rich.control import Control
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn, track
from rich.segment import ControlType
from rich.text import Text

from lora_agnews.errors import UserError

T = TypeVar("T")
# A command that a notebook starts with `!` has a terminal on which the cursor can't move up, as progress bars need it.
INTERACTIVE = False if "JPY_PARENT_PID" in os.environ else None  # None: rich looks at the terminal
out = Console(markup=False, force_interactive=INTERACTIVE)  # texts may contain brackets
err = Console(stderr=True, soft_wrap=True, markup=False, force_interactive=INTERACTIVE)


def shows_bars() -> bool:
    """Whether bars can be shown: on a terminal, or in a notebook that has ipywidgets, which rich needs there."""
    return err.is_interactive or (err.is_jupyter and find_spec("ipywidgets") is not None)


def print_line(line: str | Text, style: str = "") -> None:
    """Print one line. It is never wrapped, so that paths and commands can be copied."""
    if out.is_interactive:
        out.control(Control((ControlType.ERASE_IN_LINE, 2)))  # what `print_temporarily` left
    out.print(Text(line, style=style) if isinstance(line, str) else line, soft_wrap=True)


def short_path(path: Path) -> Path:
    """Return the path as one would type it: relative if it is below the working directory."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def duration(seconds: float) -> str:
    """Return a duration in words, such as "40 s", "3 min" or "2.5 hours"."""
    if seconds > 90 * 60:
        return f"{seconds / 3600:.1f} hours"
    return f"{seconds / 60:.0f} min" if seconds > 90 else f"{seconds:.0f} s"


def print_data(text: str) -> None:
    """Print JSON, CSV or a help text unchanged, for scripts and pipes."""
    out.file.write(text)


def print_temporarily(line: str) -> None:
    """Show a line on a terminal until something else is printed. Without a terminal, print nothing."""
    if out.is_interactive:
        out.print(Text(line, style="dim"), end="\r", no_wrap=True, overflow="crop")


def print_table(table: RenderableType) -> None:
    """Print a table and an empty line."""
    out.print(table, "")


def note(message: str) -> None:
    """Print something the user should read. The work continues."""
    err.print(Text(f"note: {message}", style="yellow"))


def print_error(message: str) -> None:
    """Print what went wrong and the remedy. Suppressed by `quiet_output`."""
    if not out.quiet:
        err.print(Text("error: ", style="bold red") + Text(message))


def print_exception() -> None:
    """Print the traceback of the exception that is being handled."""
    traceback.print_exc()


def track_steps(steps: Sequence[T], name: str) -> Iterable[T]:
    """Iterate over steps under a progress bar that disappears when they are done."""
    return track(steps, name, console=err, transient=True, disable=not shows_bars())


@contextmanager
def progress_bar(name: str, total: int | None) -> Iterator[Callable[[float], None]]:
    """Show a progress bar of rows that disappears when the block ends. Yields the function that advances it."""
    columns = (TextColumn(name), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True, disable=not shows_bars()) as bar:
        task = bar.add_task(name, total=total)
        yield lambda rows: bar.advance(task, rows)


@contextmanager
def live_line(text: Callable[[], str]) -> Iterator[None]:
    """Show a line that is updated every five seconds. Without a terminal it is printed once, at the end."""
    with Live(get_renderable=lambda: Text(text()), console=out, refresh_per_second=0.2, redirect_stderr=False):
        yield


@contextmanager
def best_effort() -> Iterator[None]:
    """Ignore errors of standard output in the block: a terminal that is gone must not end a run."""
    with suppress(OSError, UnicodeError):
        yield


@contextmanager
def quiet_output() -> Iterator[None]:
    """Suppress standard output and error messages in the block. Progress bars and notes remain."""
    out.quiet = True
    try:
        yield
    finally:
        out.quiet = False


@contextmanager
def exit_on_error() -> Iterator[None]:
    """Turn an error of the block into one message without a traceback, and an exit status.

    The status is 2 for what the user gave, 1 for what went wrong, 130 for Ctrl-C. HYDRA_FULL_ERROR=1 shows tracebacks.
    """
    logging.raiseExceptions = False  # a train.log on a full disk would print a traceback for each of its lines
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a character that the terminal can't show must not end a run
    try:
        yield
        out.file.flush()
    except BrokenPipeError:  # the reader has seen enough: `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except (UserError, RuntimeError, OSError) as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        print_error(str(error))
        raise SystemExit(2 if isinstance(error, UserError) else 1) from error
    except KeyboardInterrupt:
        print_error("interrupted")
        raise SystemExit(130) from None


@contextmanager
def exit_cleanly() -> Iterator[None]:
    """`exit_on_error`, also for SIGTERM: it ends a command as Ctrl-C does, so that no half-written file stays."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        with exit_on_error():
            yield
    finally:
        signal.signal(signal.SIGTERM, before)


def silence() -> None:
    """Suppress everything in this process: it is a worker rank of a run on several devices."""
    out.quiet = err.quiet = True
