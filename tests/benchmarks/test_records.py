"""A record that is kept has no folder of the machine in it, and can be ranked like the run."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from benchmarks.records import keep, without_folders
from lora_agnews.results.ranking import find_runs, rank


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("/home/me/data/test.csv.gz", "test.csv.gz"),
        ("folder:/models/mpnet", "folder:mpnet"),
        ("a/b.csv, /tmp/x y.csv", "a/b.csv, x y.csv"),
        ("lora_agnews/data/sample", "lora_agnews/data/sample"),
        ("https://example.org/a/b", "https://example.org/a/b"),
        ("World / Sports", "World / Sports"),
    ],
)
def test_an_absolute_path_becomes_a_name(text: str, kept: str) -> None:
    assert without_folders({"key": [text, 1]}) == {"key": [kept, 1]}


def test_a_kept_run_ranks_like_the_run(finished: tuple[Path, Any], tmp_path: Path) -> None:
    shutil.copytree(finished[0], tmp_path / "runs" / "mine")
    assert keep(tmp_path / "runs", tmp_path / "kept") == 1
    assert str(tmp_path) not in (tmp_path / "kept" / "mine" / "result.json").read_text()
    before, after = (rank(find_runs([tmp_path / folder])) for folder in ("runs", "kept"))
    assert after[0].to_dict()["val/accuracy"] == before[0].to_dict()["val/accuracy"]
    assert {path.name for path in (tmp_path / "kept" / "mine").iterdir()} == {"result.json", "val_predictions.npy"}


def test_keeping_again_replaces_what_was_kept(finished: tuple[Path, Any], tmp_path: Path) -> None:
    for name in ("first", "second"):
        shutil.copytree(finished[0], tmp_path / name / name)
        keep(tmp_path / name, tmp_path / "kept")
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["second"]
    assert json.loads((tmp_path / "kept" / "second" / "result.json").read_text())["status"] == "finished"
