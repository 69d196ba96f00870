"""Child processes that are measured, or killed at a chosen file operation or moment."""

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

CHANGES = {"os.rename", "os.link", "os.remove", "os.mkdir"}  # audit events of Python before it changes a directory


class Ended(NamedTuple):
    """How a child ended: its exit status (128 + number for a signal), seconds and MB at the peak."""

    status: int
    seconds: float
    megabytes: float


def in_child(action: Callable[[], object], log: Path, kill_after: float | None = None) -> Ended:
    """Run an action in a fork of this process, and kill it after some seconds if it has not ended by then.

    What it prints goes to `log`.
    """
    began = time.monotonic()
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            sys.stdout = sys.stderr = open(output, "w", closefd=False)  # noqa: SIM115
            os.dup2(output, 2)  # what libraries print
            if "torch" in sys.modules:  # PyTorch makes its threads anew after a fork, which is not safe later
                sys.modules["torch"].set_num_threads(1)
            action()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(status)
    if kill_after is not None:
        while os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            if time.monotonic() - began > kill_after:
                os.kill(child, signal.SIGKILL)
                break
            time.sleep(0.002)
    _, ended, used = os.wait4(child, 0)
    code = os.waitstatus_to_exitcode(ended)
    return Ended(code if code >= 0 else 128 - code, time.monotonic() - began, used.ru_maxrss / 1024)


def count_operations(folder: Path, kill_at: int | None = None, report: Path | None = None) -> None:
    """Count what this process changes below a folder: files opened for writing, fsync, replace, link and the like.

    At number `kill_at` the process is killed just before the operation. Otherwise `report` gets the number.
    """
    place, number, fsync = str(folder), 0, os.fsync

    def count() -> None:
        nonlocal number
        number += 1
        if number == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if report:
            report.write_text(str(number))

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        path = arguments[0] if arguments else None
        if not isinstance(path, (str, Path)) or not str(path).startswith(place) or str(path) == str(report):
            return
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if writes or event in CHANGES:
            count()

    def counted_fsync(descriptor: int) -> None:
        count()
        fsync(descriptor)

    os.fsync = counted_fsync
    sys.addaudithook(watch)
