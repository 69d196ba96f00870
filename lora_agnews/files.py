"""Write files atomically, report paths that cannot be written, and decide which process may write where."""

import fcntl
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from errno import EISDIR
from io import TextIOWrapper
from pathlib import Path
from typing import TextIO

from lora_agnews.errors import RunLocked, UserError


def write_atomically(path: Path, text: str) -> None:
    """Write a text file so that it appears complete or not at all."""
    with atomic_writer(path) as stream:
        stream.write(text)


@contextmanager
def atomic_writer(path: Path) -> Iterator[TextIO]:
    """Open a text stream that becomes the file when the block ends. An exception in the block leaves no file."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with unfinished.open("w", encoding="utf-8", newline="") as stream:
            yield stream
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


@contextmanager
def checked_write(path: Path) -> Iterator[None]:
    """Turn an OSError of the block into a UserError that says that the path cannot be written."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror})") from error


@contextmanager
def output_stream(output: str) -> Iterator[TextIO]:
    """Open the destination of a command: standard output in UTF-8 for "-", otherwise `output_file`."""
    if output == "-":
        if isinstance(sys.stdout, TextIOWrapper):
            sys.stdout.reconfigure(encoding="utf-8")
        yield sys.stdout
    else:
        with output_file(Path(output)) as stream:
            yield stream


@contextmanager
def output_file(path: Path) -> Iterator[TextIO]:
    """Open a file that a command writes. It appears when it is complete; a link is followed; a device or a pipe is
    written directly.

    Raises: UserError, if the path cannot be written.
    """
    special = path.exists() and not path.is_file()  # asked before resolving: /dev/fd/N leads nowhere else
    with ExitStack() as stack:
        with checked_write(path):
            if path.is_dir():
                raise IsADirectoryError(EISDIR, os.strerror(EISDIR))
            writer = path.open("w", encoding="utf-8") if special else atomic_writer(path.resolve())
            stream = stack.enter_context(writer)
        yield stream


def is_worker_rank() -> bool:
    """Whether Lightning started this process for a further device of a run. Only the first process writes files."""
    return int(os.environ.get("LOCAL_RANK", 0)) > 0


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Lock a run directory for this process. The lock is released when the process exits, however it exits.

    Raises: RunLocked, if another process holds the lock.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise RunLocked(f"{folder}: another process is working on this run") from error
    finally:
        os.close(descriptor)


def is_locked(folder: Path) -> bool:
    """Whether some process holds the lock of a run directory."""
    try:
        with run_lock(folder):
            return False
    except RunLocked:
        return True


@contextmanager
def file_lock(path: Path) -> Iterator[Callable[[], None]]:
    """Hold the lock of a file, after waiting for other processes. Yields a function that releases it early."""
    with path.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield lambda: fcntl.flock(stream, fcntl.LOCK_UN)
