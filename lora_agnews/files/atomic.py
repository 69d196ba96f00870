"""Write files atomically, and report paths that cannot be written."""

import glob
import os
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from errno import EISDIR
from io import TextIOWrapper
from pathlib import Path
from typing import TextIO

import psutil

from lora_agnews.errors import UserError


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file so that it appears complete or not at all."""
    with atomic_writer(path) as stream:
        if isinstance(content, str):
            stream.write(content)
        else:
            stream.buffer.write(content)


@contextmanager
def atomic_writer(path: Path) -> Iterator[TextIO]:
    """Open a text stream that becomes the file when the block ends. An exception in the block leaves no file.

    The text is written to a temporary file with an unpredictable name in the same directory, and is on the disk before
    the file is renamed.
    """
    _remove_leftovers(path)
    descriptor, name = tempfile.mkstemp(prefix=_temporary_prefix(path) + f"{os.getpid()}-", dir=path.parent)
    unfinished = Path(name)
    try:
        with open(descriptor, "w", encoding="utf-8", newline="") as stream:  # noqa: PTH123  # an open descriptor
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        unfinished.chmod(0o666 & ~_umask())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _temporary_prefix(path: Path) -> str:
    return f".{path.name}.{socket.gethostname()}-"


def _remove_leftovers(path: Path) -> None:
    """Remove temporary files of processes of this machine that were killed while they wrote `path`."""
    for leftover in path.parent.glob(f"{glob.escape(_temporary_prefix(path))}*"):
        process = leftover.name.removeprefix(_temporary_prefix(path)).partition("-")[0]
        if process.isdigit() and not psutil.pid_exists(int(process)):
            leftover.unlink(missing_ok=True)


def _umask() -> int:
    """Return the process' mask for new files; mkstemp ignores it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


@contextmanager
def checked_write(path: Path) -> Iterator[None]:
    """Turn an OSError of the block into a UserError that says that the path cannot be written."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror})") from error


RUN_FILES = (
    "config.yaml",
    "result.json",
    "metrics.csv",
    "val_predictions.npy",
    "test_predictions.npy",
    "calibration.json",
    "train.log",
    "checkpoints",
    "adapter",
    "study.db",
)


def check_output(path: Path) -> None:
    """Raises: UserError, if an output would replace a file that belongs to a run or a study."""
    path = path.resolve()
    for folder in path.parents:
        is_run = (folder / "result.json").is_file() and (folder / "config.yaml").is_file()
        if (is_run or (folder / "study.db").is_file()) and path.relative_to(folder).parts[0] in RUN_FILES:
            raise UserError(f"{path} is a file of the run in {folder} and is not overwritten; choose another output")


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
    check_output(path)
    special = path.exists() and not path.is_file()  # asked before resolving: what /dev/fd/N resolves to may not exist
    with ExitStack() as stack:
        with checked_write(path):
            if path.is_dir():
                raise IsADirectoryError(EISDIR, os.strerror(EISDIR))
            writer = path.open("w", encoding="utf-8") if special else atomic_writer(path.resolve())
            stream = stack.enter_context(writer)
        yield stream
