"""Files appear complete or not at all, follow no planted link, and never replace what belongs to a run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lora_agnews.errors import UserError
from lora_agnews.files.atomic import atomic_writer, check_output, output_file, output_stream, write_atomically


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
    write_atomically(path, b"\x00\xff")
    assert path.read_bytes() == b"\x00\xff"
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


@pytest.mark.parametrize(
    "name",
    [
        "result.json",
        "config.yaml",
        "metrics.csv",
        "val_predictions.npy",
        "test_predictions.npy",
        "calibration.json",
        "checkpoints/last.ckpt",
        "adapter/x",
    ],
)
def test_an_output_never_replaces_a_file_of_a_run(tmp_path: Path, name: str) -> None:
    for own in ("result.json", "config.yaml"):
        (tmp_path / own).write_text("{}")
    with pytest.raises(UserError, match=f"{name} is a file of the run in .*; choose another output"):
        check_output(tmp_path / name)
    with pytest.raises(UserError, match="is a file of the run"), output_file(tmp_path / name):
        pass
    assert (tmp_path / "result.json").read_text() == "{}"


def test_an_output_beside_the_files_of_a_run_is_allowed(tmp_path: Path) -> None:
    for own in ("result.json", "config.yaml"):
        (tmp_path / own).write_text("{}")
    with output_file(tmp_path / "submission.csv") as stream:
        stream.write("ID,Label\n")
    assert (tmp_path / "submission.csv").read_text() == "ID,Label\n"
