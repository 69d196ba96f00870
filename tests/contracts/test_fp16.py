"""16-mixed with a loss scaler, simulated on a CPU: Lightning's fp16 plugin with a GradScaler for the CPU."""

import copy
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import Tensor

from lora_agnews.config.schema import TrainConfig
from lora_agnews.inference.classifier import open_run
from lora_agnews.inference.export import MAX_DIFFERENCE, export
from lora_agnews.results.record import Status
from lora_agnews.training import trainer as trainer_module
from lora_agnews.training.task import LoRAClassifier
from tests.resuming import kill, train


@pytest.fixture(autouse=True)
def _fp16_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = L.Trainer

    def with_scaler(**options: Any) -> L.Trainer:
        del options["precision"]
        plugin = MixedPrecision("16-mixed", device="cpu", scaler=torch.amp.GradScaler("cpu", init_scale=1024.0))
        return trainer(**options, plugins=plugin)

    monkeypatch.setattr(trainer_module.L, "Trainer", with_scaler)


@pytest.fixture
def config(short_config: TrainConfig) -> TrainConfig:
    """One epoch of 12 steps with a checkpoint wherever one can be written."""
    changed = copy.deepcopy(short_config)
    changed.trainer.max_epochs, changed.trainer.checkpoint_every = 1, 1
    changed.optim.schedule = "constant"  # a schedule warns if the first step is skipped
    changed.trainer.early_stopping_patience, changed.trainer.val_check_interval = 0, 1.0
    return changed


def last_checkpoint(run_dir: Path) -> dict[str, Any]:
    saved: dict[str, Any] = torch.load(run_dir / "checkpoints" / "last.ckpt", weights_only=True)
    return {key: saved[key] for key in ("state_dict", "optimizer_states", "MixedPrecision", "random", "best")}


def test_a_killed_and_resumed_run_is_the_uninterrupted_one(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(tmp_path / "whole", config)
    assert (whole.status, whole.environment["precision"]) == (Status.FINISHED, "16-mixed")
    kill(monkeypatch, "training_step", 8, tmp_path / "killed", config)
    assert train(tmp_path / "killed", config, tmp_path / "killed").metrics == whole.metrics
    torch.testing.assert_close(
        last_checkpoint(tmp_path / "killed"), last_checkpoint(tmp_path / "whole"), rtol=0, atol=0
    )
    assert export(open_run(tmp_path / "whole"), "merged", tmp_path / "merged", force=False).difference <= MAX_DIFFERENCE


@pytest.mark.parametrize("head", ["full", "lora", "out_proj"])
def test_every_head_trains_with_clipping_and_accumulation(config: TrainConfig, tmp_path: Path, head: str) -> None:
    changed = copy.deepcopy(config)
    changed.model.head, changed.trainer.gradient_clip, changed.trainer.accumulate = head, 0.5, 2
    result = train(tmp_path, changed)
    assert result.status == Status.FINISHED
    assert result.throughput["skipped_steps"] == 0


def spoil(monkeypatch: pytest.MonkeyPatch, first: int, last: int) -> None:
    """Make the loss of these steps not a number."""
    step, calls = LoRAClassifier.training_step, iter(range(1, 100))

    def spoiled(task: LoRAClassifier, *arguments: Any) -> Tensor:
        loss = step(task, *arguments)
        return loss * float("nan") if first <= next(calls) <= last else loss

    monkeypatch.setattr(LoRAClassifier, "training_step", spoiled)


def test_steps_that_overflow_are_skipped_and_counted(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, first=3, last=5)
    result = train(tmp_path, config)
    assert result.status == Status.FINISHED
    assert result.throughput["skipped_steps"] == 3


def test_a_run_whose_loss_scale_collapses_has_failed(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, first=2, last=100)
    result = train(tmp_path, config)
    assert result.status == Status.FAILED
    assert "loss scale of 16-mixed fell to" in (result.error or "")
    assert "at step 12" in (result.error or "")
    assert "trainer.precision=bf16-mixed" in (result.error or "")


def test_a_run_whose_loss_is_not_a_number_has_failed(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward, calls = LoRAClassifier.forward, iter(range(1, 100))

    def not_a_number(task: LoRAClassifier, *arguments: Any) -> Tensor:
        logits = forward(task, *arguments)
        return logits * float("nan") if task.training and next(calls) <= 2 else logits

    monkeypatch.setattr(LoRAClassifier, "forward", not_a_number)
    result = train(tmp_path, config)
    assert result.status == Status.FAILED
    assert "the training loss of epoch 1 is not finite at step 12" in (result.error or "")
    assert not (tmp_path / "adapter").exists()
