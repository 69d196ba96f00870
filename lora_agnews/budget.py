"""The rule of the project: at most 1,000,000 trainable parameters. Counts, compares, says what would fit.

Knows nothing of configs, adapters or Lightning: it reads `requires_grad` of a module, on any device, meta included.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # a typo on the command line is told without loading torch
    from torch import Tensor, nn

HARD_LIMIT = 1_000_000  # trainable parameters; a config may ask for less, never for more
GROUPS = ("lora", "lora_head", "head", "other")


class BudgetExceeded(ValueError):
    """The model trains more parameters than the limit; the message says by how much and what would fit."""


@dataclass(frozen=True)
class Budget:
    """What a model trains: parameters by group and by module, of how many in all."""

    limit: int
    total: int
    modules: dict[str, int] = field(default_factory=dict)  # "lora query", "head out_proj", ... -> parameters
    groups: dict[str, int] = field(default_factory=dict)  # lora | lora_head | head | other -> parameters
    per_rank: int = 0  # parameters that one more LoRA rank adds
    r: int = 0

    @property
    def trainable(self) -> int:
        return sum(self.groups.values())

    @property
    def fits(self) -> bool:
        return self.trainable <= self.limit

    @property
    def max_r(self) -> int:
        """The largest LoRA rank within the limit, all else equal; 0 if not even r=1 fits or nothing has a rank."""
        if not self.per_rank:
            return 0
        fixed = self.trainable - self.per_rank * self.r
        return max(0, (self.limit - fixed) // self.per_rank)

    def to_dict(self) -> dict[str, Any]:
        """What `result.json` and `budget --json` hold."""
        return {
            "trainable": self.trainable,
            "limit": self.limit,
            "total": self.total,
            "fits": self.fits,
            "max_r": self.max_r,
            "groups": self.groups,
        }

    def check(self, remedies: Iterable[str] = ()) -> None:
        """Raises: BudgetExceeded, if more is trained than the limit; `remedies` are offered after the rank."""
        if self.fits:
            return
        parts = " + ".join(f"{count:,} {group}" for group, count in self.groups.items())
        choices = [f"r <= {self.max_r}"] if self.max_r else []
        choices += remedies
        advice = f" Use {' or '.join(choices)}." if choices else ""
        rank = f"model.lora.r={self.r} needs" if self.r else "the model trains"
        raise BudgetExceeded(
            f"{rank} {self.trainable:,} trainable parameters ({parts}); "
            f"the limit is {self.limit:,}: {self.trainable - self.limit:,} too many.{advice}"
        )


def trainable_parameters(model: nn.Module) -> dict[str, Tensor]:
    """Name -> parameter of everything that gets a gradient; a tied parameter appears once."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def count(model: nn.Module, limit: int = HARD_LIMIT) -> Budget:
    """The budget of a built model (Lightning module, PEFT model or plain one), also on the meta device."""
    modules: dict[str, int] = {}
    groups = dict.fromkeys(GROUPS, 0)
    per_rank, r = 0, 0
    for name, parameter in trainable_parameters(model).items():
        group, module = _place(name)
        groups[group] += parameter.numel()
        label = f"{group.replace('_head', '')} {module}"
        modules[label] = modules.get(label, 0) + parameter.numel()
        if "lora_A" in name:
            r = parameter.shape[0]
        if "lora_A" in name or "lora_B" in name:
            per_rank += parameter.numel() // (parameter.shape[0] if "lora_A" in name else parameter.shape[1])
    return Budget(
        limit=limit,
        total=sum(parameter.numel() for parameter in model.parameters()),
        modules=modules,
        groups={group: size for group, size in groups.items() if size or group in ("lora", "head")},
        per_rank=per_rank,
        r=r,
    )


def _place(name: str) -> tuple[str, str]:
    """(group, module) of a parameter: `...attention.self.query.lora_A.default.weight` -> ("lora", "query")."""
    path = [part for part in name.split(".") if part not in ("base_layer", "default", "modules_to_save")]
    in_head = "classifier" in path
    lora = next((i for i, part in enumerate(path) if part.startswith("lora_")), None)
    module = path[lora - 1 if lora is not None else -2] if len(path) > 1 else name
    if in_head:
        return ("lora_head" if lora is not None else "head"), f"classifier.{module}"
    return ("lora" if lora is not None else "other"), module
