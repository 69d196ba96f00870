"""A study: its points planned against the budget, and run by any number of processes that share Optuna's storage.

Optuna hands out trials and keeps their state. The runs lie in the study's directory, each named after its point and
seed, and contain all that resuming and ranking need. So a trial that is handed out twice is run once.
"""

import hashlib
import json
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import optuna
from optuna.study import StudyDirection
from optuna.trial import TrialState

from lora_agnews.budget import Budget
from lora_agnews.config.choices import Pruner, Sampler, SweepTest
from lora_agnews.config.compose import compose_config
from lora_agnews.config.points import name_run
from lora_agnews.config.rules import to_override
from lora_agnews.config.schema import TrainConfig
from lora_agnews.config.study import StudyConfig
from lora_agnews.errors import RunLocked, RunPruned, UserError
from lora_agnews.model.plan import plan, predict
from lora_agnews.results.monitor import MONITOR
from lora_agnews.results.record import Status
from lora_agnews.sweeps.claims import Claims
from lora_agnews.sweeps.progress import SweepProgress
from lora_agnews.sweeps.space import Point, build_point, grid_points, parse_space, random_points
from lora_agnews.sweeps.storage import GRACE_SECONDS, PRUNERS, open_storage, suggest_value
from lora_agnews.terminal import console
from lora_agnews.training.in_process import log_file

STORAGE_FILE = "study.db"
DRAWS_PER_POINT = 100  # random points that may be over the budget for each point that is wanted
REFUSED_POINTS = 20  # random points that can't be built before the first one that can: then it is not the points


class RunFailed(Exception):
    """A run of a trial failed; its record says why."""


