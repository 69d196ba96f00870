"""Between the shell and Hydra: find what is wrong with a command line before anything is created, load the config.

Hydra composes and runs; this module only asks it first, so that a typo costs one message and no run directory.
"""

import contextlib
import difflib
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lora_agnews.config import UserError, TrainConfig, allowed, leaves

CONF = Path(__file__).resolve().parent.parent / "conf"
RULES = {key: spec for key, spec, _ in leaves(TrainConfig)}
ALIASES = {key.removeprefix("model."): key for key in RULES if key.startswith("model.lora.")}

ConfigStore.instance().store("schema", TrainConfig)


def load_config(values: DictConfig) -> TrainConfig:
    """The typed config of composed values. Raises: UserError, naming key, value and what is allowed."""
    try:
        config = OmegaConf.to_object(values)
    except OmegaConfBaseException as error:
        raise _explain(error) from error
    assert isinstance(config, TrainConfig)
    return config


def check_command_line(config_name: str, arguments: Sequence[str] | None = None) -> None:
    """Exits with status 2 and one message, before anything is created, if a run of this command line can't be configured."""
    options = get_args_parser().parse_args(arguments)
    if options.help or options.hydra_help or options.shell_completion:
        return
    try:
        check_overrides(config_name, options.overrides)
    except UserError as error:
        fail(str(error), status=2)


def check_overrides(config_name: str, overrides: Sequence[str]) -> None:
    """Raises: UserError, for the first override that is unknown, conflicting, of a wrong type or out of range."""
    try:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
    except HydraException as error:
        raise UserError(_first_line(error)) from error
    for override in parsed:
        _check_key(override)
    _check_spellings(parsed)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for point in _points(parsed):
            try:
                load_config(compose(config_name, point))
            except (HydraException, OmegaConfBaseException) as error:
                raise _explain(error) from error


def fail(message: str, status: int) -> NoReturn:
    """One message on stderr, no traceback."""
    print(f"error: {message}", file=sys.stderr)
    raise SystemExit(status)


def refuse(error: Exception, run_dir: Path) -> NoReturn:
    """Exits with status 2 and the message; the run directory that Hydra made goes again if nothing else is in it."""
    (run_dir / "train.log").unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        run_dir.rmdir()
        run_dir.parent.rmdir()
    fail(str(error), status=2)


def _check_key(override: Override) -> None:
    key = override.key_or_group.split("@")[0]
    if key.split(".")[0].split("/")[0] == "hydra":
        return
    groups = sorted(folder.name for folder in CONF.iterdir() if folder.is_dir() and folder.name != "study")
    shown = override.input_line or key
    if key in groups:
        choices = sorted(path.stem for path in (CONF / key).glob("*.yaml"))
        wanted = override.value() if not override.is_sweep_override() else None
        if wanted is not None and wanted not in choices:
            raise UserError(f"{shown}: {key} must be one of {', '.join(choices)}{_nearest(str(wanted), choices)}")
        return
    known = [*RULES, *ALIASES, *groups]
    if key not in RULES and key not in ALIASES:
        inner = sorted(other for other in known if other.startswith(f"{key}."))
        if inner:
            raise UserError(f"{shown}: {key} is a section; set one of {', '.join(inner)}")
        raise UserError(f"{shown}: there is no key {key}{_nearest(key, known)}. All keys: python train.py --help")
    if override.is_delete():
        raise UserError(f"{shown}: {key} can't be removed, only set: {key}=VALUE, {allowed(RULES[ALIASES.get(key, key)])}")


def _check_spellings(overrides: list[Override]) -> None:
    """`lora.r=1 model.lora.r=2` would let one win silently."""
    seen: dict[str, Override] = {}
    for override in overrides:
        key = override.key_or_group
        full = ALIASES.get(key, key)
        other = seen.setdefault(full, override)
        if other.key_or_group != key and other.value() != override.value():
            raise UserError(
                f"{other.input_line} and {override.input_line} are two spellings of one key with two values; give one"
            )


def _points(overrides: list[Override]) -> list[list[str]]:
    """The override lists to try: each alternative of a sweep once, the others at their first."""
    swept = {i: list(override.sweep_string_iterator()) for i, override in enumerate(overrides) if _listed(override)}
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


def _listed(override: Override) -> bool:
    return override.is_sweep_override() and not override.is_interval_sweep() and override.key_or_group.find("hydra") != 0


def _explain(error: Exception) -> UserError:
    """Hydra's or OmegaConf's error in our words."""
    cause: BaseException = error
    while cause.__cause__ is not None and not isinstance(cause, (OmegaConfBaseException, UserError)):
        cause = cause.__cause__
    if isinstance(cause, UserError):
        return cause
    key = getattr(cause, "full_key", None) or ""
    spec = RULES.get(ALIASES.get(key, key))
    if spec is None:
        return UserError(_first_line(cause))
    value = re.search(r"Value '(.*?)'", str(cause), re.DOTALL)
    shown = f"{key}={value[1]}" if value else key
    return UserError(f"{shown}: must be {allowed(spec)} ({spec.metadata['meaning']})")


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0]


def _nearest(wanted: str, known: list[str]) -> str:
    ends: dict[str, Any] = {key.split(".")[-1]: key for key in known}
    close = difflib.get_close_matches(wanted, known, n=1, cutoff=0.6)
    close = close or [ends[end] for end in difflib.get_close_matches(wanted.split(".")[-1], list(ends), n=1, cutoff=0.75)]
    return f" (did you mean {close[0]}?)" if close else ""
