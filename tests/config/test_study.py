"""The rules of a study: what its keys need together."""

import pytest

from lora_agnews.config.compose import compose_study
from lora_agnews.errors import UserError


def test_a_study_of_random_points_needs_their_number() -> None:
    with pytest.raises(UserError, match="trials=null: sampler=random"):
        compose_study(["study=smoke", "sampler=random"])
    assert compose_study(["study=smoke", "sampler=random", "trials=3"]).trials == 3
