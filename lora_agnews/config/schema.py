"""The configuration of a run: its sections, and the values that depend on each other."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from lora_agnews.config.choices import Debug, SweepTest
from lora_agnews.config.rules import check_value, config_keys, rule
from lora_agnews.config.sections import (
    BudgetConfig,
    DataConfig,
    LoggerConfig,
    ModelConfig,
    OptimConfig,
    TrainerConfig,
)
from lora_agnews.config.start_adapter import identify_adapter
from lora_agnews.config.trainer_options import check_trainer_options
from lora_agnews.errors import UserError
from lora_agnews.labels import AG_NEWS


@dataclass
class TrainConfig:
    """Configuration of one run. `lora` exists only as the alias of `model.lora` on the command line."""

    seed: int = rule(
        "seed of the validation split, the initial weights of head and adapters, the order of rows and dropout",
        low=0,
        high=2**32 - 1,
    )
    model: ModelConfig = rule("the model")
    lora: Any = rule("alias of model.lora")
    data: DataConfig = rule("rows and batches")
    optim: OptimConfig = rule("optimizer and schedule")
    trainer: TrainerConfig = rule("the training loop")
    logger: LoggerConfig = rule("where metrics go")
    budget: BudgetConfig = rule("the limit")
    debug: str | None = rule(
        "a run that looks for mistakes, and is never ranked. fast: one step; overfit: 32 rows are learnt by heart; "
        "profile: where the time goes",
        choices=Debug,
        as_before=None,
    )
    test: str = rule(
        "runs of a sweep that are tested. winner: the best row by validation; tied: also the rows tied with it; "
        "all: every run; none: no run. A single run is always tested",
        choices=SweepTest,
        as_before="all",
    )
    resume: str | None = rule(
        "run directory or checkpoint to continue; latest: the newest unfinished one in runs/; null: a new run"
    )

    def __post_init__(self) -> None:
        if self.model.adapter:
            self.model.adapter = identify_adapter(self.model.adapter)
        if self.data.train_file or self.data.test_file:
            self.data.source = "files"
        elif self.data.name != AG_NEWS:
            self.data.source = "hub"
        for key, spec, value in config_keys(self):
            check_value(key, spec, value)
        self.trainer.extra = self.trainer.extra or None
        check_trainer_options(self.trainer.extra or {})
        _check_data(self.data)

    def to_dict(self) -> dict[str, Any]:
        """Return every value of the run as plain types.

        Without the alias `lora`, and without `resume` and `test`, which say what a command does with the run.
        """
        values = dataclasses.asdict(self)
        del values["lora"], values["resume"], values["test"]
        return values


def _check_data(data: DataConfig) -> None:
    """Raises: UserError, if keys name two sources of rows, or belong to another source than the one that is used."""
    if data.source == "files" and not data.train_file:
        raise UserError("data.train_file=null: data.source=files and data.test_file need it; add data.train_file=FILE")
    if data.source == "files" and data.name != AG_NEWS:
        raise UserError(f"data.name={data.name} and data.train_file={data.train_file} both name rows; give one of them")
    if data.source != "hub" and data.revision:
        raise UserError(f"data.revision={data.revision}: data.source={data.source} has no revisions; leave it out")
    for key, column in (("data.text_column", data.text_column), ("data.label_column", data.label_column)):
        if data.source == "sample" and column:
            raise UserError(f"{key}={column}: the columns of the shipped rows are known; leave it out")
    if (data.text_column or "text") == (data.label_column or "label"):
        column = data.text_column or data.label_column
        raise UserError(f"{column} can't have both texts and labels; give data.text_column and data.label_column")