class Study:
    """A study and its trials. Raises: UserError, for values that can't be run, or a directory of another study."""

    def __init__(self, config: StudyConfig) -> None:
        self.config, self.dimensions = config, parse_space(config.space)
        self.folder = Path(config.dir or f"runs/study-{config.name}")
        self.url = config.storage or f"sqlite:///{self.folder.absolute() / STORAGE_FILE}"
        self.claims = Claims(config.storage, self.folder)
        for dimension in self.dimensions:
            for value in dimension.values_to_check:
                self.load({dimension.key: value}, config.seeds[0])
        self.points, self.budgets = self._plan()

    @property
    def num_runs(self) -> int | None:
        number = len(self.points) if self.config.sampler != Sampler.TPE else self.config.trials
        return number * len(self.config.seeds) if number else None

    @property
    def tested(self) -> SweepTest:
        """Rows of the leaderboard that are tested at the end."""
        return SweepTest(self.load({}, self.config.seeds[0]).test)

    @property
    def is_on_cpu(self) -> bool:
        """Whether the runs are asked to use the CPU although there may be GPUs. Raises: UserError, as `load`."""
        return self.load({}, self.config.seeds[0]).trainer.accelerator == "cpu"

    def load(self, point: Point, seed: int) -> TrainConfig:
        """Compose the configuration of a point with a seed. Raises: UserError."""
        line = [f"{key}={to_override(value)}" for key, value in point.items()]
        return compose_config([*self.config.overrides, *line, f"seed={seed}"])

    def open(self) -> None:
        """Create the study in its storage, or join it. Raises: UserError; RuntimeError."""
        directions = [StudyDirection.MAXIMIZE if MONITOR.mode == "max" else StudyDirection.MINIMIZE]
        directions += [StudyDirection.MINIMIZE] * self.config.minimize_parameters
        about: dict[str, Any] = {"study_name": self.config.name, "storage": open_storage(self.url)}
        about["pruner"] = PRUNERS[Pruner(self.config.pruner)]()
        trained = [line for line in self.config.overrides if not line.startswith("test=")]
        same = [trained, self.config.space, self.config.seeds, self.config.minimize_parameters]
        values = hashlib.sha256(json.dumps(same, sort_keys=True).encode()).hexdigest()
        try:
            self.study = optuna.create_study(**about, directions=directions)
            self.study.set_user_attr("values", values)
            self._enqueue()
        except optuna.exceptions.DuplicatedStudyError as error:
            self.study = optuna.load_study(**about)
            self._wait_until_planned()
            if self.study.user_attrs.get("values", values) != values:
                raise UserError(
                    f"{self.folder}: the study {self.config.name} there has other overrides, seeds or another space; "
                    "give this one a directory of its own: dir=runs/NAME"
                ) from error
            self._enqueue()
        self.study.set_user_attr("planned", True)

    def _wait_until_planned(self) -> None:
        """Wait for the process that created the study, perhaps on another machine, unless it is gone."""
        until = time.monotonic() + GRACE_SECONDS
        while "planned" not in self.study.user_attrs and time.monotonic() < until:
            time.sleep(0.5)

    def run_trials(self, progress: SweepProgress) -> None:
        """Run trials until none is left, here or in another process.

        Raises: KeyboardInterrupt, after recording the run; UserError, if tpe finds nothing within the budget.
        """
        while True:
            # On SQLite, two processes that ask at the same moment would get the same trial.
            with self.claims.turn() as end_turn, ExitStack() as claim:
                self.claims.take_over(self.study)
                trials = self.study.get_trials(deepcopy=False)
                states = [trial.state for trial in trials if "over" not in trial.user_attrs]
                latest = trials[-DRAWS_PER_POINT:]
                if len(latest) == DRAWS_PER_POINT and all("over" in trial.user_attrs for trial in latest):
                    raise UserError(f"study {self.config.name}: {DRAWS_PER_POINT} points in a row are over the budget")
                if TrialState.WAITING in states or (
                    self.config.sampler == Sampler.TPE and self._remaining_trials(trials) > 0
                ):
                    # Each trial has its own seed: two processes with the same seed would draw the same points.
                    self.study.sampler = optuna.samplers.TPESampler(seed=self.config.seeds[0] * 100_003 + len(trials))

                    def begin(number: int) -> None:
                        claim.enter_context(self.claims.hold(number))
                        end_turn()

                    objective = partial(self._objective, progress, begin)
                    self.study.optimize(objective, n_trials=1, catch=(RunFailed,))
                    continue
            if TrialState.RUNNING not in states:
                return
            time.sleep(1)

    def _plan(self) -> tuple[list[Point], list[tuple[Point, Budget | Exception]]]:
        """Return the points to run, and the points to show with their budgets. Both are empty for tpe.

        Of a grid every point is shown, of random points those that fit.
        """
        seed, trials = self.config.seeds[0], self.config.trials
        if self.config.sampler == Sampler.TPE:
            return [], []
        if self.config.sampler == Sampler.GRID:
            points = list(islice(grid_points(self.dimensions), trials))
        else:
            points = self._draw_points(trials or 0, seed)
        budgets = plan(self.load(point, seed) for point in points)
        found = list(zip(points, budgets, strict=True))
        return [point for point, budget in found if isinstance(budget, Budget) and budget.fits], found

    def _draw_points(self, wanted: int, seed: int) -> list[Point]:
        points: list[Point] = []
        seen: list[Point] = []
        refused: list[UserError] = []  # values that do not go together
        for point in islice(random_points(self.dimensions, seed), DRAWS_PER_POINT * wanted):
            if point not in seen:
                try:
                    points += [point] if predict(self.load(point, seed)).fits else []
                except UserError as error:
                    refused.append(error)
                    if not points and len(refused) == REFUSED_POINTS:
                        raise
            seen.append(point)
            if len(points) == wanted:
                return points
        drawn = f"{DRAWS_PER_POINT * wanted:,} random points"
        reason = f". One that can't be built: {refused[-1]}" if refused else ""
        raise UserError(f"trials={wanted}: {drawn} gave {len(points)} that fit the budget{reason}")

    def _enqueue(self) -> None:
        """Enqueue each point that has no trial, or only a failed one."""
        trials = self.study.get_trials(deepcopy=False)
        known = [trial.system_attrs.get("fixed_params") for trial in trials if trial.state != TrialState.FAIL]
        for point in self.points:
            if point not in known:
                self.study.enqueue_trial(point)

    def _remaining_trials(self, trials: list[optuna.trial.FrozenTrial]) -> int:
        """Return the number of trials still to run: requested minus existing, without over-budget and repeated ones."""
        repeated = [trial.state == TrialState.FAIL and "failed" not in trial.user_attrs for trial in trials]
        over = ["over" in trial.user_attrs for trial in trials]
        return (self.config.trials or 0) - len(trials) + sum(map(max, repeated, over))

    def _objective(self, progress: SweepProgress, begin: Callable[[int], None], trial: optuna.Trial) -> Any:
        """Run every seed of a trial's point and return the mean of the monitored metric."""
        begin(trial.number)
        attributes = self.study.get_trials(deepcopy=False)[trial.number].system_attrs
        if self.config.sampler != Sampler.TPE and "fixed_params" not in attributes:
            raise optuna.TrialPruned("another process took the last one")
        point = build_point(self.dimensions, partial(suggest_value, trial))
        try:
            budget = predict(self.load(point, self.config.seeds[0]))
            if not budget.fits:
                trial.set_user_attr("over", -budget.room)
                raise optuna.TrialPruned("over the budget")
            scores = []
            for seed in self.config.seeds:
                config = self.load(point, seed)
                scores.append(self._run(config, name_run(config, point | {"seed": seed}), trial, progress))
        except KeyboardInterrupt:
            self.study.enqueue_trial(point)  # so that the next start runs it
            raise
        except RunFailed as error:
            trial.set_user_attr("failed", str(error))
            raise
        except UserError as error:  # values that do not go together
            console.note(f"{', '.join(f'{key}={to_override(value)}' for key, value in point.items())}: {error}")
            trial.set_user_attr("failed", str(error))
            raise RunFailed(str(error)) from error
        mean = sum(scores) / len(scores)
        return (mean, budget.trainable) if self.config.minimize_parameters else mean

    def _run(self, config: TrainConfig, name: str, trial: optuna.Trial, progress: SweepProgress) -> float:
        """Run one seed and return the monitored metric. The validations of the first seed may prune the trial."""

        def should_prune(step: int, score: float) -> bool:
            if config.seed != self.config.seeds[0] or self.config.minimize_parameters:
                return False
            trial.report(score, step)
            return trial.should_prune()

        while True:
            try:
                with log_file(self.folder / name):
                    result = progress.run(config, self.folder / name, should_prune)
                break
            except RunLocked:
                time.sleep(1)
        if result.status == Status.INTERRUPTED and result.error == RunPruned.MESSAGE:
            raise optuna.TrialPruned
        if not result.succeeded:
            raise RunFailed(result.error)
        return result.metrics[MONITOR.key]
