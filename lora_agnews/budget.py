"""The rule of the project: at most 1,000,000 trainable parameters. Count them, compare, and refuse.

Works on the names and shapes of parameters, whether of a built model or of a predicted one (model/lora.py).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from math import prod
from typing import TYPE_CHECKING, Any

from lora_agnews.errors import BudgetExceeded

if TYPE_CHECKING:  # a typo on the command line is reported without importing torch
    from torch import Tensor, nn

HARD_LIMIT = 1_000_000  # trainable parameters; a configuration may ask for less, never for more
MAX_RANK = 1024
GROUPS = ("lora", "lora_head", "head", "bias", "other")
WRAPPERS = ("base_layer", "default", "modules_to_save")  # what PEFT puts into the names of parameters


@dataclass(frozen=True)
class Budget:
    """What a model trains: name and shape of every parameter that gets a gradient, and the size of the whole model.

    `head` names the layers of the classification head. `r` is the rank if one key sets it for all adapters; only a
    prediction knows it.
    """

    limit: int
    total: int
    trained: dict[str, tuple[int, ...]]
    head: tuple[str, ...] = field(default=(), compare=False)
    r: int | None = field(default=None, compare=False)

    @property
    def trainable(self) -> int:
        return sum(map(prod, self.trained.values()))

    @property
    def fits(self) -> bool:
        return self.trainable <= self.limit

    @property
    def room(self) -> int:
        """Parameters left below the limit; negative where it is exceeded."""
        return self.limit - self.trainable

    @property
    def groups(self) -> dict[str, int]:
        """Group -> parameters. `lora` and `head` are always there, `lora_head`, `bias` and `other` if not 0."""
        sizes = self._sum_by(lambda name: self._place(name)[0])
        return {group: sizes[group] for group in GROUPS if sizes[group] or group in ("lora", "head")}

    @property
    def modules(self) -> dict[str, int]:
        """Names such as "lora query" and "head classifier.out_proj" -> parameters, in the order of the groups."""
        sizes = self._sum_by(lambda name: "{} {}".format(*self._place(name)))
        order = sorted(sizes, key=lambda label: GROUPS.index(label.split()[0]))
        return {label.replace("lora_head", "lora"): sizes[label] for label in order}

    @property
    def layers(self) -> dict[str, int]:
        """embeddings, layer numbers, head -> parameters. What trains nothing is left out."""
        sizes, ends = self._sum_by(self._layer), {"embeddings": -1, "head": 10**6}
        return {layer: sizes[layer] for layer in sorted(sizes, key=lambda name: int(ends.get(name) or name))}

    @property
    def max_r(self) -> int | None:
        """The largest r within the limit, all else equal. 0 if not even 1 fits, None if no single key sets the rank."""
        if self.r is None:
            return None
        sides = ((".lora_A.", 1), (".lora_B.", 0))
        per_rank = sum(shape[side] for name, shape in self.trained.items() for part, side in sides if part in name)
        return min(MAX_RANK, max(0, (self.room + per_rank * self.r) // per_rank))

    def to_dict(self) -> dict[str, Any]:
        """Return the values that result.json and `budget --json` contain."""
        keys = ("trainable", "limit", "total", "fits", "room", "max_r", "groups", "modules", "layers")
        return {key: getattr(self, key) for key in keys}

    def check(self, remedies: Iterable[str] = ()) -> None:
        """Raises: BudgetExceeded, if the model trains more than the limit. `remedies` are offered after the rank."""
        if self.fits:
            return
        parts = " + ".join(f"{count:,} {group}" for group, count in self.groups.items())
        choices = [f"r <= {self.max_r}"] if self.max_r else []
        choices += remedies
        advice = f" Use {' or '.join(choices)}." if choices else ""
        lowered = "" if self.limit == HARD_LIMIT else " (budget.max_trainable)"
        rank = f"model.lora.r={self.r} needs" if self.r else "the model trains"
        raise BudgetExceeded(
            f"{rank} {self.trainable:,} trainable parameters ({parts}); "
            f"the limit is {self.limit:,}{lowered}: {-self.room:,} too many.{advice}"
        )

    def _sum_by(self, key: Callable[[str], str]) -> Counter[str]:
        sizes: Counter[str] = Counter()
        for name, shape in self.trained.items():
            sizes[key(name)] += prod(shape)
        return sizes

    def _head_layer(self, name: str) -> str | None:
        """Return the head layer that a parameter belongs to, if any."""
        path = "." + ".".join(part for part in name.split(".") if part not in WRAPPERS)
        return next((layer for layer in self.head if f".{layer}." in path), None)

    def _place(self, name: str) -> tuple[str, str]:
        """(group, module) of a parameter: `...attention.self.query.lora_A.default.weight` -> ("lora", "query")."""
        path = [part for part in name.split(".") if part not in WRAPPERS]
        lora = next((i for i, part in enumerate(path) if part.startswith("lora_")), None)
        head = self._head_layer(name)
        if head:
            return ("lora_head" if lora is not None else "head"), ".".join(head.split(".")[-2:])
        layer = path[: lora if lora is not None else -1] or [name]
        inside = max((i + 1 for i, part in enumerate(layer) if part.isdecimal()), default=-1)
        module = ".".join(layer[inside:]) if layer[-1] in ("dense", "LayerNorm") else layer[-1]
        if lora is not None:
            return "lora", module
        return ("bias" if path[-1] == "bias" else "other"), module

    def _layer(self, name: str) -> str:
        number = layer_number(name)
        return str(number) if number is not None else "head" if self._head_layer(name) else "embeddings"


def layer_number(name: str) -> int | None:
    """Return the number of the encoder layer that a module or parameter belongs to: the first number in its name."""
    number = re.search(r"\.(\d+)(\.|$)", name)
    return int(number[1]) if number else None


def trainable_parameters(model: nn.Module) -> dict[str, Tensor]:
    """Return name -> parameter for every parameter that gets a gradient. A tied parameter appears once."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def count(model: nn.Module, limit: int = HARD_LIMIT, head: tuple[str, ...] = ()) -> Budget:
    """Count what a built model trains. It may be a PEFT model or a plain one, also on the meta device."""
    return Budget(
        limit=limit,
        total=sum(parameter.numel() for parameter in model.parameters()),
        trained={name: tuple(parameter.shape) for name, parameter in trainable_parameters(model).items()},
        head=head,
    )


def recount(budget: Budget, model: nn.Module) -> Budget:
    """Count again what a model trains. Limit, head and total stay, also if the model runs without its prefix."""
    return replace(count(model, budget.limit, budget.head), r=budget.r, total=budget.total)
