"""What a configuration would train, by arithmetic: no weights, no rows, and no torch for the models of conf/model."""

from collections.abc import Iterable

from lora_agnews.budget import Budget
from lora_agnews.config.choices import Head, Prefix
from lora_agnews.config.schema import TrainConfig
from lora_agnews.errors import UserError
from lora_agnews.model.architecture import Architecture, read_architecture
from lora_agnews.model.lora import (
    LoraSpec,
    fitting_heads,
    largest_ranks,
    predict_budget,
    prefix_end,
    targets_without_adapter,
)


def predict(config: TrainConfig) -> Budget:
    """Predict the budget of a run. Raises: UserError; RuntimeError, if the model's config.json can't be fetched."""
    subject = _subject(config)
    if config.model.prefix == Prefix.CACHED:
        prefix_end(*subject)
    return predict_budget(*subject, config.budget.max_trainable)


def remedies(config: TrainConfig) -> list[str]:
    """List overrides other than the rank that would bring a run within the limit."""
    return fitting_heads(*_subject(config), config.budget.max_trainable)


def ranks(config: TrainConfig) -> dict[str, dict[str, int | None]]:
    """Return target modules -> head -> the largest r that fits. The first row is that of the run."""
    return largest_ranks(*_subject(config), config.budget.max_trainable)


def notes(config: TrainConfig) -> list[str]:
    """List notes on choices that have no effect."""
    architecture, lora = _subject(config)
    names = ", ".join(targets_without_adapter(architecture, lora))
    found = [f"model.head=out_proj: no adapter on {names}"] if names else []
    if len(architecture.head) == 1 and config.model.head != Head.OUT_PROJ:
        found.append(f"model.head={config.model.head}: the head has only one layer, which is trained")
    if "gradient_clip_algorithm" in (config.trainer.extra or {}) and not config.trainer.gradient_clip:
        found.append("trainer.extra.gradient_clip_algorithm has no effect while trainer.gradient_clip=0")
    return found


def plan(configs: Iterable[TrainConfig]) -> list[Budget | Exception]:
    """Predict the budget of each configuration, or return the error that explains why it can't be built."""
    found: list[Budget | Exception] = []
    for config in configs:
        try:
            found.append(predict(config))
        except (UserError, RuntimeError) as error:
            found.append(error)
    return found


def _subject(config: TrainConfig) -> tuple[Architecture, LoraSpec]:
    return read_architecture(config.model.name, config.model.revision), LoraSpec.of(config.model)
