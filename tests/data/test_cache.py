"""What is in the cache, and how it is emptied."""

import os
from pathlib import Path

import numpy as np
import pytest

from lora_agnews.data.cache import clear_cache, default_cache, list_cache
from lora_agnews.data.states import States
from tests.commands import command


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A cache with the tokens of some texts and the states of two rows, and a file of somebody else."""
    states = States(tmp_path / "prefix" / "a" / "b" / "layer-2", np.array([3, 1]), 8, lambda rows: [np.zeros((4, 8))])
    states.complete({"encoder": "tiny", "layer": 2, "rows": 2, "precision": "32-true"}, lambda rows: None)
    (tmp_path / "tokens" / "abc").mkdir(parents=True)
    (tmp_path / "tokens" / "abc" / "flat.npy").write_bytes(b"x" * 5000)
    (tmp_path / "rows" / "def").mkdir(parents=True)
    (tmp_path / "rows" / "def" / "train.arrow").write_bytes(b"x" * 4000)
    (tmp_path / "mine").write_text("keep")
    return tmp_path


def test_the_entries_are_listed_by_size(folder: Path) -> None:
    entries = list_cache(folder)
    assert [entry.what for entry in entries] == ["tokens", "rows", "tiny, layers below 2, 2 rows, 32-true"]
    assert entries[0].size == 5000
    shown = command("cache", "list", "--dir", folder)
    assert "tiny, layers below 2, 2 rows, 32-true" in shown.stdout
    assert f"layer-2{os.linesep}" not in shown.stdout


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"encoder": "tiny"'])
def test_an_entry_without_a_description_is_listed_as_damaged(folder: Path, text: str) -> None:
    next(folder.rglob("about.json")).write_text(text)
    assert list_cache(folder)[-1].what == "about.json is damaged"


def test_only_what_the_program_keeps_is_deleted(folder: Path) -> None:
    assert command("cache", "clear", "--dir", folder).exit_code == 0
    assert [path.name for path in folder.iterdir()] == ["mine"]
    assert list_cache(folder) == []
    assert clear_cache(folder / "nothing") == 0


def test_the_default_is_the_users_cache_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert default_cache() == Path("/somewhere/lora_agnews")


def test_another_action_is_refused() -> None:
    assert command("cache", "burn").exit_code == 2
