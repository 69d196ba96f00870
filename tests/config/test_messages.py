"""Error messages: what is wrong, what was probably meant, how to write it."""

import shlex
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from lora_agnews.config.messages import (
    describe_syntax_error,
    quote,
    quote_override,
    resume_override,
    suggest,
    suggest_key,
)


@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from("ab'\"\\${}[]=,: ()é"), min_size=1, max_size=12))
def test_a_quoted_text_is_read_back_unchanged_by_hydra_and_omegaconf(text: str) -> None:
    override = OverridesParser.create().parse_override(f"key={quote(text)}")
    assert OmegaConf.create({"key": override.value()}).key == text


@pytest.mark.parametrize(
    "override",
    ["data.train_file=a,b.csv", "data.train_file=my rows.csv", "data.train_file=it's,x.csv", "logger.project=a=b"],
)
def test_the_quoted_override_of_a_message_works_in_a_shell(override: str) -> None:
    (word,) = shlex.split(quote_override(override))
    key, _, value = override.partition("=")
    assert OverridesParser.create().parse_override(word).key_or_group == key
    assert OverridesParser.create().parse_override(word).value() == value


def test_an_interpolation_stays_in_the_quoted_override() -> None:
    assert quote_override("logger.name=${seed},x") == "'logger.name=\"${seed},x\"'"


def test_a_quote_without_its_other_half_is_left_out() -> None:
    assert quote_override('data.train_file="a,b.csv') == "'data.train_file=\"a,b.csv\"'"


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("lora.rr", "lora.r"),
        ("trainer.epochs", "trainer.max_epochs"),
        ("optim.learning_rate", "optim.lr"),
        ("batchsize", "data.batch_size"),
        ("xyzzy", ""),
    ],
)
def test_the_nearest_key_is_suggested_by_name_by_last_part_or_by_meaning(wanted: str, found: str) -> None:
    assert suggest_key(wanted) == (f" (did you mean {found}?)" if found else "")


def test_nothing_is_suggested_without_a_near_name() -> None:
    assert suggest("lena", ["lean", "best"]) == " (did you mean lean?)"
    assert suggest("something", ["lean", "best"]) == ""


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("lora.r", "lora.r: there is no value; write lora.r=VALUE"),
        ("lora.r =1", "lora.r =1: 'lora.r ' can't be a key; write KEY=VALUE with no blank beside the ="),
    ],
)
def test_a_syntax_error_is_described_by_what_is_missing(override: str, message: str) -> None:
    assert describe_syntax_error(override) == message
    assert "a list is [a,b]" in describe_syntax_error("a=[b")


@pytest.mark.parametrize("path", ["runs/mine", "runs/sweep/r=1,seed=0-65fa00", "my runs/(a)", "${HOME}/run", "it's"])
def test_a_path_in_the_command_that_continues_a_run_is_read_back_by_shell_and_hydra(path: str) -> None:
    (word,) = shlex.split(resume_override(Path(path)))
    override = OverridesParser.create().parse_override(word)
    assert not override.is_sweep_override()
    assert OmegaConf.create({"resume": override.value()}).resume == path
