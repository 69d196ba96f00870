"""A directory in which no run fits is refused before anything is created."""

import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from lora_agnews.config import directories
from lora_agnews.config.directories import RUN_BYTES, check_config_dir, check_directory, check_subdirectory
from lora_agnews.config.keys import CONF
from lora_agnews.errors import UserError


def test_a_directory_that_can_be_made_is_accepted_and_not_made(tmp_path: Path) -> None:
    check_directory("hydra.run.dir", str(tmp_path / "a" / "b"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("key", "folder", "message"),
    [
        ("dir", "", "dir=: give a directory, for example dir=runs/mine"),
        ("dir", "/dev/null", r"dir=/dev/null: .*\(Not a directory\); choose another: dir=DIRECTORY"),
        ("resume", "/proc/x", "resume=/proc/x: /proc is not a directory .*; free some space there"),
    ],
)
def test_a_directory_that_can_not_be_made_is_refused(key: str, folder: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_directory(key, folder)


@pytest.mark.parametrize(
    ("total", "free", "fits"), [(1 << 40, RUN_BYTES, True), (1 << 40, 3 << 20, False), (0, 0, True)]
)
def test_a_disk_needs_the_space_of_a_run_if_it_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, total: int, free: int, fits: bool
) -> None:
    monkeypatch.setattr(
        directories, "shutil", SimpleNamespace(disk_usage=lambda _: shutil._ntuple_diskusage(total, 0, free))
    )
    if fits:
        check_directory("dir", str(tmp_path))
        return
    with pytest.raises(UserError, match="has 3 MB left, and a run takes up to 64 MB; choose another: dir=DIRECTORY"):
        check_directory("dir", str(tmp_path))


@pytest.mark.parametrize("name", ["a", "a/b", "..a", "a/../b", "r=1,seed=0"])
def test_a_run_may_have_any_directory_inside_that_of_its_sweep(name: str) -> None:
    check_subdirectory(name)


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/../../x", "/x", "a/.."])
def test_a_run_must_not_leave_the_directory_of_its_sweep(name: str) -> None:
    with pytest.raises(UserError, match=f"hydra.sweep.subdir={re.escape(name)}: must be inside"):
        check_subdirectory(name)


def test_a_directory_of_own_files_must_have_some_under_names_of_their_own(own_files: str) -> None:
    assert check_config_dir(own_files, CONF) == Path(own_files)
    for folder, message in (
        ("nowhere", "--config-dir=.*nowhere: no such directory"),
        (f"{own_files}/experiment", r"has no experiment/NAME\.yaml or study/NAME\.yaml"),
        (str(CONF), r"data/files\.yaml has the name of a shipped file; give it another name"),
    ):
        with pytest.raises(UserError, match=message):
            check_config_dir(folder, CONF)
