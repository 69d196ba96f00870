"""Checkpoints are written where an exact resume is possible, and refused if damaged or foreign."""

import copy
import errno
import os
import shutil
import signal
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch

from lora_agnews.config.resume import find_run
from lora_agnews.config.schema import TrainConfig
from lora_agnews.errors import UserError
from lora_agnews.training.checkpoint import _set_random_state, read_checkpoint
from lora_agnews.training.task import LoRAClassifier
from tests.resuming import kill, train


def test_the_end_of_an_epoch_has_a_checkpoint_also_if_its_validation_was_earlier(
    short_config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seldom = copy.deepcopy(short_config)
    seldom.trainer.checkpoint_every, seldom.trainer.val_check_interval = 1000, 0.6
    kill(monkeypatch, "training_step", 15, tmp_path, seldom)
    last = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["global_step"] == 12, "an epoch has 12 steps, and validations after 7 and 12"


def test_where_hard_links_do_not_exist_the_previous_checkpoint_is_a_copy(
    short_config: TrainConfig,
    uninterrupted: tuple[dict[str, float], dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    kill(monkeypatch, "training_step", 14, tmp_path, short_config)
    previous = tmp_path / "checkpoints" / "previous.ckpt"
    assert torch.load(previous, weights_only=True)["global_step"] > 0
    assert train(tmp_path, short_config, previous).metrics == uninterrupted[0]


def test_a_checkpoint_for_which_the_disk_has_no_space_leaves_no_part_of_it(
    short_config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(trainer: L.Trainer, path: Path) -> None:
        path.write_bytes(b"part")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(L.Trainer, "save_checkpoint", fill)
    result = train(tmp_path, short_config)
    assert (result.status, str(result.error)[:16]) == ("failed", "the disk is full")
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_what_a_killed_process_left_of_a_checkpoint_is_removed(short_config: TrainConfig, tmp_path: Path) -> None:
    train(tmp_path, short_config)
    complete = {path.name for path in (tmp_path / "checkpoints").iterdir()}
    for name in (".last.ckpt", ".previous.ckpt", ".best.ckpt"):
        (tmp_path / "checkpoints" / name).write_bytes(b"part")
    (tmp_path / "result.json").unlink()  # the run was killed after its last step
    train(tmp_path, short_config, resume=tmp_path)
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == complete


def test_a_flipped_byte_in_a_checkpoint_is_noticed(
    short_config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill(monkeypatch, "training_step", 14, tmp_path, short_config)
    last = tmp_path / "checkpoints" / "last.ckpt"
    content = bytearray(last.read_bytes())
    content[len(content) // 2] ^= 1
    last.write_bytes(content)
    with pytest.raises(UserError, match=r"last\.ckpt: damaged.*checksums do not match.*resume=.*previous\.ckpt"):
        train(tmp_path, short_config, last)
    last.unlink()
    with pytest.raises(UserError, match=r"last\.ckpt is missing; to continue from .*previous\.ckpt"):
        find_run(str(tmp_path))


def test_a_checkpoint_of_two_gpus_is_resumed_on_one(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Version 0.1 stored the states of all visible GPUs."""
    trainer = SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device("cpu")), global_rank=0, world_size=1)
    state = torch.get_rng_state()
    torch.rand(3)
    _set_random_state({"cpu": state, "cuda": [state, state]}, trainer)  # type: ignore[arg-type]
    assert torch.equal(torch.get_rng_state(), state)
    assert "written on other devices" in capfd.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_at_the_next_step_and_ends_the_run(
    short_config: TrainConfig,
    uninterrupted: tuple[dict[str, float], dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    capfd: pytest.CaptureFixture[str],
) -> None:
    before = signal.getsignal(number)
    step, calls = LoRAClassifier.training_step, iter(range(100))

    def signalled(task: LoRAClassifier, *arguments: Any) -> Any:
        if next(calls) == 2:
            os.kill(os.getpid(), number)
            os.kill(os.getpid(), number)  # one that is passed on is not a second signal
        return step(task, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(LoRAClassifier, "training_step", signalled)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path, short_config)
    assert signal.getsignal(number) == before
    assert "a second signal stops at once" in capfd.readouterr().err
    last = tmp_path / "checkpoints" / "last.ckpt"
    assert torch.load(last, weights_only=True)["global_step"] == 3
    assert train(tmp_path, short_config, last).metrics == uninterrupted[0]


def test_a_damaged_or_foreign_checkpoint_is_refused_with_its_path_and_the_one_before(
    short_config: TrainConfig,
    uninterrupted: tuple[dict[str, float], dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kill(monkeypatch, "training_step", 12, tmp_path, short_config)
    last, previous = (tmp_path / "checkpoints" / name for name in ("last.ckpt", "previous.ckpt"))
    content = last.read_bytes()
    with pytest.raises(
        UserError, match=r"last\.ckpt: was written by a run with other training rows.*resume=.*previous\.ckpt"
    ):
        read_checkpoint(last, {"data": "other"})
    for damaged in (content[: len(content) // 2], b"", b"not a checkpoint"):
        last.write_bytes(damaged)
        with pytest.raises(UserError, match=r"last\.ckpt: damaged, or not a checkpoint.*resume=.*previous\.ckpt"):
            train(tmp_path, short_config, last)
    assert train(tmp_path, short_config, previous).metrics == uninterrupted[0]


def test_other_rows_are_another_run(short_config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert short_config.data.train_file
    own, rows = copy.deepcopy(short_config), tmp_path / "rows.csv"
    shutil.copy(short_config.data.train_file, rows)
    own.data.train_file = str(rows)
    kill(monkeypatch, "training_step", 6, tmp_path / "run", own)
    rows.write_text(rows.read_text().replace("war 0", "peace 0"))
    with pytest.raises(UserError, match="was written by a run with other training rows"):
        train(tmp_path / "run", own, resume=tmp_path / "run")


def test_a_checkpoint_that_would_be_unpacked_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "last.ckpt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * 100_000_000)
    with pytest.raises(UserError, match=r"last\.ckpt: damaged, or not a checkpoint .* \(its checksums do not match\)"):
        read_checkpoint(tmp_path / "last.ckpt", {})
