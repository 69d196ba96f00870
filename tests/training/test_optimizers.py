"""Optimizers and schedules, by their names in the configuration."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch

from lora_agnews.model.build import build_model
from lora_agnews.model.encoder import find_encoder
from lora_agnews.model.lora import LoraSpec
from lora_agnews.training.optimizers import parameter_groups
from tests.toys import Toy, loader, make_task, make_trainer


@pytest.mark.parametrize(
    ("schedule", "warmup", "expected"),
    [
        ("constant", 0.0, [1.0] * 10),
        ("linear", 0.0, [1 - i / 10 for i in range(10)]),
        ("cosine", 0.0, [0.5 * (1 + torch.cos(torch.tensor(i * torch.pi / 10)).item()) for i in range(10)]),
        ("linear", 0.2, [1 / 3, 2 / 3, *(1 - i / 8 for i in range(8))]),
        ("constant", 0.5, [i / 6 for i in range(1, 6)] + [1.0] * 5),
    ],
)
def test_the_learning_rate_follows_its_schedule(
    tmp_path: Path, schedule: str, warmup: float, expected: list[float]
) -> None:
    rates: list[float] = []

    class Watch(L.Callback):
        def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
            rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    task = make_task(Toy(), lr=1.0, schedule=schedule, warmup_fraction=warmup)
    make_trainer(tmp_path, Watch(), max_epochs=-1, max_steps=10).fit(task, loader())
    assert rates == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("name", "kind"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)])
def test_the_optimizer_holds_what_is_trained_and_nothing_else(tmp_path: Path, name: str, kind: type) -> None:
    task = make_task(Toy(), optimizer=name, weight_decay=0.003)
    trainer = make_trainer(tmp_path, max_steps=1)
    trainer.fit(task, loader())
    (optimizer,) = trainer.optimizers
    assert type(optimizer) is kind
    assert sum(p.numel() for group in optimizer.param_groups for p in group["params"]) == 16 * 4 + 4
    assert optimizer.param_groups[0]["weight_decay"] == 0.003


def test_with_lora_plus_the_adapters_b_learn_faster(lora: Callable[..., LoraSpec]) -> None:
    model = build_model(find_encoder("tiny", None), lora(), seed=0)
    (everything,) = parameter_groups(model, 0.1, 1.0)
    slow, fast = parameter_groups(model, 0.1, 16.0)
    assert (slow["lr"], fast["lr"]) == (0.1, 1.6)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert all(".lora_B." in names[id(parameter)] for parameter in fast["params"])
    assert not any(".lora_B." in names[id(parameter)] for parameter in slow["params"])
    assert len(slow["params"]) + len(fast["params"]) == len(everything["params"])
