"""Where a command writes: a file that appears when it is whole, or stdout."""

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from errno import EISDIR
from io import TextIOWrapper
from pathlib import Path
from typing import TextIO

from lora_agnews.config import UserError
from lora_agnews.result import writing_whole


@contextmanager
def writable(path: Path) -> Iterator[None]:
    """Raises: UserError, if the path can't be written."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{path}: can't be written ({error.strerror})") from error


@contextmanager
def writing(output: str) -> Iterator[TextIO]:
    """Either stdout, in UTF-8, or `whole_file`."""
    if output == "-":
        if isinstance(sys.stdout, TextIOWrapper):
            sys.stdout.reconfigure(encoding="utf-8")
        yield sys.stdout
    else:
        with whole_file(Path(output)) as stream:
            yield stream


@contextmanager
def whole_file(path: Path) -> Iterator[TextIO]:
    """A file that appears when it is whole, in place of what a link points to; devices and pipes are written into.

    Raises: UserError, if it can't be written.
    """
    special = path.exists() and not path.is_file()  # asked of the path as it is: /dev/fd/N leads nowhere else
    with ExitStack() as stack:
        with writable(path):
            if path.is_dir():
                raise IsADirectoryError(EISDIR, os.strerror(EISDIR))
            whole = path.open("w", encoding="utf-8") if special else writing_whole(path.resolve())
            stream = stack.enter_context(whole)
        yield stream
