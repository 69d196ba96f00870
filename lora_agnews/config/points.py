"""The points of a sweep: every combination of the values that vary, and the name of a run among them."""

import re
from collections.abc import Iterator, Sequence
from itertools import product
from math import prod
from typing import Any

from hydra.core.override_parser.types import Override

from lora_agnews.config.compose import compose_typed, hydra_initialized
from lora_agnews.config.identity import config_hash
from lora_agnews.config.keys import ALIASES
from lora_agnews.config.overrides import has_listed_values, parse_overrides
from lora_agnews.config.rules import config_keys, to_override
from lora_agnews.config.schema import TrainConfig
from lora_agnews.errors import UserError

Points = list[tuple[dict[str, Any], TrainConfig]]


def expand_points(overrides: Sequence[str]) -> Points:
    """List every combination that overrides such as `lora.r=1,2 seed=0,1` ask for: {key: value} and configuration.

    Raises: UserError, as `compose_config`, and for a sweep that is not a list of values.
    """
    points = []
    with hydra_initialized():
        for values, line in command_lines(overrides):
            config = compose_typed(line)
            found = {key: value for key, _, value in config_keys(config)}
            points.append(({key: found.get(ALIASES.get(key, key), value) for key, value in values.items()}, config))
    return points


def varying_keys(overrides: Sequence[str]) -> tuple[list[str], int | None]:
    """Return the keys that a multirun varies, and the number of its points: None if Hydra's sweeper draws them."""
    with hydra_initialized():
        swept: list[Override] = [each for each in parse_overrides(overrides, multirun=True) if each.is_sweep_override()]
        listed = all(map(has_listed_values, swept))
        number = prod(len(list(override.sweep_string_iterator())) for override in swept) if listed else None
    return [override.get_key_element() for override in swept], number


def name_run(config: TrainConfig, varying: dict[str, Any]) -> str:
    """Name the directory of a run in a sweep: what varies, and 6 digits of the hash of all values."""
    parts = [f"{key.rpartition('.')[2]}={to_override(value)}" for key, value in varying.items()]
    name = re.sub(r"[^\w.,=+-]", "_", ",".join(parts))[:100]
    return f"{name or 'run'}-{config_hash(config.to_dict())[:6]}"


def command_lines(overrides: Sequence[str]) -> Iterator[tuple[dict[str, str], list[str]]]:
    """Yield each combination of the values that vary, as they are typed, and its command line."""
    parsed = parse_overrides(overrides, multirun=True)
    swept = [override for override in parsed if override.is_sweep_override()]
    for override in swept:
        if not has_listed_values(override):
            raise UserError(f"{override.input_line}: only lists of values such as 1,2,4 can be counted")
    fixed = [override.input_line or "" for override in parsed if override not in swept]
    keys = [override.get_key_element() for override in swept]
    for values in product(*(list(override.sweep_string_iterator()) for override in swept)):
        typed = {key: str(value) for key, value in zip(keys, values, strict=True)}
        yield typed, [*fixed, *(f"{key}={value}" for key, value in typed.items())]
