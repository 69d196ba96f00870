"""Locks between processes: of a run directory, and of a file.

They are the kernel's locks, so a lock is released when its process exits, however it exits. On a file system without
such locks, a file names the host and the process of the owner. A process on the same host sees that the owner is gone;
after a crash on another host, the file has to be deleted.
"""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from lora_agnews.errors import RunLocked

LOCK_FILE = ".lock"
OWNER_SUFFIX = ".owner"  # of the file that names the owner
NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)  # answers of some network file systems
RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")  # in the order in which Lightning reads them
NODE_RANK = "NODE_RANK"  # set where the nodes are started by hand; the processes of a node then have no RANK


def is_worker_rank(processes: int) -> bool:
    """Whether this is not the first process of a run that has several. Only the first one writes files."""
    rank = next((name for name in RANKS if name in os.environ), RANKS[0])
    return processes > 1 and any(int(os.environ.get(name, 0)) > 0 for name in (rank, NODE_RANK))


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Lock a run directory for this process. The lock is released when the process exits, however it exits.

    Raises: RunLocked, if another process holds the lock.
    """
    try:
        lock = _acquire(folder / LOCK_FILE, blocking=False)
    except Timeout as error:
        raise RunLocked(f"{folder}: another process is working on this run") from error
    try:
        yield
    finally:
        lock.release()


def is_locked(folder: Path) -> bool:
    """Whether some process holds the lock of a run directory. Creates no file."""
    if not (folder / LOCK_FILE).exists():
        return False
    try:
        with run_lock(folder):
            return False
    except RunLocked:
        return True
    except OSError:  # a directory of somebody else
        return False


@contextmanager
def file_lock(path: Path) -> Iterator[Callable[[], None]]:
    """Hold the lock of a file, after waiting for other processes. Yields a function that releases it early."""
    lock = _acquire(path)
    try:
        yield lambda: lock.release(force=True)
    finally:
        lock.release()


def _acquire(path: Path, blocking: bool = True) -> BaseFileLock:
    """Raises: Timeout, if another process holds the lock and this one does not wait."""
    lock: BaseFileLock = FileLock(path, fallback_to_soft=False)
    try:
        lock.acquire(blocking=blocking)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        lock = SoftFileLock(path.with_name(path.name + OWNER_SUFFIX))
        lock.acquire(blocking=blocking)
    return lock
