"""A study: its points planned against the budget, run by any number of processes, resumed and ranked.

Optuna hands out trials and keeps their state; the runs themselves lie in the study's directory, each under the name of
its point and seed, and hold all that resuming and ranking need. So a trial that is asked for twice is done once.
"""

import hashlib
import json
import logging
import os
import subprocess
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback, fail_stale_trials
from optuna.study import StudyDirection
from optuna.trial import TrialState
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from lora_agnews import console
from lora_agnews.budget import Budget
from lora_agnews.config import StudyConfig, TrainConfig, UserError, spelled
from lora_agnews.launch import check_overrides, name_run
from lora_agnews.lock import Busy, in_turn
from lora_agnews.plan import plan, predict
from lora_agnews.report import write_report
from lora_agnews.result import Pruned
from lora_agnews.sweep.board import Board
from lora_agnews.sweep.space import Axis, Point, choose, drawn, grid, read_space

STORAGE = "study.db"
BEAT, GRACE = 5, 20  # seconds between signs of life of a trial, and without one until others take it over
ATTEMPTS = 3  # to open the storage, a second apart
DRAWS = 100  # random points that may be over the budget for each that is wanted
PRUNERS: dict[str, Callable[[], optuna.pruners.BasePruner]] = {
    "none": optuna.pruners.NopPruner,
    "median": optuna.pruners.MedianPruner,
    "hyperband": optuna.pruners.HyperbandPruner,
}


