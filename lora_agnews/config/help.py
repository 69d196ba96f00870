"""The texts of `--help` and the table of docs/configuration.md, generated from the schema."""

from collections.abc import Mapping
from textwrap import fill
from typing import Any

from lora_agnews.config.keys import GROUPS, STUDIES, STUDY_RULES
from lora_agnews.config.rules import config_keys, describe_allowed, to_override
from lora_agnews.config.schema import TrainConfig
from lora_agnews.config.scripts import TRAIN

EXAMPLES = {
    f"{TRAIN} experiment=quickstart": "shipped model and rows: no network",
    TRAIN: "roberta-base, AG News from the hub",
    f"{TRAIN} model.lora.r=2": "any value below, also as lora.r=2",
    f"{TRAIN} -m lora.r=1,2,4 seed=0,1": "one run for each combination",
    f"{TRAIN} resume=RUN_DIR": "continue a run where it stopped",
    f"{TRAIN} debug=fast": "one step, to find mistakes first",
    "python -m lora_agnews budget lora.r=4": "what would be trained, and what fits",
}
SHOWN = "\n".join(f"  {command:<{max(map(len, EXAMPLES))}}  {meaning}" for command, meaning in EXAMPLES.items())
HELP = f"""\
Usage: {TRAIN} [-m] [KEY=VALUE ...]

Fine-tunes RoBERTa with LoRA on AG News under a hard budget of 1,000,000
trainable parameters.

{SHOWN}

Flags: -m or --multirun; --cfg job --resolve shows the configuration and runs
nothing; --config-dir DIR adds files of yours, such as DIR/experiment/mine.yaml;
--hydra-help shows all flags. A value with special characters needs two pairs of
quotes: 'data.train_file="my rows, 1.csv"'.
"""


def help_text(config: TrainConfig) -> str:
    """Return the help of train.py: each group and key, its value in `config`, its meaning and what it allows."""
    lines = [HELP, "groups (files of conf/, each sets several keys)"]
    lines += [f"  {group}={'|'.join(choices)}" for group, choices in GROUPS.items()]
    section = None
    for key, spec, value in config_keys(config):
        if key.rpartition(".")[0] != section:
            section = key.rpartition(".")[0]
            lines.append(f"\n{section or 'run'}" + (" (or lora, in short)" if section == "model.lora" else ""))
        lines += [f"  {key}={to_override(value)}", _paragraph(spec)]
    return "\n".join(lines)


def study_help() -> str:
    """Return the help of sweep.py: each key of a study, its meaning and what it allows."""
    lines = ["keys of a study", f"  study={'|'.join(STUDIES)}"]
    for name, spec in STUDY_RULES.items():
        lines += [f"  {name}", _paragraph(spec)]
    return "\n".join([*lines, f"all other keys: {TRAIN} --help"])


def key_table(config: TrainConfig) -> str:
    """Return the Markdown table of all keys of a run with their values in `config`."""
    lines = ["| key | default | meaning | allowed |", "|---|---|---|---|"]
    for key, spec, value in config_keys(config):
        lines.append(f"| `{key}` | `{to_override(value)}` | {spec.metadata['meaning']} | {describe_allowed(spec)} |")
    return "\n".join(lines)


def study_table(defaults: Mapping[str, Any]) -> str:
    """Return the Markdown table of all keys of a study. A key without a default is set by each study."""
    lines = ["| key | default | meaning | allowed |", "|---|---|---|---|"]
    for name, spec in STUDY_RULES.items():
        default = f"`{to_override(defaults[name])}`" if name in defaults else "set by each study"
        lines.append(f"| `{name}` | {default} | {spec.metadata['meaning']} | {describe_allowed(spec)} |")
    return "\n".join(lines)


def _paragraph(spec: object) -> str:
    text = f"{spec.metadata['meaning']} [{describe_allowed(spec)}]"  # type: ignore[attr-defined, arg-type]
    return fill(text, 80, initial_indent=" " * 6, subsequent_indent=" " * 6, break_on_hyphens=False)
