"""What a run would train, and a whole space of runs, from arithmetic alone: no weights, no rows, no torch."""

from collections.abc import Iterable

from lora_agnews.budget import Budget
from lora_agnews.config import TrainConfig, UserError
from lora_agnews.model.allocation import Lora, largest_ranks, left_out, predict_budget, what_fits
from lora_agnews.model.shape import Shape, read_shape


def predict(config: TrainConfig) -> Budget:
    """The budget of a run. Raises: UserError; RuntimeError, if the model's config is on a hub out of reach."""
    return predict_budget(*_subject(config), config.budget.max_trainable)


def remedies(config: TrainConfig) -> list[str]:
    """Overrides beside the rank that would bring a run within the limit."""
    return what_fits(*_subject(config), config.budget.max_trainable)


def ranks(config: TrainConfig) -> dict[str, dict[str, int | None]]:
    """Target modules -> head -> the largest r that fits; the first row is the run's own."""
    return largest_ranks(*_subject(config), config.budget.max_trainable)


def notes(config: TrainConfig) -> list[str]:
    """What a reader of the config may not expect."""
    names = ", ".join(left_out(*_subject(config)))
    return [f"model.head=out_proj: no adapter on {names}"] if names else []


def plan(configs: Iterable[TrainConfig]) -> list[Budget | Exception]:
    """Of each config its budget, or why it can't be built."""
    found: list[Budget | Exception] = []
    for config in configs:
        try:
            found.append(predict(config))
        except (UserError, RuntimeError) as error:
            found.append(error)
    return found


def _subject(config: TrainConfig) -> tuple[Shape, Lora]:
    return read_shape(config.model.name, config.model.revision), Lora.of(config.model)
