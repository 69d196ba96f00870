"""The hash that identifies the values of a run."""

from lora_agnews.config.compose import compose_config
from lora_agnews.config.identity import config_hash


def test_the_hash_identifies_everything_but_the_logger() -> None:
    def digits(*overrides: str) -> str:
        return config_hash(compose_config(["model=tiny", *overrides]).to_dict())

    assert digits() == digits("logger.project=other", "logger.tags=[a]", "logger.wandb=offline")
    assert len({digits(), digits("seed=1"), digits("lora.r=2"), digits("trainer.precision=32-true")}) == 4
