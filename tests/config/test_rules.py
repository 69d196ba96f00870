"""What a field allows: its range, its choices, and how both are written."""

import dataclasses
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lora_agnews.config.compose import compose_config
from lora_agnews.config.keys import RULES, STUDY_RULES
from lora_agnews.config.rules import check_value, config_keys, describe_allowed, rule, to_override
from lora_agnews.config.schema import TrainConfig
from lora_agnews.errors import UserError


@dataclasses.dataclass
class Example:
    share: float = rule("a share", low=0, below=1)
    number: int | None = rule("a number", above=2, high=1024)
    name: str = rule("a name", choices=("one", "two"))
    free: str | None = rule("a text")


FIELDS = {field.name: field for field in dataclasses.fields(Example)}


@pytest.mark.parametrize(
    ("name", "value"), [("share", 0), ("share", 0.99), ("number", 3), ("number", None), ("name", "two"), ("free", "x")]
)
def test_values_inside_the_range_are_accepted(name: str, value: Any) -> None:
    check_value(name, FIELDS[name], value)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("share", 1, "share=1: must be a number at least 0 and below 1 (a share)"),
        ("share", float("nan"), "share=nan: must be a number at least 0 and below 1 (a share)"),
        ("number", 2, "number=2: must be a whole number above 2 and at most 1,024 or null (a number)"),
        ("number", 1025, "number=1025: must be a whole number above 2 and at most 1,024 or null (a number)"),
        ("name", "three", "name=three: must be one of one, two (a name)"),
        ("free", " ", "free=' ': must be a non-empty string or null (a text)"),
    ],
)
def test_values_outside_are_refused_with_key_value_range_and_meaning(name: str, value: Any, message: str) -> None:
    with pytest.raises(UserError) as caught:
        check_value(name, FIELDS[name], value)
    assert str(caught.value) == message


def test_keys_are_listed_in_full_with_their_values() -> None:
    listed = {key: value for key, _, value in config_keys(compose_config(["model=tiny", "lora.r=3"]))}
    assert listed["model.lora.r"] == 3
    assert listed["resume"] is None
    assert "lora" not in listed
    assert list(listed) == [key for key, _, _ in config_keys(TrainConfig)]


@settings(max_examples=60, deadline=None)
@given(st.one_of(st.integers(1, 1024), st.lists(st.text("abc", min_size=1), unique=True), st.just("all-linear")))
def test_a_value_that_is_written_as_an_override_is_read_back(value: Any) -> None:
    key = "lora.r" if isinstance(value, int) else "lora.target_modules"
    config = compose_config(["model=tiny", f"{key}={to_override(value)}"])
    assert (config.model.lora.r if key == "lora.r" else config.model.lora.target_modules) == value


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (None, "null"),
        (True, "true"),
        ([1, "a", None], "[1,a,null]"),
        ({"query": 4, "value": [8]}, "{query:4,value:[8]}"),
        ("", "''"),
        (7e-4, "0.0007"),
    ],
)
def test_values_are_written_as_they_are_typed(value: Any, written: str) -> None:
    assert to_override(value) == written


@pytest.mark.parametrize("key", [*RULES, *STUDY_RULES])
def test_every_key_has_a_meaning_and_says_what_it_allows(key: str) -> None:
    spec = (RULES | STUDY_RULES)[key]
    assert len(spec.metadata["meaning"]) > 5
    assert describe_allowed(spec)
