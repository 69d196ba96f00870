"""What the record of a run says of memory, time and processes."""

import copy
import time
from pathlib import Path

import pytest
import torch

from lora_agnews.config.compose import compose_config
from lora_agnews.config.schema import TrainConfig
from lora_agnews.results.record import RunResult, Status
from lora_agnews.training import trainer as trainer_module
from lora_agnews.training.callbacks import PruningCallback
from lora_agnews.training.in_sweep import InSweep
from lora_agnews.training.recording import recorded
from lora_agnews.training.task import LoRAClassifier
from tests.resuming import kill, train


def test_the_seconds_of_a_resumed_run_are_those_of_all_its_processes(
    short_config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow_step(task: LoRAClassifier, *arguments: object) -> object:
        time.sleep(0.05)
        return step(task, *arguments)  # type: ignore[arg-type]

    step = LoRAClassifier.training_step
    monkeypatch.setattr(LoRAClassifier, "training_step", slow_step)
    kill(monkeypatch, "training_step", 20, tmp_path, short_config)
    monkeypatch.undo()
    result = train(tmp_path, short_config, tmp_path)
    assert result.seconds["earlier"] > 16 * 0.05, "the steps before the checkpoint"
    assert result.seconds["total"] > result.seconds["earlier"]
    assert result.seconds["total"] >= result.seconds["train"]


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
    ids=["cuda", "cpu"],
)
def test_out_of_memory_names_the_keys_that_help(tmp_path: Path, error: Exception) -> None:
    with recorded(compose_config(["model=tiny"]), tmp_path, None):
        raise error
    result = RunResult.load(tmp_path)
    assert result.status == Status.FAILED
    for key in ("out of memory (", "data.batch_size", "trainer.accumulate", "data.max_length"):
        assert key in (result.error or "")


def test_fewer_processes_than_devices_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a Slurm job with one task, where Lightning would run one process of two."""
    config = copy.deepcopy(compose_config(["model=tiny", "trainer.accelerator=cpu", "trainer.precision=32-true"]))
    monkeypatch.setattr(trainer_module.L.Trainer, "world_size", 1)
    config.trainer.devices = 2
    with pytest.raises(RuntimeError, match=r"trainer\.devices=2, but this run has 1 process.*srun --ntasks-per-node=2"):
        trainer_module.build_trainer(config.trainer, tmp_path, 5, [], {}, None, InSweep())  # type: ignore[arg-type]


def test_pruners_count_validations_also_after_a_resume() -> None:
    seen: list[int] = []
    callback = PruningCallback(lambda number, score: bool(seen.append(number)))
    callback.validations = 3
    resumed = PruningCallback(lambda number, score: bool(seen.append(number)))
    resumed.load_state_dict(callback.state_dict())
    assert resumed.validations == 3
