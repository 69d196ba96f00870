"""The keys of a run: each is described, and its default is in conf/."""

import dataclasses

import pytest

from lora_agnews.config import sections

SECTIONS = [each for each in vars(sections).values() if isinstance(each, type) and dataclasses.is_dataclass(each)]


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.__name__)
def test_every_field_has_a_meaning_and_no_default(section: type) -> None:
    for field in dataclasses.fields(section):
        assert field.metadata["meaning"], field.name
        assert field.default is dataclasses.MISSING, field.name
