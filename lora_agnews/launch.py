"""Between the shell and Hydra: find what is wrong with a command line before anything is created, load the config.

Hydra composes and runs; this module only asks it first, so that a typo costs one message and no run directory.
"""

import contextlib
import copy
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from pathlib import Path
from typing import Any, NoReturn

from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from lora_agnews.config import StudyConfig, TrainConfig, UserError, allowed, leaves, spelled
from lora_agnews.keys import (
    ALIASES,
    CONF,
    GROUPS,
    RULES,
    STUDY_RULES,
    explain,
    help_text,
    in_quotes,
    malformed,
    nearest,
    nearest_key,
    quoted,
)
from lora_agnews.result import config_hash

Points = list[tuple[dict[str, Any], TrainConfig]]
ConfigStore.instance().store("schema", TrainConfig)
ConfigStore.instance().store("study_schema", StudyConfig)


def load_config(values: DictConfig, overrides: Sequence[str] = ()) -> TrainConfig:
    """The typed config of composed values. Raises: UserError, naming key, value as typed and what is allowed."""
    try:
        config = OmegaConf.to_object(values)
    except OmegaConfBaseException as error:
        raise explain(error, overrides) from error
    assert isinstance(config, TrainConfig)
    return config


def set_by(group: str, choice: str) -> set[str]:
    """The keys that a file of conf/ sets."""
    values = OmegaConf.to_container(OmegaConf.load(CONF / group / f"{choice}.yaml"))
    assert isinstance(values, dict)
    keys = {f"{section!s}.{key!s}" for section, inner in values.items() if isinstance(inner, dict) for key in inner}
    keys |= {f"{group}.{key!s}" for key, value in values.items() if not isinstance(value, dict)}
    return {ALIASES.get(key, key) for key in keys} & set(RULES)


def load_saved(path: Path) -> TrainConfig:
    """The typed config of a run's config.yaml. Raises: UserError, naming the file, if it is none of this version."""
    try:
        values = OmegaConf.load(path)
        schema = OmegaConf.structured(TrainConfig)
        return load_config(OmegaConf.merge(schema, values, {"lora": None, "resume": None}))  # type: ignore[arg-type]
    except (OSError, UnicodeDecodeError, YAMLError, AttributeError, OmegaConfBaseException, UserError) as error:
        raise UserError(f"{path}: no configuration of this version: {error}") from error


@dataclass(frozen=True)
class CommandLine:
    """Of train.py, found to be good."""

    overrides: list[str]
    resume: str | None = None
    multirun: bool = False


def check_command_line(config_name: str, arguments: Sequence[str] | None = None) -> CommandLine:
    """Exits with status 2 and one message, before anything is created, if a run of it can't be configured. --help ends
    here too, with status 0: every key, its value on this command line, what it means and may hold.
    """
    parser = get_args_parser()
    parser.error = lambda message: fail(f"{message}; see python train.py --help", status=2)  # type: ignore[method-assign]
    options = parser.parse_args(arguments)
    if options.hydra_help or options.shell_completion:
        return CommandLine([])
    try:
        config = check_overrides(config_name, options.overrides, options.multirun)
    except UserError as error:
        fail(str(error), status=2)
    if config.resume and (options.multirun or options.cfg):
        fail("resume continues one run, with its own configuration; leave out -m and --cfg", status=2)
    if options.help:
        print(help_text(config))
        raise SystemExit(0)
    multirun = options.multirun or "hydra.mode=MULTIRUN" in options.overrides
    return CommandLine(options.overrides, config.resume, multirun and not options.cfg)


