"""What a configuration would train, without building it."""

import pytest

from lora_agnews.config.compose import compose_config
from lora_agnews.model.plan import predict


@pytest.mark.parametrize(
    ("overrides", "trainable"),
    [
        ([], 632_068),
        (["experiment=seed"], 632_068),
        (["experiment=lean"], 79_876),
        (["experiment=best"], 888_580),
        (["model=roberta_large", "model.head=lora"], 104_452),
        (["model=distilroberta"], 613_636),
    ],
    ids=str,
)
def test_the_shipped_recipes_train_what_they_promise(overrides: list[str], trainable: int) -> None:
    assert predict(compose_config(overrides)).trainable == trainable


def test_lean_keeps_its_own_limit_when_r_grows() -> None:
    assert not predict(compose_config(["experiment=lean", "lora.r=3"])).fits
