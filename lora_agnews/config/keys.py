"""Every key that can be given on a command line, taken from the schema and the files of conf/."""

from dataclasses import fields

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
STUDIES = sorted(path.stem for path in (CONF / "study").glob("*.yaml"))


def keys_set_by(group: str, choice: str) -> set[str]:
    """Return the keys that a file of conf/ sets."""
    values = OmegaConf.to_container(OmegaConf.load(CONF / group / f"{choice}.yaml"))
    assert isinstance(values, dict)
    keys = {f"{section!s}.{key!s}" for section, inner in values.items() if isinstance(inner, dict) for key in inner}
    keys |= {f"{group}.{key!s}" for key, value in values.items() if not isinstance(value, dict)}
    return {ALIASES.get(key, key) for key in keys} & set(RULES)