def begin_multirun(overrides: Sequence[str]) -> tuple[Path, int | None]:
    """Where the runs of a multirun will lie, and how many there are; None if Hydra's sweeper draws them.

    Tells Hydra to name each run after what varies and after its configuration, so that the same command finds it again.
    """
    with initialize_config_dir(str(CONF), version_base="1.3"):
        parsed = _parse(overrides, multirun=True)
        fixed = [override.input_line or "" for override in parsed if not override.is_sweep_override()]
        composed = compose("train", fixed, return_hydra_config=True)
        HydraConfig.instance().set_config(composed)
        folder = Path(composed.hydra.sweep.dir).expanduser()
    swept = [override for override in parsed if override.is_sweep_override()]
    keys = [override.get_key_element() for override in swept]
    given = [override.key_or_group for override in parsed]
    lines = [f"hydra.sweep.dir={in_quotes(str(folder))}"]
    if "hydra.sweep.subdir" not in given:
        lines.append(f"hydra.sweep.subdir='${{run_name:{','.join(keys)}}}'")
    kept = [argument for argument in sys.argv[1:] if not argument.startswith("hydra.sweep.dir=")]
    at = next((i for i, argument in enumerate(kept) if argument in overrides), len(kept))
    sys.argv[1:] = [*kept[:at], *lines, *kept[at:]]
    listed = all(map(_listed, swept))
    return folder, prod(len(list(override.sweep_string_iterator())) for override in swept) if listed else None


def name_run(config: TrainConfig, varying: dict[str, Any]) -> str:
    """A directory's name for a point of a sweep: what varies, and 6 digits of the hash of all values."""
    parts = [f"{key.rpartition('.')[2]}={spelled(value)}" for key, value in varying.items()]
    name = re.sub(r"[^\w.,=+-]", "_", ",".join(parts))[:100]
    return f"{name or 'run'}-{config_hash(config.to_dict())[:6]}"


def _run_name(*keys: str, _root_: DictConfig) -> str:
    """`name_run`, for Hydra."""
    values = copy.deepcopy(_root_)
    with open_dict(values):
        choices = values.pop("hydra").runtime.choices
    config = load_config(values)
    found: dict[str, Any] = {key: value for key, _, value in leaves(config)} | dict(choices)
    return name_run(config, {key: found[ALIASES.get(key, key)] for key in keys if key})


OmegaConf.register_new_resolver("run_name", _run_name)


def check_overrides(config_name: str, overrides: Sequence[str], multirun: bool = False) -> TrainConfig:
    """The config of the first run that the overrides ask for.

    Raises: UserError, for the first override that is unknown, conflicting, of a wrong type or out of range.
    """
    with initialize_config_dir(str(CONF), version_base="1.3"):
        configs = [_load(point, config_name) for point in _points(_parse(overrides, multirun))]
    return configs[0]


def load_study(overrides: Sequence[str]) -> StudyConfig:
    """The study that `study=NAME` picks; keys of a study set it, all others hold for every run of it.

    Raises: UserError, for the first that is unknown, of a wrong type or out of range.
    """
    own = [line for line in overrides if line.partition("=")[0] in ("study", *STUDY_RULES)]
    studies = sorted(path.stem for path in (CONF / "study").glob("*.yaml"))
    for name in (line.removeprefix("study=") for line in own if line.startswith("study=")):
        if name not in studies:
            raise UserError(f"study={name}: must be one of {', '.join(studies)}{nearest(name, studies)}")
    with initialize_config_dir(str(CONF), version_base="1.3"):
        try:
            study = OmegaConf.to_object(compose("sweep", own))
        except OverrideParseException as error:
            raise UserError(malformed(error.override)) from error
        except (HydraException, OmegaConfBaseException) as error:
            raise explain(error, own) from error
    assert isinstance(study, StudyConfig)
    study.overrides += [line for line in overrides if line not in own]
    for line in study.overrides:
        if line.partition("=")[0] in ("seed", "resume"):
            raise UserError(f"{line}: a study has seeds=[0,1,2], and goes on by itself when it is started again")
    check_overrides("train", study.overrides)
    return study


