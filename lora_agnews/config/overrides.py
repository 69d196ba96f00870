"""Checks of the overrides on a command line, before Hydra composes a configuration from them."""

import logging
import os
import re
from collections.abc import Sequence

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import OverrideParseException

from lora_agnews.config.keys import ALIASES, GROUPS, RULES, choices_of
from lora_agnews.config.messages import describe_syntax_error, quote_override, suggest, suggest_key
from lora_agnews.config.rules import describe_allowed, is_name, to_override
from lora_agnews.config.scripts import SWEEP, TRAIN
from lora_agnews.errors import UserError

HYDRA_PLUGINS = ("hydra.launcher.", "hydra.sweeper.")


def parse_overrides(overrides: Sequence[str], multirun: bool) -> list[Override]:
    """Parse overrides and check everything that can be checked without a configuration. Needs an initialised Hydra.

    Raises: UserError, for the first override with a syntax error, an unknown key or choice, several values without -m,
    or two spellings of one key with two values.
    """
    try:
        parsed = OverridesParser.create(GlobalHydra.instance().config_loader()).parse_overrides(list(overrides))
    except OverrideParseException as error:
        raise UserError(describe_syntax_error(error.override)) from error
    for override in parsed:
        _check_key(override)
        if override.is_sweep_override() and not (multirun or "hydra.mode=MULTIRUN" in overrides):
            raise UserError(
                f"{override.input_line}: several values need -m, for one run each; "
                f"a single value with a comma needs quotes: {quote_override(override.input_line or '')}"
            )
        if has_listed_values(override) and not list(override.sweep_string_iterator()):
            raise UserError(f"{override.input_line}: expands to no values")
    _check_spellings(parsed)
    _check_plugins(parsed)
    return parsed


def overrides_to_try(overrides: list[Override]) -> list[list[str]]:
    """Return the override lists that check a sweep: each of its values once, with the others at their first value."""
    swept = {i: list(each.sweep_string_iterator()) for i, each in enumerate(overrides) if has_listed_values(each)}
    first = [
        f"{override.get_key_element()}={swept[i][0]}" if i in swept else override.input_line or ""
        for i, override in enumerate(overrides)
        if i in swept or not override.is_sweep_override()
    ]
    if len(first) < len(overrides):  # an interval has no first value; Hydra's sweeper will draw it
        return [first]
    points = [first]
    for i, values in swept.items():
        for value in values[1:]:
            points.append([*first[:i], f"{overrides[i].get_key_element()}={value}", *first[i + 1 :]])
    return points


def has_listed_values(override: Override) -> bool:
    """Whether an override sweeps one of this project's keys over a list of values, such as lora.r=1,2,4."""
    is_hydras = override.key_or_group.startswith("hydra")
    return override.is_sweep_override() and not override.is_interval_sweep() and not is_hydras


def _check_key(override: Override) -> None:
    key = override.key_or_group if override.package is None else f"{override.key_or_group}@{override.package}"
    shown = override.input_line or key
    if re.match(r"hydra\b", key):
        _check_hydra_key(override, key)
        return
    if not key:
        raise UserError(describe_syntax_error(shown))
    if key in GROUPS:
        choices = choices_of(key)
        if override.is_delete() or override.is_add():
            raise UserError(f"{shown}: {key} can only be set: {key}=VALUE, one of {', '.join(choices)}")
        values = list(override.sweep_string_iterator()) if override.is_sweep_override() else [override.value()]
        for value in values:
            if value not in choices:
                hint = suggest(str(value), choices)
                hint += "; any other encoder: model.name=HUB_ID or model.name=FOLDER" if key == "model" else ""
                raise UserError(f"{key}={to_override(value)}: must be one of {', '.join(choices)}{hint}")
        return
    if key == "study":
        raise UserError(f"{shown}: sweep.py runs studies: {SWEEP} {shown}")
    if key == "test" and override.is_sweep_override():
        raise UserError(f"{shown}: test holds for the whole sweep; give one value")
    if key not in RULES and key not in ALIASES:
        known = [*RULES, *ALIASES, *GROUPS]
        inner = sorted(other for other in known if other.startswith(f"{key}."))
        if inner:
            raise UserError(f"{shown}: {key} is a section; set one of {', '.join(inner)}")
        raise UserError(f"{shown}: there is no key {key}{suggest_key(key)}. All keys: {TRAIN} --help")
    if override.is_delete() or override.is_add():
        allowed = describe_allowed(RULES[ALIASES.get(key, key)])
        raise UserError(f"{shown}: {key} can only be set: {key}=VALUE, {allowed}")


def _check_hydra_key(override: Override, key: str) -> None:
    """Reject what would end in a traceback. Hydra itself says which of its keys do not exist."""
    shown = override.input_line or key
    if override.is_sweep_override():
        raise UserError(f"{shown}: needs one value; quote it if it has a comma: {quote_override(shown)}")
    if key == "hydra":
        raise UserError(f"{shown}: hydra is a section; set one of its keys, such as hydra.run.dir=DIRECTORY")
    value = override.value()
    if key == "hydra.verbose" and not (
        isinstance(value, bool) or all(map(is_name, value if isinstance(value, list) else [value]))
    ):
        raise UserError(f"{shown}: must be true, false, or the names of loggers, such as [lightning]")
    if key == "hydra.job.env_copy" and not (isinstance(value, list) and os.environ.keys() >= set(map(str, value))):
        raise UserError(f"{shown}: must be a list of environment variables that are set, such as [HOME]")
    levels = logging.getLevelNamesMapping()
    is_level = value is None or isinstance(value, int) or str(value) in levels
    if re.match(r"hydra\.(job|hydra)_logging\..*\blevel$", key) and not is_level:
        raise UserError(f"{shown}: must be a number or one of {', '.join(levels)}")


def _check_spellings(overrides: list[Override]) -> None:
    """Reject `lora.r=1 model.lora.r=2`: Hydra would let one of them win without a message."""
    seen: dict[str, Override] = {}
    for override in overrides:
        key = override.key_or_group
        other = seen.setdefault(ALIASES.get(key, key), override)
        sweeps = other is not override and (other.is_sweep_override() or override.is_sweep_override())
        if other.key_or_group == key and sweeps:
            raise UserError(f"{other.input_line} and {override.input_line} vary one key twice; give it once")
        if other.key_or_group != key and (sweeps or other.value() != override.value()):
            raise UserError(
                f"{other.input_line} and {override.input_line} are two spellings of one key with two values; give one"
            )


def _check_plugins(overrides: list[Override]) -> None:
    """Reject keys of a launcher or sweeper that is not selected: Hydra does not check those of its basic ones."""
    given = {override.key_or_group for override in overrides}
    for override in overrides:
        for section in HYDRA_PLUGINS:
            plugin = section.rstrip(".").replace(".", "/")
            if override.key_or_group.startswith(section) and plugin not in given:
                raise UserError(f"{override.input_line}: belongs to a plugin; select it too: {plugin}=NAME")
