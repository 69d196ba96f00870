"""Every key there is: how it is written, what it may hold, and what was probably meant by one that is none."""

import difflib
import re
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from textwrap import fill

from omegaconf.errors import ConfigAttributeError, InterpolationResolutionError, OmegaConfBaseException, ValidationError

from lora_agnews.config import StudyConfig, TrainConfig, UserError, allowed, leaves, spelled

CONF = Path(__file__).resolve().parent.parent / "conf"
RULES = {key: spec for key, spec, _ in leaves(TrainConfig)}
STUDY_RULES = {spec.name: spec for spec in fields(StudyConfig)}
KEYS = RULES | STUDY_RULES
ALIASES = {key.removeprefix("model."): key for key in RULES if key.startswith("model.lora.")}
GROUPS = {
    folder.name: sorted(path.stem for path in folder.glob("*.yaml"))
    for folder in sorted(CONF.iterdir())
    if folder.is_dir() and folder.name != "study"
}
HELP = """\
Usage: python train.py [-m] [KEY=VALUE ...]

Fine-tunes RoBERTa with LoRA on AG News under a hard budget of 1,000,000 trainable parameters.

  python train.py experiment=quickstart     the shipped model and rows: no network, no GPU
  python train.py                           roberta-base on AG News from the Hugging Face hub
  python train.py model.lora.r=2            any value below; lora.r=2 is the same key
  python train.py -m lora.r=1,2,4 seed=0,1  one run for each combination
  python train.py resume=RUN_DIR            continues that run exactly where it stopped
  python -m lora_agnews budget lora.r=4     what it would train, and the largest r that fits

Flags: -m, --multirun; --cfg job --resolve shows the config and runs nothing; --hydra-help: all.
Put a value with special characters into two pairs of quotes: 'data.train_file="my rows, 1.csv"'.
"""


def study_help() -> str:
    """Every key of a study, its meaning and what it may hold."""
    studies = "|".join(sorted(path.stem for path in (CONF / "study").glob("*.yaml")))
    lines = ["keys of a study", f"  study={studies}"]
    for name, spec in STUDY_RULES.items():
        lines.append(f"  {name}")
        rule = f"{spec.metadata['meaning']} [{allowed(spec)}]"
        lines.append(fill(rule, 100, initial_indent=" " * 6, subsequent_indent=" " * 6, break_on_hyphens=False))
    return "\n".join([*lines, "all others: python train.py --help"])


def help_text(config: TrainConfig) -> str:
    """Every group and key with its value in `config`, its meaning and what it may hold; 100 columns."""
    lines = [HELP, "groups (files of conf/, each sets several keys)"]
    for group, choices in GROUPS.items():
        lines.append(f"  {group}={'|'.join(choices)}")
    section = None
    for key, spec, value in leaves(config):
        if key.rpartition(".")[0] != section:
            section = key.rpartition(".")[0]
            lines.append(f"\n{section or 'run'}" + (" (or lora, in short)" if section == "model.lora" else ""))
        lines.append(f"  {key}={spelled(value)}")
        rule = f"{spec.metadata['meaning']} [{allowed(spec)}]"
        lines.append(fill(rule, 100, initial_indent=" " * 6, subsequent_indent=" " * 6, break_on_hyphens=False))
    return "\n".join(lines)


def in_quotes(text: str) -> str:
    """As Hydra's grammar and OmegaConf read it back unchanged."""
    return '"{}"'.format(text.replace("\\", "\\\\").replace('"', '\\"').replace("${", "\\${"))


def malformed(override: str) -> str:
    """What is wrong with an override that Hydra's grammar refuses."""
    key, equals, value = override.partition("=")
    if not equals:
        return f"{override}: there is no value; write {key.strip()}=VALUE"
    if not re.fullmatch(r"[~+]*[\w./@:-]+", key):
        return f"{override}: {key!r} can't be a key; write KEY=VALUE with no blank beside the ="
    return (
        f"{override}: the value {value!r} can't be read; brackets and quotes come in pairs, a list is [a,b], "
        f"and a text with special characters needs quotes: {quoted(override)}"
    )


def quoted(override: str) -> str:
    key, _, value = override.partition("=")
    return f"'{key}=\"{value}\"'"


def explain(error: Exception, overrides: Sequence[str] = ()) -> UserError:
    """Hydra's or OmegaConf's error in our words."""
    cause: BaseException = error
    while cause.__cause__ is not None and not isinstance(cause, (OmegaConfBaseException, UserError)):
        cause = cause.__cause__
    if isinstance(cause, UserError):
        return cause
    first = str(cause).strip().splitlines()[0]
    key = re.sub(r"\[\d+]$", "", getattr(cause, "full_key", None) or "")
    key = ALIASES.get(key, key)
    if key in KEYS and (isinstance(cause, ValidationError) or not isinstance(cause, InterpolationResolutionError)):
        typed = (line.lstrip("+").partition("=") for line in overrides)
        given = {ALIASES.get(name, name): value for name, _, value in typed}
        found = re.search(r"[Vv]alue '(.*?)'(?: of type| for field|$)", first)
        value = given.get(key, found[1] if found else "null")
        return UserError(f"{key}={value}: must be {allowed(KEYS[key])} ({KEYS[key].metadata['meaning']})")
    if key in KEYS:
        return UserError(f"{key}: {first}")
    if cause is error:
        return UserError(" ".join(str(error).partition("\nConfig search path")[0].split()))
    near = nearest(str(cause.key), list(cause.parent_node)) if isinstance(cause, ConfigAttributeError) else ""
    return UserError(f"{str(error).splitlines()[0].rstrip('.')}: {first}{near}")


def nearest(wanted: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(wanted, known, n=1, cutoff=0.6)
    return f" (did you mean {close[0]}?)" if close else ""


def nearest_key(wanted: str) -> str:
    """By the whole name, else by its last part, else by what the key means: optim.learning_rate -> optim.lr."""
    known = [*RULES, *ALIASES, *GROUPS]
    ends = {key.split(".")[-1]: key for key in known}
    last = wanted.split(".")[-1].lower()
    close = difflib.get_close_matches(wanted.lower(), known, n=1, cutoff=0.8)
    close = close or [ends[end] for end in difflib.get_close_matches(last, list(ends), n=1, cutoff=0.75)]
    words = re.compile(rf"\b{re.escape(last.replace('_', ' '))}\b")
    close = close or [key for key, spec in RULES.items() if len(last) > 2 and words.search(spec.metadata["meaning"])]
    return f" (did you mean {close[0]}?)" if close else ""
