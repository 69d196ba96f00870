"""Locks between processes: released by a kill, not created by reading."""

import errno
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest

from lora_agnews.errors import RunLocked
from lora_agnews.files.locks import LOCK_FILE, NODE_RANK, RANKS, file_lock, is_locked, is_worker_rank, run_lock
from tests.commands import ROOT

fcntl = pytest.importorskip("fcntl", reason="Windows has other locks")

OWNER = """
import fcntl, sys, time
from pathlib import Path
from lora_agnews.files.locks import run_lock

def refuse(file, operation):
    raise OSError(int(sys.argv[2]), "refused")

if sys.argv[2] != "0":
    fcntl.flock = refuse
with run_lock(Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(100)
"""


@pytest.fixture(
    params=[0, errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK], ids=lambda code: errno.errorcode.get(code, "locks")
)
def owner(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator["subprocess.Popen[str]"]:
    """Another process that holds the lock of tmp_path, on file systems with locks and without."""
    if request.param:
        monkeypatch.setattr(fcntl, "flock", Mock(side_effect=OSError(request.param, "refused")))
    command = [sys.executable, "-c", OWNER, str(tmp_path), str(request.param)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        yield process
        process.kill()


def test_a_directory_that_another_process_has_locked_is_refused(owner: "subprocess.Popen[str]", tmp_path: Path) -> None:
    assert is_locked(tmp_path)
    with pytest.raises(RunLocked, match="another process is working on this run"), run_lock(tmp_path):
        pass


def test_a_kill_releases_the_lock(owner: "subprocess.Popen[str]", tmp_path: Path) -> None:
    owner.kill()
    owner.wait()
    assert not is_locked(tmp_path)
    with run_lock(tmp_path):
        assert is_locked(tmp_path)
    assert not is_locked(tmp_path)


def test_asking_for_a_lock_creates_no_file(tmp_path: Path) -> None:
    assert not is_locked(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_exception_releases_the_lock(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), run_lock(tmp_path):
        raise ZeroDivisionError
    assert not is_locked(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [LOCK_FILE]


WAIT = """
import sys, time
from pathlib import Path
from lora_agnews.files.locks import file_lock
with file_lock(Path(sys.argv[1])):
    print(time.monotonic(), flush=True)
"""


def test_the_lock_of_a_file_is_waited_for_and_may_be_released_early(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WAIT, str(tmp_path / "lock")]
    with (
        file_lock(tmp_path / "lock") as release,
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other,
    ):
        time.sleep(1)
        assert other.poll() is None
        released = time.monotonic()
        release()
        assert other.stdout is not None
        assert float(other.stdout.readline()) >= released


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, False),
        ({"LOCAL_RANK": "0"}, False),
        ({"LOCAL_RANK": "1"}, True),
        ({"RANK": "2", "LOCAL_RANK": "0"}, True),
        ({"RANK": "0", "LOCAL_RANK": "1"}, False),
        ({"SLURM_PROCID": "1"}, True),
        ({"NODE_RANK": "1"}, True),
        ({"NODE_RANK": "0", "LOCAL_RANK": "0"}, False),
    ],
    ids=str,
)
def test_only_the_first_process_of_a_run_is_no_worker_rank(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: bool
) -> None:
    for name in (*RANKS, NODE_RANK):
        monkeypatch.delenv(name, raising=False)
    for name, rank in variables.items():
        monkeypatch.setenv(name, rank)
    assert is_worker_rank(2) is expected
    assert not is_worker_rank(1), "a run on one device has one process, also in a job of several tasks"
