"""Type, meaning and allowed values of every key of a study. The values live in conf/sweep.yaml and conf/study/."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from lora_agnews.config.choices import Pruner, Sampler
from lora_agnews.config.rules import CHECKED_TYPES, check_value, rule
from lora_agnews.errors import UserError


@dataclass
class StudyConfig:
    """A study: the points that `sampler` takes from `space`, each once per seed, on top of `overrides`."""

    name: str = rule("name of the study")
    overrides: list[str] = rule("overrides of train.py that hold for every point")
    space: dict[str, Any] = rule("for each key a list of values, {choices: ...} or {low: ..., high: ...}")
    seeds: list[int] = rule("seeds of each point")
    sampler: str = rule("grid: every point; random: random points; tpe: points near good ones", choices=Sampler)
    trials: int | None = rule(
        "points to run, each with every seed; in a grid, those over the budget count too; null: all of a grid",
        low=1,
        high=100_000,
    )
    pruner: str = rule("stops a point whose first seed falls behind others after as many validations", choices=Pruner)
    minimize_parameters: bool = rule("minimise the trained parameters as a second objective (Pareto front)")
    workers: int = rule("processes on this machine", low=1, high=256)
    storage: str | None = rule(
        "what several machines share: an Optuna URL such as postgresql+psycopg://, or journal:FILE on a file system "
        "such as NFS; null: an SQLite file in dir"
    )
    dir: str | None = rule("directory of the study and its runs; null: runs/study-NAME")

    def __post_init__(self) -> None:
        for spec in dataclasses.fields(self):
            value = getattr(self, spec.name)
            if spec.type in CHECKED_TYPES:
                check_value(spec.name, spec, value)
        if not self.space or not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise UserError(f"study {self.name}: needs a key in space, and one seed or more, none of them twice")
        if self.sampler != Sampler.GRID and not self.trials:
            raise UserError(f"trials=null: sampler={self.sampler} needs a number of points; add trials=NUMBER")
        if self.minimize_parameters and self.pruner != Pruner.NONE:
            raise UserError(
                f"pruner={self.pruner} with minimize_parameters=true: a point behind in accuracy may be ahead in size; "
                "use pruner=none"
            )