def load_space(overrides: Sequence[str]) -> Points:
    """Every combination that overrides such as `lora.r=1,2 seed=0,1` ask for: key -> value of what varies, its config.

    Raises: UserError, as `check_overrides`, and for what has no list of values.
    """
    with initialize_config_dir(str(CONF), version_base="1.3"):
        parsed = _parse(overrides, multirun=True)
        swept = [override for override in parsed if override.is_sweep_override()]
        for override in swept:
            if not _listed(override):
                raise UserError(f"{override.input_line}: only lists of values such as 1,2,4 can be counted")
        fixed = [override.input_line or "" for override in parsed if override not in swept]
        keys = [override.get_key_element() for override in swept]
        points = []
        for values in product(*(list(override.sweep_string_iterator()) for override in swept)):
            line = [*fixed, *(f"{key}={value}" for key, value in zip(keys, values, strict=True))]
            config = _load(line, "train")
            found = {key: value for key, _, value in leaves(config)}
            typed = (found.get(ALIASES.get(key, key), value) for key, value in zip(keys, values, strict=True))
            points.append((dict(zip(keys, typed, strict=True)), config))
    return points


def fail(message: str, status: int) -> NoReturn:
    """One message on stderr, no traceback."""
    print(f"error: {message}", file=sys.stderr)
    raise SystemExit(status)


def refuse(error: Exception, run_dir: Path) -> NoReturn:
    """Exits with status 2 and the message; what Hydra made for this run goes again if nothing else lies there."""
    for folder, made in ((run_dir, "train.log"), (run_dir.parent, "multirun.yaml")):
        if [path.name for path in folder.iterdir()] == [made]:
            (folder / made).unlink()
            folder.rmdir()
    with contextlib.suppress(OSError):
        Path("runs").rmdir()
    fail(str(error), status=2)


def _parse(overrides: Sequence[str], multirun: bool) -> list[Override]:
    """Raises: UserError, for what can be told without a config."""
    try:
        parsed = OverridesParser.create(GlobalHydra.instance().config_loader()).parse_overrides(list(overrides))
    except OverrideParseException as error:
        raise UserError(malformed(error.override)) from error
    for override in parsed:
        _check_key(override)
        if override.is_sweep_override() and not (multirun or "hydra.mode=MULTIRUN" in overrides):
            raise UserError(
                f"{override.input_line}: several values need -m, for one run each; "
                f"a single value with a comma needs quotes: {quoted(override.input_line or '')}"
            )
        if _listed(override) and not list(override.sweep_string_iterator()):
            raise UserError(f"{override.input_line}: stands for no value at all")
    _check_spellings(parsed)
    return parsed


def _load(overrides: list[str], config_name: str) -> TrainConfig:
    try:
        return load_config(compose(config_name, overrides), overrides)
    except (HydraException, OmegaConfBaseException) as error:
        raise explain(error, overrides) from error


def _check_key(override: Override) -> None:
    key = override.key_or_group if override.package is None else f"{override.key_or_group}@{override.package}"
    shown = override.input_line or key
    if re.match(r"hydra\b", key):
        return
    if not key:
        raise UserError(malformed(shown))
    if key in GROUPS:
        choices = GROUPS[key]
        if override.is_delete() or override.is_add():
            raise UserError(f"{shown}: {key} can only be set: {key}=VALUE, one of {', '.join(choices)}")
        values = list(override.sweep_string_iterator()) if override.is_sweep_override() else [override.value()]
        for value in values:
            if value not in choices:
                near = nearest(str(value), choices)
                raise UserError(f"{key}={spelled(value)}: must be one of {', '.join(choices)}{near}")
        return
    if key not in RULES and key not in ALIASES:
        known = [*RULES, *ALIASES, *GROUPS]
        inner = sorted(other for other in known if other.startswith(f"{key}."))
        if inner:
            raise UserError(f"{shown}: {key} is a section; set one of {', '.join(inner)}")
        raise UserError(f"{shown}: there is no key {key}{nearest_key(key)}. All keys: python train.py --help")
    if override.is_delete() or override.is_add():
        raise UserError(f"{shown}: {key} can only be set: {key}=VALUE, {allowed(RULES[ALIASES.get(key, key)])}")


def _check_spellings(overrides: list[Override]) -> None:
    """`lora.r=1 model.lora.r=2` would let one win silently."""
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
    hydras = override.key_or_group.startswith("hydra")
    return override.is_sweep_override() and not override.is_interval_sweep() and not hydras
