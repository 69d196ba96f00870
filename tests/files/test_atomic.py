"""Files appear complete or not at all, follow no planted link, and never replace what belongs to a run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lora_agnews.errors import UserError
from lora_agnews.files.atomic import atomic_writer, check_output, output_file, write_atomically


def test_a_text_replaces_the_file_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_atomically(path, "old")
    with atomic_writer(path) as stream:
        stream.write("new")
        stream.flush()
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert [each.name for each in tmp_path.iterdir()] == ["a.txt"]


def test_an_exception_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a.txt", "old")

    def fail() -> None:
        with atomic_writer(tmp_path / "a.txt") as stream:
            stream.write("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert (tmp_path / "a.txt").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_files_can_be_read_by_others_as_the_mask_says(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "a.txt", "text")
    finally:
        os.umask(before)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o640


def test_temporary_files_of_killed_processes_are_removed_and_those_of_living_ones_kept(tmp_path: Path) -> None:
    code = "import sys, os; from lora_agnews.files.atomic import atomic_writer; from pathlib import Path\n"
    code += "with atomic_writer(Path(sys.argv[1])) as stream: os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.txt")], check=False)
    assert len(list(tmp_path.iterdir())) == 1, "what the killed process left"
    with atomic_writer(tmp_path / "a.txt") as stream:
        stream.write("mine")
        write_atomically(tmp_path / "a.txt", "other")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "mine"


def test_the_names_of_temporary_files_can_not_be_foreseen(tmp_path: Path) -> None:
    names = set()
    for _ in range(2):
        with atomic_writer(tmp_path / "a.txt"):
            names |= {path.name for path in tmp_path.iterdir() if path.name != "a.txt"}
    assert len(names) == 2


@pytest.mark.parametrize("name", ["result.json", "config.yaml", "metrics.csv", "checkpoints/last.ckpt", "adapter/x"])
def test_an_output_never_replaces_a_file_of_a_run(tmp_path: Path, name: str) -> None:
    for own in ("result.json", "config.yaml"):
        (tmp_path / own).write_text("{}")
    with pytest.raises(UserError, match=f"{name} belongs to the run in .*; choose another output"):
        check_output(tmp_path / name)
    with pytest.raises(UserError, match="belongs to the run"), output_file(tmp_path / name):
        pass
    assert (tmp_path / "result.json").read_text() == "{}"


def test_an_output_beside_the_files_of_a_run_is_allowed(tmp_path: Path) -> None:
    for own in ("result.json", "config.yaml"):
        (tmp_path / own).write_text("{}")
    with output_file(tmp_path / "submission.csv") as stream:
        stream.write("ID,Label\n")
    assert (tmp_path / "submission.csv").read_text() == "ID,Label\n"
