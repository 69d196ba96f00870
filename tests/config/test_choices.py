"""Every name that a key may take has its implementation, and the schema offers exactly these names."""

from collections.abc import Collection
from enum import StrEnum

import pytest

from lora_agnews.config.choices import ExportFormat, Head, Optimizer, Precision, Pruner, Sampler, Schedule, WandbMode
from lora_agnews.config.compose import compose_config
from lora_agnews.config.keys import RULES, STUDY_RULES
from lora_agnews.inference.export import WRITERS
from lora_agnews.model.build import AUTOCAST_DTYPES
from lora_agnews.model.lora import HEADS
from lora_agnews.sweeps.storage import PRUNERS
from lora_agnews.training.optimizers import OPTIMIZERS, SCHEDULES


@pytest.mark.parametrize(
    ("choices", "implemented"),
    [
        (Head, HEADS),
        (Optimizer, OPTIMIZERS),
        (Schedule, SCHEDULES),
        (Pruner, PRUNERS),
        (ExportFormat, WRITERS),
        (Precision, [*AUTOCAST_DTYPES, Precision.FP32]),
    ],
)
def test_every_choice_is_implemented_once(choices: type[StrEnum], implemented: Collection[StrEnum]) -> None:
    assert list(choices) == list(implemented)


@pytest.mark.parametrize(
    ("key", "choices"),
    [
        ("model.head", Head),
        ("optim.name", Optimizer),
        ("optim.schedule", Schedule),
        ("trainer.precision", Precision),
        ("logger.wandb", WandbMode),
        ("sampler", Sampler),
        ("pruner", Pruner),
    ],
)
def test_the_schema_offers_exactly_these_names(key: str, choices: type[StrEnum]) -> None:
    assert (RULES | STUDY_RULES)[key].metadata["choices"] == tuple(map(str, choices))


@pytest.mark.parametrize("schedule", Schedule)
def test_a_choice_is_composed_by_its_name(schedule: Schedule) -> None:
    assert compose_config(["model=tiny", f"optim.schedule={schedule}"]).optim.schedule == schedule
