"""Files appear complete or not at all, and one process at a time works in a run directory."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lora_agnews.errors import RunLocked, UserError
from lora_agnews.files.atomic import atomic_writer, output_file, output_stream, write_atomically
from lora_agnews.files.locks import file_lock, is_locked, is_worker_rank, run_lock


def write_and_fail(path: Path) -> None:
    with atomic_writer(path) as stream:
        stream.write("half")
        stream.flush()
        assert path.read_text() == "old"
        raise ZeroDivisionError


def test_a_file_is_replaced_only_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError):
        write_and_fail(path)
    assert path.read_text() == "old"
    write_atomically(path, "new\r\nline\n")
    assert path.read_bytes() == b"new\r\nline\n"
    assert [each.name for each in tmp_path.iterdir()] == ["file.txt"]


@pytest.mark.parametrize(
    ("name", "reason"), [("none/out.csv", "No such file or directory"), (".", "Is a directory"), ("f/x", "Not a dir")]
)
def test_an_output_that_cannot_be_written_is_named_with_the_reason(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "f").touch()
    with pytest.raises(UserError, match=f"cannot be written \\({reason}") as caught, output_file(tmp_path / name):
        pass
    assert str(tmp_path / name) in str(caught.value)
    assert [each.name for each in tmp_path.iterdir()] == ["f"]


def test_an_error_inside_the_block_is_not_mistaken_for_an_output_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), output_file(tmp_path / "out.csv"):
        (tmp_path / "missing").read_text()
    assert list(tmp_path.iterdir()) == []


def test_a_link_keeps_its_place_and_its_target_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with output_file(tmp_path / "link") as stream:
        stream.write("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"


def test_a_minus_is_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    with output_stream("-") as stream:
        stream.write("é\n")
    assert capsys.readouterr().out == "é\n"


HOLD = """
import sys, time
from pathlib import Path
from lora_agnews.files.locks import run_lock
with run_lock(Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(60)
"""


def test_a_run_directory_is_locked_until_its_process_exits_however_it_exits(tmp_path: Path) -> None:
    assert not is_locked(tmp_path)
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        assert is_locked(tmp_path)
        with pytest.raises(RunLocked, match=f"{tmp_path}: another process is working on this run"), run_lock(tmp_path):
            pass
        other.kill()
    assert not is_locked(tmp_path)
    with run_lock(tmp_path):
        assert is_locked(tmp_path)
    assert list(tmp_path.iterdir()) == [], "a lock leaves no file"


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


@pytest.mark.parametrize(("rank", "expected"), [(None, False), ("0", False), ("1", True)])
def test_only_processes_of_further_devices_are_worker_ranks(
    monkeypatch: pytest.MonkeyPatch, rank: str | None, expected: bool
) -> None:
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    if rank is not None:
        monkeypatch.setitem(os.environ, "LOCAL_RANK", rank)
    assert is_worker_rank() is expected
