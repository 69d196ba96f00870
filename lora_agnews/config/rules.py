"""What a configuration field allows: how to declare it, check it and describe it. Knows no particular key."""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import field
from typing import Any

from lora_agnews.errors import UserError

CHECKED_TYPES = (int, str, bool, int | None, str | None)  # types of a study's fields whose rule holds for one value
TYPE_NAMES = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "a non-empty string",
    "list[str]": "a list such as [a,b]",
    "list[int]": "a list such as [0,1]",
    "dict[str, typing.Any]": "a mapping, in conf/study",
}


def rule(
    meaning: str,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    below: float | None = None,
    choices: Any = (),
    valid: Callable[[Any], bool] | None = None,
    written: str = "",
    as_before: Any = dataclasses.MISSING,
) -> Any:
    """Declare a field without a default: low <= value <= high, above < value < below, or one of `choices`.

    None is not checked. A field of several types has its own check, `valid`, and its own description, `written`. A
    field that was added after version 0.1 declares `as_before`: the value that gives the behaviour from before the
    field existed. At this value it is left out of the hash of a configuration, and a config.yaml without it gets this
    value.
    """
    limits = {"low": low, "high": high, "above": above, "below": below}
    choices = tuple(map(str, choices))
    others = {"valid": valid, "written": written, "as_before": as_before}
    return field(metadata={"meaning": meaning, "choices": choices, **others, **limits})


def config_keys(config: Any, prefix: str = "") -> list[tuple[str, dataclasses.Field[Any], Any]]:
    """List (full key, field, value) for each key of a config or, for a config class, (full key, field, None)."""
    found = []
    for spec in dataclasses.fields(config):
        key, value = prefix + spec.name, None if isinstance(config, type) else getattr(config, spec.name)
        if dataclasses.is_dataclass(spec.type):
            found += config_keys(spec.type if value is None else value, f"{key}.")
        elif key != "lora":  # the alias of model.lora
            found.append((key, spec, value))
    return found


def check_value(key: str, spec: dataclasses.Field[Any], value: Any) -> None:
    """Check one value. Raises: UserError, naming key, value, what is allowed and what the key means."""
    limits = spec.metadata
    if not limits["valid"](value) if limits["valid"] else value is not None and _is_outside(spec, value):
        raise UserError(f"{key}={to_override(value)}: must be {describe_allowed(spec)} ({limits['meaning']})")


def describe_allowed(spec: dataclasses.Field[Any]) -> str:
    """Describe what a field allows, such as "a whole number at least 1 and at most 1,024"."""
    limits = spec.metadata
    if limits["written"]:
        return str(limits["written"])
    if limits["choices"]:
        return "one of " + ", ".join(limits["choices"])
    written = spec.type.__name__ if spec.type in (int, float, bool, str) else str(spec.type)
    name = TYPE_NAMES[written.removesuffix(" | None")]
    bounds = (("above", "above"), ("low", "at least"), ("below", "below"), ("high", "at most"))
    shown = " and ".join(f"{word} {limits[bound]:,}" for bound, word in bounds if limits[bound] is not None)
    return " ".join(filter(None, (name, shown, "or null" if "None" in written else "")))


def to_override(value: Any) -> str:
    """Write a value as it is typed on the command line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list):
        return f"[{','.join(map(to_override, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{key}:{to_override(item)}' for key, item in value.items())}}}"
    return str(value) if str(value).strip() else repr(value)


def is_name(value: Any) -> bool:
    """Whether a value is a string with at least one visible character."""
    return isinstance(value, str) and bool(value.strip())


def _is_outside(spec: dataclasses.Field[Any], value: Any) -> bool:
    limits = spec.metadata
    if spec.type == list[str]:
        return not isinstance(value, list) or not all(map(is_name, value))
    if limits["choices"] and value not in limits["choices"]:
        return True
    if isinstance(value, str):
        return not value.strip()
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return not math.isfinite(value) or any(
        (
            limits["low"] is not None and value < limits["low"],
            limits["high"] is not None and value > limits["high"],
            limits["above"] is not None and value <= limits["above"],
            limits["below"] is not None and value >= limits["below"],
        )
    )
