"""Error messages about keys and overrides: what is wrong, what was probably meant, how to write it."""

import difflib
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    InterpolationResolutionError,
    OmegaConfBaseException,
    ValidationError,
)

from lora_agnews.config.keys import ALIASES, GROUPS, RULES, STUDY_RULES
from lora_agnews.config.rules import describe_allowed
from lora_agnews.config.scripts import TRAIN
from lora_agnews.errors import UserError


def to_user_error(error: Exception, overrides: Sequence[str] = ()) -> UserError:
    """Rewrite an error of Hydra or OmegaConf in this project's words. `overrides` give the value as it was typed."""
    cause: BaseException = error
    while cause.__cause__ is not None and not isinstance(cause, (OmegaConfBaseException, UserError)):
        cause = cause.__cause__
    if isinstance(cause, UserError):
        return cause
    rules = RULES | STUDY_RULES
    first_line = str(cause).strip().splitlines()[0]
    key = re.sub(r"\[\d+]$", "", getattr(cause, "full_key", None) or "")
    key = ALIASES.get(key, key)
    if key in rules and (isinstance(cause, ValidationError) or not isinstance(cause, InterpolationResolutionError)):
        typed = (line.lstrip("+").partition("=") for line in overrides)
        given = {ALIASES.get(name, name): value for name, _, value in typed}
        found = re.search(r"[Vv]alue '(.*?)'(?: of type| for field|$)", first_line)
        value = given.get(key, found[1] if found else "null")
        return UserError(f"{key}={value}: must be {describe_allowed(rules[key])} ({rules[key].metadata['meaning']})")
    if key in rules:
        return UserError(f"{key}: {first_line}")
    if "'trainer.extra'" in str(error) and isinstance(cause, ConfigKeyError):  # OmegaConf adds no keys to a mapping
        return UserError(
            f"trainer.extra: debug=profile or a file of yours sets other options, and {cause.key} can't be added on "
            "the command line; write it into that file"
        )
    in_file = re.match(r"In '(.+?)': .*Key '.*' not in '.*'\s+full_key: (\S+)", str(error), re.DOTALL)
    if in_file:
        return UserError(_describe_unknown_key(*in_file.groups()))
    if cause is error:
        return UserError(" ".join(str(error).partition("\nConfig search path")[0].split()))
    hint = suggest(str(cause.key), list(cause.parent_node)) if isinstance(cause, ConfigAttributeError) else ""
    return UserError(f"{str(error).splitlines()[0].rstrip('.')}: {first_line}{hint}")


def _describe_unknown_key(file: str, key: str) -> str:
    """Say what is wrong with a file of a group that sets a key which does not exist."""
    if key == file.partition("/")[0]:
        return f"{file}.yaml: its first line must be '# @package _global_'"
    return f"{file}.yaml: there is no key {key}{suggest_key(key)}. All keys: {TRAIN} --help"


def describe_syntax_error(override: str) -> str:
    """Say what is wrong with an override that Hydra's grammar rejects."""
    key, equals, value = override.partition("=")
    if not equals:
        return f"{override}: there is no value; write {key.strip()}=VALUE"
    if not re.fullmatch(r"[~+]*[\w./@:-]+", key):
        return f"{override}: {key!r} can't be a key; write KEY=VALUE with no blank beside the ="
    return (
        f"{override}: the value {value!r} can't be read; brackets and quotes come in pairs, a list is [a,b], "
        f"and a value with special characters needs quotes: {quote_override(override)}"
    )


def suggest(wanted: str, known: Sequence[str]) -> str:
    """Return " (did you mean ...?)" for the nearest known name, or an empty string."""
    close = difflib.get_close_matches(wanted, known, n=1, cutoff=0.6)
    return f" (did you mean {close[0]}?)" if close else ""


def suggest_key(wanted: str) -> str:
    """`suggest` for keys: by the whole name, by its last part, or by its meaning (optim.learning_rate -> optim.lr)."""
    known = [*RULES, *ALIASES, *GROUPS]
    ends = {key.split(".")[-1]: key for key in known}
    last = wanted.split(".")[-1].lower()
    close = difflib.get_close_matches(wanted.lower(), known, n=1, cutoff=0.8)
    close = close or [ends[end] for end in difflib.get_close_matches(last, list(ends), n=1, cutoff=0.75)]
    words = re.compile(rf"\b{re.escape(last.replace('_', ' '))}\b")
    close = close or [key for key, spec in RULES.items() if len(last) > 2 and words.search(spec.metadata["meaning"])]
    return f" (did you mean {close[0]}?)" if close else ""


def quote(text: str) -> str:
    """Quote a string so that Hydra's grammar and OmegaConf read it back unchanged."""
    return _in_quotes(re.sub(r"(\\*)\$\{", r"\1\1\\${", text))  # a backslash is special only before an interpolation


def _in_quotes(text: str) -> str:
    """Quote a string for Hydra's grammar; its interpolations stay."""
    text = re.sub(r'(\\*)"', r'\1\1\\"', text)  # a backslash is special only before a quote or at the end
    return '"{}"'.format(re.sub(r"(\\+)\Z", r"\1\1", text))


def resume_override(path: Path) -> str:
    """Return the override that continues a run or a checkpoint, in quotes if Hydra or a shell needs them."""
    override = f"resume={path}"
    return override if re.fullmatch(r"resume=[\w./\\:-]+", override) else shlex.quote(f"resume={quote(str(path))}")


def quote_override(override: str) -> str:
    """Quote the value of an override for a shell."""
    key, _, value = override.partition("=")
    if value[:1] in ("'", '"') and value.count(value[0]) == 1:  # without its other half
        value = value[1:]
    return shlex.quote(f"{key}={_in_quotes(value)}")
