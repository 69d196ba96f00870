"""One process at a time in a run directory: two would mix their files. The helpers of a run write none."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lora_agnews.config import UserError


def is_helper() -> bool:
    """If Lightning started this process beside the first one of a run, for another device."""
    return int(os.environ.get("LOCAL_RANK", 0)) > 0


class Busy(UserError):
    """Another process is at work there."""


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Holds the folder; the system lets go of it when the process ends, however it ends. Raises: Busy."""
    held = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise Busy(f"{folder}: another process is at work on this run") from error
    finally:
        os.close(held)


@contextmanager
def in_turn(path: Path) -> Iterator[Callable[[], None]]:
    """Waits until no other process holds the file, and gives a function that lets go of it early."""
    with path.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield lambda: fcntl.flock(held, fcntl.LOCK_UN)


def at_work_in(folder: Path) -> bool:
    """If some process holds the folder."""
    try:
        with alone_in(folder):
            return False
    except Busy:
        return True
