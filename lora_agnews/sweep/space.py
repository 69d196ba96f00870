"""The space of a study: what may vary and on what condition, and the points of it."""

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from lora_agnews.config import UserError, spelled

Point = dict[str, Any]  # key -> value
WRITTEN = (
    "a list of values, or {choices: [...]} or {low: ..., high: ..., log: true}, with or without when: {key: value}"
)


@dataclass(frozen=True)
class Axis:
    """A key that varies: over `choices`, or from `low` to `high`, whole numbers if both are."""

    key: str
    choices: list[Any] = field(default_factory=list)
    low: float = 0
    high: float = 0
    log: bool = False
    when: dict[str, list[Any]] = field(default_factory=dict)  # earlier key -> values with which this one varies

    @property
    def whole(self) -> bool:
        return type(self.low) is int and type(self.high) is int

    @property
    def ends(self) -> list[Any]:
        """Values to check before anything runs."""
        return self.choices or [self.low, self.high]

    def applies(self, point: Point) -> bool:
        return all(key in point and point[key] in values for key, values in self.when.items())

    def draw(self, rng: random.Random) -> Any:
        if self.choices:
            return rng.choice(self.choices)
        if self.log:
            value = math.exp(rng.uniform(math.log(self.low), math.log(self.high)))
            return min(int(self.high), max(int(self.low), round(value))) if self.whole else value
        return rng.randint(int(self.low), int(self.high)) if self.whole else rng.uniform(self.low, self.high)


def read_space(space: dict[str, Any]) -> list[Axis]:
    """Raises: UserError, naming the key whose values can't be understood."""
    axes: list[Axis] = []
    for key, given in space.items():
        values = {"choices": given} if isinstance(given, list) else given
        if not isinstance(values, dict) or not set(values) <= {"choices", "low", "high", "log", "when"}:
            raise UserError(f"space.{key}={spelled(given)}: must be {WRITTEN}")
        when = {other: each if isinstance(each, list) else [each] for other, each in values.get("when", {}).items()}
        axis = Axis(key, **{**values, "choices": [plain(each) for each in values.get("choices", [])], "when": when})
        ordered = type(axis.low) in (int, float) and type(axis.high) in (int, float) and axis.low < axis.high
        if bool(axis.choices) == ("low" in values or "high" in values) or not (axis.choices or ordered):
            raise UserError(f"space.{key}={spelled(given)}: must be {WRITTEN}, low below high")
        if axis.log and axis.low <= 0:
            raise UserError(f"space.{key}={spelled(given)}: log needs low above 0")
        for other in when:
            if other not in [before.key for before in axes]:
                raise UserError(f"space.{key}: when names {other}, which is no key of the space before {key}")
        axes.append(axis)
    return axes


def choose(axes: list[Axis], pick: Callable[[Axis], Any]) -> Point:
    """A point: `pick` is asked for each key that varies, given those before it."""
    point: Point = {}
    for axis in axes:
        if axis.applies(point):
            point[axis.key] = pick(axis)
    return point


def grid(axes: list[Axis]) -> Iterator[Point]:
    """Every combination. Raises: UserError, for a range."""
    for axis in axes:
        if not axis.choices:
            raise UserError(f"space.{axis.key}: sampler=grid needs a list of values; ranges go with random and tpe")

    def combine(point: Point, left: list[Axis]) -> Iterator[Point]:
        if not left:
            yield point
        elif not left[0].applies(point):
            yield from combine(point, left[1:])
        else:
            for value in left[0].choices:
                yield from combine(point | {left[0].key: value}, left[1:])

    yield from combine({}, axes)


def drawn(axes: list[Axis], seed: int) -> Iterator[Point]:
    """Random points without end, the same ones for the same seed."""
    rng = random.Random(seed)
    while True:
        yield choose(axes, lambda axis: axis.draw(rng))


def plain(value: Any) -> Any:
    """A value that Optuna can hold: lists and mappings as one types them."""
    return spelled(value) if isinstance(value, (list, dict)) else value
