"""Studies of short runs, and what they leave."""

from pathlib import Path
from typing import Any

import optuna

from lora_agnews.config.compose import compose_study
from lora_agnews.results.ranking import find_runs


def study_of(folder: Path, *lines: str) -> Any:
    return compose_study(["study=smoke", f"dir={folder}", *lines])


def statuses(folder: Path) -> dict[str, str]:
    return {path.name.rpartition("-")[0]: result.status for path, result in find_runs([folder])}


def study_in(folder: Path) -> optuna.Study:
    return optuna.load_study(study_name=None, storage=f"sqlite:///{folder}/study.db")
