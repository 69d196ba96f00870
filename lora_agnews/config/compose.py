"""Hydra's composed values -> a typed, valid configuration, with error messages that name the key and the remedy."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import MISSING
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lora_agnews.config.directories import check_config_dir, check_directory
from lora_agnews.config.keys import ALIASES, CONFIG_DIR, STUDY_RULES, choices_of, config_dirs
from lora_agnews.config.messages import describe_syntax_error, suggest, to_user_error
from lora_agnews.config.overrides import overrides_to_try, parse_overrides
from lora_agnews.config.rules import config_keys, to_override
from lora_agnews.config.schema import TrainConfig
from lora_agnews.config.scripts import CONF, SWEEP, TRAIN
from lora_agnews.config.study import StudyConfig
from lora_agnews.errors import UserError

MAX_CONFIG_CHARACTERS, MAX_CONFIG_DEPTH = 1 << 20, 20
ConfigStore.instance().store("schema", TrainConfig)
ConfigStore.instance().store("study_schema", StudyConfig)


def check_run_of_sweep(config: TrainConfig) -> None:
    """Raises: UserError, if a run of a sweep would use several devices, or could not be ranked."""
    if config.debug:
        raise UserError(f"debug={config.debug}: a debug run is never ranked, so it can't be in a sweep; run it alone")
    for key in ("devices", "num_nodes"):
        if getattr(config.trainer, key) > 1:
            raise UserError(
                f"trainer.{key}={getattr(config.trainer, key)}: a run of a sweep uses one device; leave it out. "
                f"Several runs at once: {SWEEP} workers=N"
            )


@contextmanager
def hydra_initialized(config_dir: str | None = None) -> Iterator[None]:
    """Initialise Hydra for the files of conf/ and, if there is one, the user's directory of --config-dir.

    The block may be inside another such block or a Hydra job: it keeps their --config-dir unless it is given one, and
    restores their state at its end.
    Raises: UserError, as `check_config_dir`.
    """
    running = GlobalHydra.instance().hydra
    own = [check_config_dir(config_dir, CONF)] if config_dir else config_dirs()[1:]
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(CONF), job_name="train", version_base="1.3"):
            if own:  # for which Hydra has no public function outside of its main
                search_path = create_config_search_path(str(CONF))
                search_path.prepend(CONFIG_DIR, f"file://{own[0]}", SearchPathQuery(provider="schema"))
                GlobalHydra.instance().clear()
                Hydra.create_main_hydra2("train", search_path)
            yield
    finally:
        if running is not None:
            GlobalHydra.instance().initialize(running)


def to_config(values: DictConfig, overrides: Sequence[str] = ()) -> TrainConfig:
    """Turn composed values into a TrainConfig. Raises: UserError, naming key, value as typed and what is allowed."""
    try:
        config = OmegaConf.to_object(values)
    except OmegaConfBaseException as error:
        raise to_user_error(error, overrides) from error
    assert isinstance(config, TrainConfig)
    return config


def compose_config(overrides: Sequence[str], multirun: bool = False) -> TrainConfig:
    """Compose the configuration of the first run that the overrides ask for, and check every other swept value.

    Raises: UserError, for the first override that is unknown, conflicting, of a wrong type or out of range.
    """
    with hydra_initialized():
        configs = [compose_typed(point) for point in overrides_to_try(parse_overrides(overrides, multirun))]
    return configs[0]


def compose_typed(overrides: list[str]) -> TrainConfig:
    """Compose one configuration. Needs an initialised Hydra. Raises: UserError, as `compose_config`."""
    try:
        values = compose("train", overrides)
        _check_aliases(values, overrides)
        return to_config(values, overrides)
    except (HydraException, OmegaConfBaseException) as error:
        raise to_user_error(error, overrides) from error


def _check_aliases(values: DictConfig, overrides: Sequence[str]) -> None:
    """Raises: UserError, if `lora.r=2` has no effect because a file, or another override, sets model.lora.r."""
    for override in reversed(overrides):  # of several with the same key, the last one counts
        key, _, given = override.lstrip("+").partition("=")
        full = ALIASES.get(key, key)
        if key != full and (wins := OmegaConf.select(values, full)) != OmegaConf.select(values, key):
            set_value = to_override(OmegaConf.to_container(wins) if OmegaConf.is_config(wins) else wins)
            raise UserError(f"{override}: has no effect, because {full}={set_value} is set; write {full}={given}")


def load_config_file(path: Path) -> TrainConfig:
    """Read a run's config.yaml. Its texts are taken literally: `${...}` is not an interpolation there.

    Keys that were added after the run get their value `as_before`. Raises: UserError, naming the file, if this version
    cannot use it.
    """
    try:
        older = OmegaConf.create()
        for key, spec, _ in config_keys(TrainConfig):
            if spec.metadata["as_before"] is not MISSING:
                OmegaConf.update(older, key, spec.metadata["as_before"])
        schema, saved = OmegaConf.structured(TrainConfig), OmegaConf.create(_read_values(path))
        return to_config(OmegaConf.merge(schema, older, saved, {"lora": None, "resume": None}))  # type: ignore[arg-type]
    except (OSError, ValueError, yaml.YAMLError, AttributeError, OmegaConfBaseException) as error:
        raise UserError(f"{path}: not a configuration of this version: {error}") from error


def _read_values(path: Path) -> dict[str, Any]:
    """Read a config.yaml with `${` escaped. Raises: ValueError, if it is not a small mapping without aliases."""
    with path.open(encoding="utf-8") as stream:
        text = stream.read(MAX_CONFIG_CHARACTERS + 1)
    if len(text) > MAX_CONFIG_CHARACTERS or not _is_plain(text):
        raise ValueError("it has YAML aliases, or is too large or too deep, so no run wrote it")
    values = yaml.safe_load(text)
    if not isinstance(values, dict):
        raise ValueError("it is not a mapping")
    escaped: dict[str, Any] = _escape(values)
    return escaped


def _is_plain(text: str) -> bool:
    """Whether a YAML text has no aliases and little depth. Both could take hours to load."""
    depth = 0
    for event in yaml.parse(text):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_CONFIG_DEPTH or isinstance(event, yaml.AliasEvent):
            return False
    return True


def _escape(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _escape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_escape(item) for item in value]
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", value) if isinstance(value, str) else value


def compose_study(overrides: Sequence[str]) -> StudyConfig:
    """Compose the study that `study=NAME` selects. Keys of a study set it; all other overrides hold for every run.

    Raises: UserError, for the first override that is unknown, of a wrong type or out of range.
    """
    own = [line for line in overrides if line.partition("=")[0] in ("study", *STUDY_RULES)]
    for name in (line.removeprefix("study=") for line in own if line.startswith("study=")):
        studies = choices_of("study")
        if name not in studies:
            raise UserError(f"study={name}: must be one of {', '.join(studies)}{suggest(name, studies)}")
    for line in overrides:
        if line.lstrip("+~").startswith("hydra"):
            raise UserError(
                f"{line}: sweep.py names the directories of its runs; to set that of the study: dir=DIRECTORY"
            )
        key, _, value = line.partition("=")
        if key == "seed":
            raise UserError(f"{line}: a study has several seeds; write seeds=[{value}]")
        if key == "seeds" and not value.startswith("["):
            raise UserError(f"{line}: a list is needed; write seeds=[{value}]")
        if key == "resume":
            raise UserError(f"{line}: a study continues when the same command is started again")
    with hydra_initialized():
        try:
            study = OmegaConf.to_object(compose("sweep", own))
        except OverrideParseException as error:
            raise UserError(describe_syntax_error(error.override)) from error
        except (HydraException, OmegaConfBaseException) as error:
            raise to_user_error(error, own) from error
    assert isinstance(study, StudyConfig)
    check_directory("dir", study.dir or "runs")
    study.overrides += [line for line in overrides if line not in own]
    with hydra_initialized():
        for override in parse_overrides(study.overrides, multirun=True):
            if override.is_sweep_override():
                given = override.input_line
                raise UserError(
                    f"{given}: a study varies the keys of its space, in conf/study; without a study: {TRAIN} -m {given}"
                )
    check_run_of_sweep(compose_config(study.overrides))
    return study
