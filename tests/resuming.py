"""Short runs that are killed at a given call and continued."""

import copy
import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from lora_agnews.config.schema import TrainConfig
from lora_agnews.results.predictions import PREDICTIONS_FILE, TEST_PREDICTIONS_FILE
from lora_agnews.results.record import RunResult
from lora_agnews.training.in_sweep import InSweep
from lora_agnews.training.run import ALONE, run
from lora_agnews.training.task import LoRAClassifier

TWELVE_STEPS = [
    "model=tiny", "data.max_length=12", "data.batch_size=16", "trainer.max_epochs=2", "trainer.precision=32-true",
    "trainer.val_check_interval=0.5", "trainer.checkpoint_every=4", "optim.schedule=linear", "lora.dropout=0.3",
    "optim.lr=5e-3", "logger.wandb=disabled",
]  # fmt: skip


class Killed(BaseException):
    """Stands for SIGKILL: the program catches no such exception, so nothing is saved or cleaned up."""


def train(run_dir: Path, config: TrainConfig, resume: Path | None = None, in_sweep: InSweep = ALONE) -> RunResult:
    """Start a run, or continue it from a run directory or a checkpoint."""
    run_dir.mkdir(exist_ok=True)
    config = copy.deepcopy(config)
    config.resume = str(resume) if resume else None
    return run(config, run_dir, in_sweep)


def remains(run_dir: Path) -> dict[str, Any]:
    """Read the final state of a run, to be compared bit for bit."""
    with (run_dir / "metrics.csv").open(newline="") as stream:
        curves = [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(stream)]
    last = torch.load(run_dir / "checkpoints" / "last.ckpt", weights_only=True)
    kept = {
        key: last[key] for key in ("state_dict", "optimizer_states", "lr_schedulers", "random", "best", "callbacks")
    }
    kept["callbacks"].pop("Stopwatch")
    for state in kept["callbacks"].values():
        state.pop("stopping_reason_message", None)  # the rest of the state says it in numbers, which can be compared
    kept["predictions"] = [(run_dir / name).read_bytes() for name in (PREDICTIONS_FILE, TEST_PREDICTIONS_FILE)]
    return kept | {"adapter": load_file(run_dir / "adapter" / "adapter_model.safetensors"), "curves": curves}


def kill(monkeypatch: pytest.MonkeyPatch, hook: str, call: int, run_dir: Path, config: TrainConfig) -> None:
    """Train until the `call`-th call of a hook of the task, and no further."""
    original, calls = getattr(LoRAClassifier, hook), iter(range(1, call + 1))

    def until(task: LoRAClassifier, *arguments: Any) -> Any:
        if next(calls) == call:
            raise Killed
        return original(task, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(LoRAClassifier, hook, until)
        with pytest.raises(Killed):
            train(run_dir, config)
