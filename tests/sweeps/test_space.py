"""The search space of a study: its dimensions, their conditions, and the points in it."""

from itertools import islice
from typing import Any

import pytest

from lora_agnews.errors import UserError
from lora_agnews.sweeps.space import grid_points, parse_space, random_points

CONDITIONAL = {
    "model.head": ["full", "out_proj"],
    "lora.r": {"low": 1, "high": 64, "log": True},
    "optim.lr": {"low": 1e-4, "high": 1e-2, "log": True, "when": {"model.head": "out_proj"}},
}


def test_a_grid_has_every_combination_whose_conditions_hold() -> None:
    axes = parse_space({"model.head": ["full", "lora"], "lora.r": {"choices": [1, 2], "when": {"model.head": "lora"}}})
    assert list(grid_points(axes)) == [
        {"model.head": "full"},
        {"model.head": "lora", "lora.r": 1},
        {"model.head": "lora", "lora.r": 2},
    ]


def test_random_points_are_in_their_ranges_and_the_same_for_the_same_seed() -> None:
    axes = parse_space(CONDITIONAL)
    points = list(islice(random_points(axes, 7), 300))
    assert points == list(islice(random_points(axes, 7), 300)) != list(islice(random_points(axes, 8), 300))
    assert {1, 2, 64} <= {point["lora.r"] for point in points} <= set(range(1, 65))
    assert sum(point["lora.r"] <= 8 for point in points) > 120, "half of them, where the logarithm is uniform"
    assert all(("optim.lr" in point) == (point["model.head"] == "out_proj") for point in points)
    assert all(1e-4 <= point["optim.lr"] <= 1e-2 for point in points if "optim.lr" in point)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"lora.r": 3}, "space.lora.r=3: must be a list of values, or"),
        ({"lora.r": []}, "must be a list of values"),
        ({"lora.r": {"low": 4, "high": 1}}, "low below high"),
        ({"lora.r": {"low": 0, "high": 1, "log": True}}, "log needs low above 0"),
        ({"lora.r": {"low": 1, "hihg": 2}}, "must be a list"),
        ({"lora.r": {"choices": 4}}, r"space.lora.r=\{choices:4\}: must be a list"),
        ({"lora.r": {"choices": [1], "when": "model.head"}}, "must be a list"),
        ({"lora.r": {"low": 1, "high": 4, "log": "yes"}}, "must be a list"),
        ({"lora.r": {"choices": [1], "low": 1, "high": 2}}, "must be a list"),
        ({"lora.r": {"choices": [1], "when": {"model.head": "lora"}}}, "when names model.head, which"),
    ],
    ids=str,
)
def test_a_space_that_cannot_be_read_is_refused(space: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_space(space)