class Study:
    """A study on its storage. Raises: UserError, for values that can't be run, or a directory of another study."""

    def __init__(self, config: StudyConfig) -> None:
        self.config, self.axes = config, read_space(config.space)
        self.folder = Path(config.dir or f"runs/study-{config.name}")
        for axis in self.axes:
            for value in axis.ends:
                self.load({axis.key: value}, config.seeds[0])
        self.points, self.budgets = self._plan()

    def load(self, point: Point, seed: int) -> TrainConfig:
        line = [f"{key}={spelled(value)}" for key, value in point.items()]
        return check_overrides("train", [*self.config.overrides, *line, f"seed={seed}"])

    def open(self) -> None:
        """Creates the study or joins it."""
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        url = self.config.storage or f"sqlite:///{self.folder.absolute() / STORAGE}"
        directions = [StudyDirection.MAXIMIZE] + [StudyDirection.MINIMIZE] * self.config.minimize_parameters
        about: dict[str, Any] = {"study_name": self.config.name, "storage": _connect(url)}
        about["pruner"] = PRUNERS[self.config.pruner]()
        same = [self.config.overrides, self.config.space, self.config.seeds, self.config.minimize_parameters]
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
        """By the process that created it, on another machine; if that takes too long it is gone."""
        until = time.monotonic() + GRACE
        while "planned" not in self.study.user_attrs and time.monotonic() < until:
            time.sleep(0.5)

    def work(self, board: Board) -> None:
        """Takes trials until none is left, here or elsewhere.

        Raises: KeyboardInterrupt, and what is begun stays; UserError, if tpe finds nothing within the budget.
        """
        while True:
            # On SQLite two processes that ask at the same time would get the same trial.
            with in_turn(self.folder / ".turn") as let_go:
                fail_stale_trials(self.study)
                trials = self.study.get_trials(deepcopy=False)
                states = [trial.state for trial in trials if "over" not in trial.user_attrs]
                if len(trials) >= DRAWS and all("over" in trial.user_attrs for trial in trials[-DRAWS:]):
                    raise UserError(f"study {self.config.name}: {DRAWS} points in a row are over the budget")
                if TrialState.WAITING in states or (self.config.sampler == "tpe" and self._wanted(trials) > 0):
                    # a seed for each trial: two processes with one seed would draw the same points
                    self.study.sampler = optuna.samplers.TPESampler(seed=self.config.seeds[0] * 100_003 + len(trials))
                    objective = partial(self._objective, board, let_go)
                    self.study.optimize(objective, n_trials=1, catch=(RunFailed,))
                    continue
            if TrialState.RUNNING not in states:
                return
            time.sleep(1)

    @property
    def num_runs(self) -> int | None:
        number = len(self.points) if self.config.sampler != "tpe" else self.config.trials
        return number * len(self.config.seeds) if number else None

    def _plan(self) -> tuple[list[Point], list[tuple[Point, Budget | Exception]]]:
        """The points to run, and all that were looked at with what they would train; none for tpe, which goes on."""
        seed, trials = self.config.seeds[0], self.config.trials
        if self.config.sampler == "tpe":
            return [], []
        if self.config.sampler == "grid":
            points = list(islice(grid(self.axes), trials))
        else:
            points = self._draw(trials or 0, seed)
        budgets = plan(self.load(point, seed) for point in points)
        found = list(zip(points, budgets, strict=True))
        return [point for point, budget in found if isinstance(budget, Budget) and budget.fits], found

    def _draw(self, wanted: int, seed: int) -> list[Point]:
        points: list[Point] = []
        seen: list[Point] = []
        for point in islice(drawn(self.axes, seed), DRAWS * wanted):
            if point not in seen and predict(self.load(point, seed)).fits:
                points.append(point)
            seen.append(point)
            if len(points) == wanted:
                return points
        raise UserError(f"trials={wanted}: {DRAWS * wanted:,} random points gave {len(points)} that fit the budget")

    def _enqueue(self) -> None:
        """Each point that no trial has, or only one that failed."""
        trials = self.study.get_trials(deepcopy=False)
        known = [trial.system_attrs.get("fixed_params") for trial in trials if trial.state != TrialState.FAIL]
        for point in self.points:
            if point not in known:
                self.study.enqueue_trial(point)

    def _wanted(self, trials: list[optuna.trial.FrozenTrial]) -> int:
        """Trials still to be asked for. Failed ones count; those over the budget, or run again by another, do not."""
        again = [trial.state == TrialState.FAIL and "failed" not in trial.user_attrs for trial in trials]
        over = ["over" in trial.user_attrs for trial in trials]
        return (self.config.trials or 0) - len(trials) + sum(map(max, again, over))

    def _objective(self, board: Board, let_go: Callable[[], None], trial: optuna.Trial) -> Any:
        let_go()
        attributes = self.study.get_trials(deepcopy=False)[trial.number].system_attrs
        if self.config.sampler != "tpe" and "fixed_params" not in attributes:
            raise optuna.TrialPruned("another process took the last one")
        point = choose(self.axes, lambda axis: _suggest(trial, axis))
        try:
            budget = predict(self.load(point, self.config.seeds[0]))
            if not budget.fits:
                trial.set_user_attr("over", -budget.room)
                raise optuna.TrialPruned("over the budget")
            scores = []
            for seed in self.config.seeds:
                config = self.load(point, seed)
                scores.append(self._run(config, name_run(config, point | {"seed": seed}), trial, board))
        except KeyboardInterrupt:
            self.study.enqueue_trial(point)  # for the next start
            raise
        except RunFailed as error:
            trial.set_user_attr("failed", str(error))
            raise
        except UserError as error:  # values that do not go together
            console.notice(f"{', '.join(f'{key}={spelled(value)}' for key, value in point.items())}: {error}")
            trial.set_user_attr("failed", str(error))
            raise RunFailed(str(error)) from error
        mean = sum(scores) / len(scores)
        return (mean, budget.trainable) if self.config.minimize_parameters else mean

    def _run(self, config: TrainConfig, name: str, trial: optuna.Trial, board: Board) -> float:
        """The validation accuracy of a run. The first seed's validations decide if the trial is given up."""

        def hopeless(step: int, accuracy: float) -> bool:
            if config.seed != self.config.seeds[0] or self.config.minimize_parameters:
                return False
            trial.report(accuracy, step)
            return trial.should_prune()

        while True:
            try:
                with _log_to(self.folder / name / "train.log"):
                    result = board.run(config, self.folder / name, hopeless)
                break
            except Busy:
                time.sleep(1)
        if result.status == "interrupted" and result.error == Pruned.WORDS:
            raise optuna.TrialPruned
        if not result.succeeded:
            raise RunFailed(result.error)
        return result.metrics["val/accuracy"]


