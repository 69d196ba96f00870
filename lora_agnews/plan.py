"""What a study would run and what it would train, from arithmetic alone: no weights, no rows, nothing runs."""

from rich.table import Table

from lora_agnews import console
from lora_agnews.budget import Budget
from lora_agnews.config import StudyConfig, TrainConfig
from lora_agnews.model.allocation import Lora, largest_ranks, predict_budget, what_fits
from lora_agnews.model.shape import Shape, read_shape


def predict(config: TrainConfig) -> Budget:
    """The budget of a run. Raises: UserError; RuntimeError, if the model's config is on a hub out of reach."""
    return predict_budget(_shape(config), Lora.of(config.model), config.budget.max_trainable)


def remedies(config: TrainConfig) -> list[str]:
    """Overrides beside the rank that would bring a run within the limit."""
    return what_fits(_shape(config), Lora.of(config.model), config.budget.max_trainable)


def _shape(config: TrainConfig) -> Shape:
    return read_shape(config.model.name, config.model.revision)


def show_plan(study: StudyConfig, points: list[tuple[list[str], TrainConfig]]) -> None:
    """A row for each point: what varies, trained parameters, fits or not."""
    table = Table(title=f"Study {study.name}", title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for key in study.space:
        table.add_column(key)
    table.add_column("parameters", justify="right")
    table.add_column("budget")
    fitting = 0
    for overrides, config in points:
        budget = predict(config)
        fitting += budget.fits
        verdict = "fits" if budget.fits else f"over by {budget.trainable - budget.limit:,}"
        style = None if budget.fits else "dim"
        table.add_row(*(o.split("=", 1)[1] for o in overrides), f"{budget.trainable:,}", verdict, style=style)
    console.out.print(table, "")
    runs = fitting * len(study.seeds)
    console.out.print(f"{len(points)} points, {fitting} fit x {len(study.seeds)} seeds = {runs} runs", highlight=False)
    command = " ".join(f"{key}={','.join(map(str, values))}" for key, values in study.space.items())
    every = ["python train.py -m", *study.overrides, command, f"seed={','.join(map(str, study.seeds))}"]
    console.out.print(f"to run them: {' '.join(every)}", highlight=False, soft_wrap=True)
