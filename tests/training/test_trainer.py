"""The Trainer of a run: how often it validates and logs, in which precision, and with which callbacks."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping

from lora_agnews.config.compose import compose_config
from lora_agnews.results.monitor import MONITOR
from lora_agnews.training.callbacks import PruningCallback, Stopwatch
from lora_agnews.training.checkpoint import Checkpoints
from lora_agnews.training.in_sweep import InSweep
from lora_agnews.training.trainer import build_trainer, device_of, steps_between_logs, stopped_early


def trainer_for(folder: Path, batches: int, *overrides: str, should_prune: Any = None) -> L.Trainer:
    config = compose_config(["model=tiny", "trainer.accelerator=cpu", "trainer.precision=32-true", *overrides])
    return build_trainer(
        config.trainer, folder, batches, [], {"config": "x"}, Stopwatch(0.0, 0.0), InSweep(should_prune)
    )


@pytest.mark.parametrize(
    ("steps", "between"), [(1, 2), (99, 2), (149, 2), (150, 3), (1000, 20), (2499, 49), (2500, 50), (100_000, 50)]
)
def test_an_epoch_has_about_50_log_entries_at_most_one_every_second_step(steps: int, between: int) -> None:
    assert steps_between_logs(steps) == between


def test_log_entries_count_optimizer_steps(tmp_path: Path) -> None:
    trainer = trainer_for(tmp_path, 1000, "trainer.accumulate=4")
    assert trainer.log_every_n_steps == 5  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("batches", "overrides", "between"),
    [
        (100, [], 100),
        (100, ["trainer.val_check_interval=0.25"], 25),
        (3, ["trainer.val_check_interval=0.1"], 1),
        (10, ["trainer.val_check_interval=0.25", "trainer.accumulate=4"], 4),
        (10, ["trainer.val_check_interval=0.9", "trainer.accumulate=4"], 10),
        (4, ["trainer.max_steps=6"], 4),
    ],
    ids=str,
)
def test_validations_fall_on_optimizer_steps(tmp_path: Path, batches: int, overrides: list[str], between: int) -> None:
    assert trainer_for(tmp_path, batches, *overrides).val_check_interval == between


@pytest.mark.parametrize("name", ["gpu", "cuda", "mps"])
def test_an_accelerator_that_is_missing_is_an_error_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for module in (torch.cuda, torch.backends.mps):
        monkeypatch.setattr(module, "is_available", lambda: False)
    with pytest.raises(RuntimeError, match=f"trainer.accelerator={name}: .* use trainer.accelerator=auto"):
        trainer_for(tmp_path, 3, f"trainer.accelerator={name}")


@pytest.mark.parametrize("precision", ["medium", "highest"])
def test_each_run_sets_the_precision_of_products(tmp_path: Path, precision: str) -> None:
    trainer_for(tmp_path, 3, f"trainer.matmul_precision={precision}")
    assert torch.get_float32_matmul_precision() == precision


@pytest.mark.parametrize(
    ("precision", "used", "noted"), [("16-mixed", "32-true", True), ("bf16-mixed", "bf16-mixed", False)]
)
def test_a_precision_that_needs_a_gpu_is_replaced_with_a_note(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], precision: str, used: str, noted: bool
) -> None:
    assert trainer_for(tmp_path, 10, f"trainer.precision={precision}").precision == used
    assert ("note: trainer.precision=16-mixed needs an NVIDIA GPU" in capfd.readouterr().err) == noted


def test_the_record_names_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def trainer_on(device: str) -> Any:
        return SimpleNamespace(precision="16-mixed", strategy=SimpleNamespace(root_device=torch.device(device)))

    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"the GPU {device.index}")
    assert device_of(trainer_on("cuda:1")) == {"precision": "16-mixed", "device": "cuda:1", "gpu": "the GPU 1"}
    assert device_of(trainer_on("cpu")) == {"precision": "16-mixed", "device": "cpu"}


def test_callbacks_follow_the_configuration(tmp_path: Path) -> None:
    plain = trainer_for(tmp_path, 10, "trainer.early_stopping_patience=0")
    assert plain.early_stopping_callback is None
    assert not any(isinstance(each, PruningCallback) for each in plain.callbacks)  # type: ignore[attr-defined]
    full = trainer_for(
        tmp_path, 10, "trainer.early_stopping_patience=4", "trainer.checkpoint_every=7", should_prune=lambda *_: False
    )
    early = full.early_stopping_callback
    assert isinstance(early, EarlyStopping)
    assert (early.monitor, early.mode, early.patience) == (MONITOR.key, MONITOR.mode, 4)
    (checkpoints,) = (each for each in full.callbacks if isinstance(each, Checkpoints))  # type: ignore[attr-defined]
    assert (checkpoints.folder, checkpoints.every) == (tmp_path / "checkpoints", 7)
    assert sum(isinstance(each, PruningCallback) for each in full.callbacks) == 1  # type: ignore[attr-defined]
    assert Stopwatch.of(full).samples == 0
    assert not stopped_early(full)
    early.wait_count = 4
    assert stopped_early(full)


def test_numbers_of_the_configuration_reach_the_trainer(tmp_path: Path) -> None:
    overrides = ["trainer.max_epochs=7", "trainer.accumulate=2", "trainer.gradient_clip=0.5", "trainer.max_steps=20"]
    trainer = trainer_for(tmp_path, 10, *overrides)
    assert (trainer.max_epochs, trainer.max_steps, trainer.accumulate_grad_batches) == (7, 20, 2)
    assert trainer.gradient_clip_val == 0.5
    unlimited = trainer_for(tmp_path, 10)
    assert (unlimited.max_steps, unlimited.gradient_clip_val) == (-1, None)
