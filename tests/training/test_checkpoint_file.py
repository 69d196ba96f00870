"""Checkpoint files are on the disk before they get their name, and need no temporary directory."""

import os
import tempfile
from pathlib import Path

import pytest
import torch

from lora_agnews.config.schema import TrainConfig
from lora_agnews.training.checkpoint_file import SyncedCheckpointIO, is_intact, link_or_copy
from tests.resuming import train


def test_each_checkpoint_is_on_the_disk_before_it_is_renamed(
    short_config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_disk, renamed_first = set[int](), list[str]()
    fsync, replace, names = os.fsync, Path.replace, set[str]()

    def synced(descriptor: int) -> None:
        on_disk.add(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    def renamed(path: Path, target: Path) -> Path:
        names.add(path.name)
        if path.stat().st_ino not in on_disk:
            renamed_first.append(path.name)
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", renamed)
    train(tmp_path, short_config)
    assert {".last.ckpt", ".best.ckpt"} <= names
    assert renamed_first == []


def test_a_checkpoint_needs_no_temporary_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    SyncedCheckpointIO().save_checkpoint({"weight": torch.ones(3)}, tmp_path / "a.ckpt")
    assert is_intact(tmp_path / "a.ckpt")
    assert torch.equal(torch.load(tmp_path / "a.ckpt", weights_only=True)["weight"], torch.ones(3))
    assert [path.name for path in tmp_path.iterdir()] == ["a.ckpt"]


def test_a_checkpoint_is_written_through_no_link(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("keep")
    (tmp_path / ".last.ckpt").symlink_to(tmp_path / "mine")
    with pytest.raises(FileExistsError):
        SyncedCheckpointIO().save_checkpoint({}, tmp_path / ".last.ckpt")
    assert (tmp_path / "mine").read_text() == "keep"


def test_a_file_system_without_hard_links_gets_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("not supported")

    (tmp_path / "last.ckpt").write_text("new")
    (tmp_path / "previous.ckpt").write_text("old")
    link_or_copy(tmp_path / "last.ckpt", tmp_path / "previous.ckpt")
    assert (tmp_path / "previous.ckpt").samefile(tmp_path / "last.ckpt")
    monkeypatch.setattr(os, "link", refuse)
    link_or_copy(tmp_path / "last.ckpt", tmp_path / "previous.ckpt")
    assert (tmp_path / "previous.ckpt").read_text() == "new"
    assert not (tmp_path / "previous.ckpt").samefile(tmp_path / "last.ckpt")