class RunFailed(Exception):
    """A run of a trial failed; its record says why."""


def run_study(config: StudyConfig, command: list[str], worker: bool = False) -> int:
    """Runs what is left of a study and shows the outcome; a worker, which `command` starts, leaves that to others.

    Gives back the exit status.

    Raises: UserError; RuntimeError, if the storage or a model's config is out of reach; KeyboardInterrupt.
    """
    study = Study(config)
    board = Board(study.folder, study.num_runs, config.workers)
    console.show_study(config, study.budgets)
    study.folder.mkdir(parents=True, exist_ok=True)
    with in_turn(study.folder / ".turn"):
        study.open()
    if worker:
        study.work(board)
        return 0
    failed = 0
    if config.workers == 1:
        study.work(board)
    else:
        failed = _work_in_processes(config.workers, command, study.folder, board)
    status, page = max(failed, board.conclude()), study.folder / "report.html"
    if board.rows:
        write_report(board.rows, page, f"Study {config.name}")
        console.say(f"report       {page}")
    return status


def _connect(url: str) -> RDBStorage:
    """Raises: RuntimeError, without the password of the URL, if there is no such storage."""
    for attempt in range(ATTEMPTS):
        try:
            return RDBStorage(
                url,
                engine_kwargs={"connect_args": {"timeout": 60}} if url.startswith("sqlite") else None,
                heartbeat_interval=BEAT,
                grace_period=GRACE,
                heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(),
            )
        except (SQLAlchemyError, ImportError) as error:  # two processes may make its tables at the same time
            reason = str(getattr(error, "orig", error)).splitlines()[0]
            if attempt == ATTEMPTS - 1 or isinstance(error, (ImportError, ArgumentError)):
                shown = "storage" if isinstance(error, ArgumentError) else make_url(url).render_as_string()
                raise RuntimeError(
                    f"{shown}: no such storage ({reason}); write storage=postgresql+psycopg://USER@HOST/NAME with "
                    'pip install -e ".[postgres]", or leave it out'
                ) from error
            time.sleep(1)
    raise AssertionError


def _work_in_processes(number: int, command: list[str], folder: Path, board: Board) -> int:
    """A worker after the other is started; then a view of what they do. 1 if one of them ended badly, else 0.

    Ctrl-C reaches them too: they save and end.
    """
    logs = [folder / f"worker-{each}.log" for each in range(1, number + 1)]
    threads = str(max(1, (os.cpu_count() or 1) // number))  # each with all cores would be slower than one after another
    workers = []
    for path in logs:
        with path.open("a") as log:
            own = {"OMP_NUM_THREADS": threads} | os.environ
            workers.append(subprocess.Popen(command, stdout=log, stderr=log, env=own))
    try:
        with console.watch(board.state):
            statuses = [worker.wait() for worker in workers]
    except KeyboardInterrupt:
        for worker in workers:
            worker.wait()
        raise
    for status, path in zip(statuses, logs, strict=True):
        if status:
            console.notice(f"a worker ended with status {status}: {path} has the details")
    return int(any(statuses))


def _suggest(trial: optuna.Trial, axis: Axis) -> Any:
    if axis.choices:
        return trial.suggest_categorical(axis.key, axis.choices)
    if axis.whole:
        return trial.suggest_int(axis.key, int(axis.low), int(axis.high), log=axis.log)
    return trial.suggest_float(axis.key, axis.low, axis.high, log=axis.log)


@contextmanager
def _log_to(path: Path) -> Iterator[None]:
    """The messages of a run, as Hydra keeps them for train.py."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("[%(asctime)s][%(name)s][%(levelname)s] - %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.removeHandler(handler)
        handler.close()
