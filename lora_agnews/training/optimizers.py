"""Optimizers and learning rate schedules, by the names of config/choices.py."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from lora_agnews.budget import trainable_parameters
from lora_agnews.config.choices import Optimizer, Schedule
from lora_agnews.errors import BudgetExceeded

OPTIMIZERS: dict[Optimizer, type[torch.optim.Optimizer]] = {
    Optimizer.ADAM: torch.optim.Adam,
    Optimizer.ADAMW: torch.optim.AdamW,
}
SCHEDULES: dict[Schedule, Callable[[float], float]] = {  # progress after the warm-up, 0 to 1 -> factor of lr
    Schedule.CONSTANT: lambda progress: 1.0,
    Schedule.LINEAR: lambda progress: 1.0 - progress,
    Schedule.COSINE: lambda progress: 0.5 * (1.0 + math.cos(math.pi * progress)),
}


def build_optimizer(
    model: nn.Module, name: str, lr: float, lora_plus_ratio: float, weight_decay: float
) -> torch.optim.Optimizer:
    """Build the optimizer of everything that is trained."""
    groups = parameter_groups(model, lr, lora_plus_ratio)
    return OPTIMIZERS[Optimizer(name)](groups, lr=lr, weight_decay=weight_decay)  # type: ignore[call-arg]


def parameter_groups(model: nn.Module, lr: float, lora_plus_ratio: float) -> list[dict[str, Any]]:
    """Return the optimizer's groups. With LoRA+, the adapters' B matrices learn `lora_plus_ratio` times as fast.

    Source: Hayou et al. 2024, LoRA+: Efficient Low Rank Adaptation of Large Models, section 4.
    """
    trained = trainable_parameters(model)
    fast = [parameter for name, parameter in trained.items() if ".lora_B." in name and lora_plus_ratio != 1]
    rest = [parameter for name, parameter in trained.items() if ".lora_B." not in name or lora_plus_ratio == 1]
    groups = [{"params": rest, "lr": lr}, {"params": fast, "lr": lr * lora_plus_ratio}]
    return [group for group in groups if group["params"]]


def build_schedule(optimizer: torch.optim.Optimizer, name: str, warmup_fraction: float, steps: int) -> LambdaLR | None:
    """Build the schedule for a run of `steps` optimizer steps. None if the learning rate stays constant throughout."""
    after_warmup, warmup = SCHEDULES[Schedule(name)], round(warmup_fraction * steps)
    if name == Schedule.CONSTANT and not warmup:
        return None  # a scheduler costs 0.1 ms per step even if it changes nothing

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        return after_warmup(min(1.0, (step - warmup) / max(1, steps - warmup)))

    return LambdaLR(optimizer, factor)


def check_optimizers(optimizers: Sequence[torch.optim.Optimizer], limit: int) -> None:
    """Raises: BudgetExceeded, if the optimizers hold more than `limit` parameters."""
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    held = sum({id(parameter): parameter.numel() for group in groups for parameter in group["params"]}.values())
    if held > limit:
        raise BudgetExceeded(f"the optimizer holds {held:,} parameters; the limit is {limit:,}")
