"""Every key that can be given on a command line, taken from the schema and the files of conf/."""

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from lora_agnews.config.rules import config_keys
from lora_agnews.config.schema import TrainConfig
from lora_agnews.config.scripts import CONF
from lora_agnews.config.study import StudyConfig

RULES = {key: spec for key, spec, _ in config_keys(TrainConfig)}
STUDY_RULES = {spec.name: spec for spec in fields(StudyConfig)}
ALIASES = {key.removeprefix("model."): key for key in RULES if key.startswith("model.lora.")}
GROUPS = {
    folder.name: sorted(path.stem for path in folder.glob("*.yaml"))
    for folder in sorted(CONF.iterdir())
    if folder.is_dir() and folder.name != "study"
}
CONFIG_DIR = "command-line"  # Hydra's name for what --config-dir adds to its search path
STUDIES = sorted(path.stem for path in (CONF / "study").glob("*.yaml"))


def config_dirs() -> list[Path]:
    """Return conf/ and, if Hydra is initialised with one, the directory of --config-dir."""
    hydra = GlobalHydra.instance().hydra
    paths = hydra.config_loader.get_search_path().get_path() if hydra else []
    own = [str(each.path).removeprefix("file://") for each in paths if each.provider == CONFIG_DIR]
    return [CONF, *map(Path, own)]


def choices_of(group: str) -> list[str]:
    """Return the files of a group, those of --config-dir included."""
    return sorted(path.stem for folder in config_dirs() for path in (folder / group).glob("*.yaml"))


def keys_set_by(group: str, choice: str) -> set[str]:
    """Return the keys that a file of a group sets."""
    (path,) = [path for folder in config_dirs() if (path := folder / group / f"{choice}.yaml").is_file()]
    found = set(_names(OmegaConf.to_container(OmegaConf.load(path))))
    found |= {f"{group}.{name}" for name in found}
    return {ALIASES.get(name, name) for name in found} & set(RULES)


def _names(values: Any, prefix: str = "") -> Iterator[str]:
    for name, value in values.items():
        yield f"{prefix}{name}"
        if isinstance(value, dict):
            yield from _names(value, f"{prefix}{name}.")
