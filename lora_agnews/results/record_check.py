"""Check the values of a result.json, which may be damaged or edited, before anything relies on them.

`result` is a RunResult, whose module imports this one.
"""

from dataclasses import fields
from types import NoneType, UnionType
from typing import Any, get_args, get_origin

from lora_agnews.config.rules import config_keys
from lora_agnews.config.schema import TrainConfig
from lora_agnews.results.monitor import MONITOR

INNER_TYPES: dict[str, Any] = {  # type of each key in the sections of a record that the program reads
    **dict.fromkeys(("budget.trainable", "budget.total", "budget.limit"), int),
    **dict.fromkeys(("data.train", "data.val", "data.test"), int),
    "data.train_classes": list[int],
    **dict.fromkeys(("data.model", "data.source", "environment.device", "environment.precision"), str),
    "environment.versions": dict[str, str | None],
    **{f"config.{key}": spec.type for key, spec, _ in config_keys(TrainConfig) if key != "resume"},
}
NEEDED = ("config.trainer.max_epochs", "config.logger.wandb", "config.logger.project")
NEEDED_TO_RANK = (f"metrics.{MONITOR.key}", "seconds.total")  # of a run that has succeeded
NOT_IN_0_1 = ("data.train_classes",)
NEEDED_TO_LOAD = (
    "seconds.train",
    *(key for key in INNER_TYPES if not key.startswith("config.") and key not in NOT_IN_0_1),
)


def check_record(result: Any) -> None:
    """Check types, and that a run that has succeeded has what rankings read. Raises: ValueError, naming the value."""
    for spec in fields(result):
        _check(spec.name, getattr(result, spec.name), spec.type)
    for path, kind in INNER_TYPES.items():
        found, value = _find(result, path)
        if found:
            _check(path, value, kind)
    check_needed(result, NEEDED + NEEDED_TO_RANK * result.succeeded)


def check_needed(result: Any, paths: tuple[str, ...] = NEEDED_TO_LOAD) -> None:
    """Check that a record has these values. Raises: ValueError, naming the first one that is missing."""
    missing = [path for path in paths if not _find(result, path)[0]]
    if missing:
        raise ValueError(f"it has no {missing[0]}")


def _find(result: Any, path: str) -> tuple[bool, Any]:
    """Return whether there is a value at a path such as "config.model.lora.r", and the value.

    Raises: ValueError, if something on the way is not a mapping.
    """
    section, _, rest = path.partition(".")
    value = getattr(result, section)
    for key in [rest] if section != "config" else rest.split("."):
        if not isinstance(value, dict):
            raise ValueError(f"{section}: {value!r} is not a section of it")
        if key not in value:
            return False, None
        value = value[key]
    return True, value


def _check(path: str, value: Any, kind: Any) -> None:
    if not _is_a(value, kind):
        raise ValueError(f"{path} is {str(value)[:80]!r}")


def _is_a(value: Any, kind: Any) -> bool:
    """Whether a value from JSON has a type such as dict[str, float]."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is UnionType:
        return any(_is_a(value, each) for each in inner)
    if origin is dict:
        return isinstance(value, dict) and all(_is_a(each, inner[1]) for each in value.values())
    if origin is list:
        return isinstance(value, list) and all(_is_a(each, inner[0]) for each in value)
    if kind in (int, float):
        return isinstance(value, (int, kind)) and not isinstance(value, bool)
    return kind is Any or isinstance(value, NoneType if kind is None else kind)
