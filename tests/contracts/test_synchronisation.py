"""Training steps do not wait for the GPU: no value of a tensor is read, but for the log entry every few steps."""

import copy
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop

from lora_agnews.config.schema import TrainConfig
from tests.resuming import train

READING = ("item", "tolist", "cpu", "__bool__", "__float__", "__int__")


def test_a_step_reads_no_value_unless_it_is_logged(
    short_config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps, read, training = Counter[str](), Counter[str](), False
    advance = _TrainingEpochLoop.advance

    def step(loop: Any, data: Any) -> None:
        nonlocal training
        steps["logged" if (loop.global_step + 1) % loop.trainer.log_every_n_steps == 0 else "others"] += 1
        training = True
        advance(loop, data)
        training = False

    def counting(name: str) -> Any:
        original = getattr(torch.Tensor, name)

        def call(tensor: torch.Tensor, *arguments: Any) -> Any:
            caller = sys._getframe(1).f_code.co_filename
            if training and "torch/optim" not in caller:  # optimizers keep the number of their steps on the CPU
                read[f"{name} in {Path(caller).name}"] += 1
            return original(tensor, *arguments)

        return call

    monkeypatch.setattr(_TrainingEpochLoop, "advance", step)
    for name in READING:
        monkeypatch.setattr(torch.Tensor, name, counting(name))
    config = copy.deepcopy(short_config)
    config.trainer.checkpoint_every = 1000  # a checkpoint is a copy of tensors, too
    assert train(tmp_path, config).succeeded
    assert steps["others"] >= steps["logged"] > 0
    assert read == {"item in apply_func.py": 3 * steps["logged"]}, "loss, learning rate, norm of the gradient"
