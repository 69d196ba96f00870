"""The rule of the project: at most 1,000,000 trainable parameters. Counts, compares, says what would fit.

Knows nothing of configs, adapters or Lightning: it reads names and shapes, of a built model or of a predicted one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # a typo on the command line is told without loading torch
    from torch import Tensor, nn

HARD_LIMIT = 1_000_000  # trainable parameters; a config may ask for less, never for more
MAX_RANK = 1024
GROUPS = ("lora", "lora_head", "head", "bias", "other")
HEAD = re.compile(r"(?:^|\.)(classifier|pre_classifier|pooler)(?:\.|$)")


class BudgetExceeded(ValueError):
    """The model trains more parameters than the limit; the message says by how much and what would fit."""


@dataclass(frozen=True)
class Budget:
    """What a model trains: every parameter that gets a gradient, by name and shape, of how many in all.

    `r` is the rank if one key sets that of all adapters: a prediction knows it, a count does not.
    """

    limit: int
    total: int
    trained: dict[str, tuple[int, ...]]
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
        """Parameters of lora, lora_head, head, bias and other; lora and head always, the others where there are any."""
        sizes = self._by(lambda name: _place(name)[0])
        return {group: sizes[group] for group in GROUPS if sizes[group] or group in ("lora", "head")}

    @property
    def modules(self) -> dict[str, int]:
        """Such as "lora query" and "head classifier.out_proj" -> parameters, in the order of the groups."""
        sizes = self._by(lambda name: "{} {}".format(*_place(name)))
        order = sorted(sizes, key=lambda label: GROUPS.index(label.split()[0]))
        return {label.replace("lora_head", "lora"): sizes[label] for label in order}

    @property
    def layers(self) -> dict[str, int]:
        """embeddings, the layers by their numbers, head -> parameters; what trains nothing is left out."""
        sizes, ends = self._by(_layer), {"embeddings": -1, "head": 10**6}
        return {layer: sizes[layer] for layer in sorted(sizes, key=lambda name: int(ends.get(name) or name))}

    @property
    def max_r(self) -> int | None:
        """The largest r within the limit, all else equal; 0 if not even 1 fits, None if no one key sets the rank."""
        if self.r is None:
            return None
        sides = ((".lora_A.", 1), (".lora_B.", 0))
        per_rank = sum(shape[side] for name, shape in self.trained.items() for part, side in sides if part in name)
        return min(MAX_RANK, max(0, (self.room + per_rank * self.r) // per_rank))

    def to_dict(self) -> dict[str, Any]:
        """What `result.json` and `budget --json` hold."""
        keys = ("trainable", "limit", "total", "fits", "room", "max_r", "groups", "modules", "layers")
        return {key: getattr(self, key) for key in keys}

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
            f"the limit is {self.limit:,}: {-self.room:,} too many.{advice}"
        )

    def _by(self, key: Callable[[str], str]) -> Counter[str]:
        sizes: Counter[str] = Counter()
        for name, shape in self.trained.items():
            sizes[key(name)] += prod(shape)
        return sizes


def trainable_parameters(model: nn.Module) -> dict[str, Tensor]:
    """Name -> parameter of everything that gets a gradient; a tied parameter appears once."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def count(model: nn.Module, limit: int = HARD_LIMIT) -> Budget:
    """The budget of a built model (PEFT model or plain one), also on the meta device."""
    return Budget(
        limit=limit,
        total=sum(parameter.numel() for parameter in model.parameters()),
        trained={name: tuple(parameter.shape) for name, parameter in trainable_parameters(model).items()},
    )


def _place(name: str) -> tuple[str, str]:
    """(group, module) of a parameter: `...attention.self.query.lora_A.default.weight` -> ("lora", "query")."""
    path = [part for part in name.split(".") if part not in ("base_layer", "default", "modules_to_save")]
    lora = next((i for i, part in enumerate(path) if part.startswith("lora_")), None)
    layer = path[: lora if lora is not None else -1] or [name]
    head = HEAD.search(name)
    if head:
        return ("lora_head" if lora is not None else "head"), ".".join(layer[layer.index(head[1]) :])
    inside = next((i + 2 for i, part in enumerate(layer) if part == "layer"), -1)
    module = ".".join(layer[inside:]) if layer[-1] in ("dense", "LayerNorm") else layer[-1]
    if lora is not None:
        return "lora", module
    return ("bias" if path[-1] == "bias" else "other"), module


def _layer(name: str) -> str:
    number = re.search(r"\.layers?\.(\d+)\.", name)
    return number[1] if number else "head" if HEAD.search(name) else "embeddings"
