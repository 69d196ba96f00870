"""The monitored metric: the one definition that checkpoints, early stopping, rankings and studies share."""

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Monitor:
    """A metric and the direction in which it improves: mode "max" or "min", as Lightning calls it."""

    key: str
    mode: str

    @property
    def label(self) -> str:
        """The metric in words, for the head of a column: "val accuracy"."""
        return self.key.replace("/", " ").replace("_", " ")

    @property
    def worst(self) -> float:
        """A value that any other improves on."""
        return -math.inf if self.mode == "max" else math.inf

    def is_better(self, value: float, than: float) -> bool:
        return value > than if self.mode == "max" else value < than

    def best(self, values: Iterable[float]) -> float:
        return max(values) if self.mode == "max" else min(values)

    def cost(self, value: float) -> float:
        """The value with the sign that makes smaller better, for sorting."""
        return -value if self.mode == "max" else value


MONITOR = Monitor("val/accuracy", "max")
