"""The search space of a study: what varies, under which condition, and the points in it."""

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from lora_agnews.config.rules import to_override
from lora_agnews.errors import UserError

Point = dict[str, Any]  # key -> value
ALLOWED = (
    "a list of values, or {choices: [...]} or {low: ..., high: ..., log: true}, with or without when: {key: value}"
)
TYPES: dict[str, Any] = {"choices": list, "low": (int, float), "high": (int, float), "log": bool, "when": dict}


@dataclass(frozen=True)
class Dimension:
    """A key that varies: over `choices`, or from `low` to `high`, which are whole numbers if both ends are."""

    key: str
    choices: list[Any] = field(default_factory=list)
    low: float = 0
    high: float = 0
    log: bool = False
    when: dict[str, list[Any]] = field(default_factory=dict)  # earlier key -> its values for which this key varies

    @property
    def whole(self) -> bool:
        return type(self.low) is int and type(self.high) is int

    @property
    def values_to_check(self) -> list[Any]:
        """All choices or both ends of the range, to be checked before anything runs."""
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


def parse_space(space: dict[str, Any]) -> list[Dimension]:
    """Parse the space of a study. Raises: UserError, naming the key whose values can't be understood."""
    dimensions: list[Dimension] = []
    for key, given in space.items():
        values = {"choices": given} if isinstance(given, list) else given
        if not isinstance(values, dict) or not all(isinstance(values[name], TYPES.get(name, ())) for name in values):
            raise UserError(f"space.{key}={to_override(given)}: must be {ALLOWED}")
        when = {other: each if isinstance(each, list) else [each] for other, each in values.get("when", {}).items()}
        dimension = Dimension(
            key, **{**values, "choices": [to_optuna(each) for each in values.get("choices", [])], "when": when}
        )
        ordered = (
            type(dimension.low) in (int, float)
            and type(dimension.high) in (int, float)
            and dimension.low < dimension.high
        )
        if bool(dimension.choices) == ("low" in values or "high" in values) or not (dimension.choices or ordered):
            raise UserError(f"space.{key}={to_override(given)}: must be {ALLOWED}, low below high")
        if dimension.log and dimension.low <= 0:
            raise UserError(f"space.{key}={to_override(given)}: log needs low above 0")
        for other in when:
            if other not in [before.key for before in dimensions]:
                raise UserError(f"space.{key}: when names {other}, which must be listed before {key}")
        dimensions.append(dimension)
    return dimensions


def build_point(dimensions: list[Dimension], pick: Callable[[Dimension], Any]) -> Point:
    """Build a point: `pick` chooses the value of each key whose condition holds, in order."""
    point: Point = {}
    for dimension in dimensions:
        if dimension.applies(point):
            point[dimension.key] = pick(dimension)
    return point


def grid_points(dimensions: list[Dimension]) -> Iterator[Point]:
    """Yield every combination. Raises: UserError, for a range."""
    for dimension in dimensions:
        if not dimension.choices:
            raise UserError(
                f"space.{dimension.key}: sampler=grid needs a list of values; ranges go with random and tpe"
            )

    def combine(point: Point, left: list[Dimension]) -> Iterator[Point]:
        if not left:
            yield point
        elif not left[0].applies(point):
            yield from combine(point, left[1:])
        else:
            for value in left[0].choices:
                yield from combine(point | {left[0].key: value}, left[1:])

    yield from combine({}, dimensions)


def random_points(dimensions: list[Dimension], seed: int) -> Iterator[Point]:
    """Yield random points without end, the same ones for the same seed."""
    rng = random.Random(seed)
    while True:
        yield build_point(dimensions, lambda dimension: dimension.draw(rng))


def to_optuna(value: Any) -> Any:
    """Return a value that Optuna can store: lists and mappings as they are typed on the command line."""
    return to_override(value) if isinstance(value, (list, dict)) else value
