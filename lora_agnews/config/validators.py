"""Checks of the keys whose values have several types."""

import re
from typing import Any

from lora_agnews.budget import MAX_RANK
from lora_agnews.config.rules import is_name
from lora_agnews.labels import LABELS

ALL_LINEAR, BALANCED = "all-linear", "balanced"


def are_targets(value: Any) -> bool:
    """Whether a value names target modules: all-linear, a list of names, or ranks by name."""
    if isinstance(value, dict):
        ranks_fit = all(type(r) is int and 1 <= r <= MAX_RANK for r in value.values())
        return bool(value) and all(map(is_name, value)) and ranks_fit
    return value == ALL_LINEAR or (isinstance(value, list) and ALL_LINEAR not in value and all(map(is_name, value)))


def are_layers(value: Any) -> bool:
    """Whether a value selects layers: all, a slice such as "-4:", or a list of numbers."""
    if isinstance(value, str):
        return value == "all" or re.fullmatch(r"(-?\d+)?:(-?\d+)?", value) is not None
    return isinstance(value, list) and bool(value) and all(type(number) is int for number in value)


def are_class_weights(value: Any) -> bool:
    """Whether a value gives class weights: None, balanced, or a positive number for each class."""
    if isinstance(value, list):
        return len(value) == len(LABELS) and all(type(each) in (int, float) and each > 0 for each in value)
    return value in (None, BALANCED)
