"""How far a sweep is: one line per finished run, and at the end the leaderboard on the terminal and in a file."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lora_agnews.config.choices import SweepTest
from lora_agnews.config.schema import TrainConfig
from lora_agnews.errors import RunLocked, RunPruned
from lora_agnews.files.atomic import write_atomically
from lora_agnews.files.locks import file_lock
from lora_agnews.results.monitor import MONITOR
from lora_agnews.results.ranking import find_runs, rank, to_csv, to_table
from lora_agnews.results.record import RESULT_FILE, RunResult, Status
from lora_agnews.results.row import Row, Run
from lora_agnews.sweeps.point import is_done, run_point
from lora_agnews.sweeps.testing import open_test_rows, runs_to_test
from lora_agnews.terminal import console, tables
from lora_agnews.training.in_sweep import InSweep, ShouldPrune

LEADERBOARD, CONCLUDE_FILE = "leaderboard.csv", ".conclude"


@dataclass
class SweepProgress:
    """The runs of a sweep, one after another. `total` is None if their number is not known."""

    folder: Path
    total: int | None
    workers: int = 1
    seeds: int = 1  # of each point of a study; a pruned point runs only the first one
    started: list[str] = field(default_factory=list)  # names of the runs that this process has started or skipped
    skipped: set[str] = field(default_factory=set)  # those of them that were done before

    def run(self, config: TrainConfig, run_dir: Path, should_prune: ShouldPrune | None = None) -> RunResult:
        """Run a point between `start` and `finish`. Raises: KeyboardInterrupt; RunLocked."""
        self.start(run_dir)
        try:
            result = run_point(config, run_dir, self.folder.name, self.place(should_prune))
        except RunLocked:
            self.started.pop()
            console.print_line(f"{run_dir.name}: another process is working on it")
            raise
        self.finish(run_dir)
        return result

    def place(self, should_prune: ShouldPrune | None = None) -> InSweep:
        """Describe the place of the next run. Until a run has finished, it estimates the duration of all."""
        is_first = not any(result.succeeded for _, result in self._runs())
        return InSweep(should_prune, runs=self.total or 1 if is_first else 1, workers=self.workers)

    def start(self, run_dir: Path) -> None:
        """Count a run, and show its name on a terminal until it is finished."""
        self.started.append(run_dir.name)
        if is_done(RunResult.load_even_damaged(run_dir)):
            self.skipped.add(run_dir.name)
        console.print_temporarily(self._number(run_dir))

    def finish(self, run_dir: Path) -> None:
        """Print one line: the outcome of the run, and the state of the sweep."""
        result = RunResult.load_even_damaged(run_dir)
        if result is None or result.status == Status.RUNNING:
            console.print_line(f"{self._number(run_dir)}  another process is working on it")
            return
        outcome = result.status.label
        if result.succeeded:
            outcome += f", {MONITOR.label} {result.metrics[MONITOR.key]:.4f}, {result.seconds['total']:.0f} s"
        elif result.error:
            outcome += f": {result.error.splitlines()[0]}"
        log_file = run_dir / "train.log"
        if result.status == Status.FAILED and log_file.exists() and log_file.stat().st_size:
            outcome += f" (more in {console.short_path(log_file)})"
        before = "done before: " if run_dir.name in self.skipped else ""
        console.print_line(f"{self._number(run_dir)}  {before}{outcome} | {self.state()}")

    def state(self) -> str:
        """Describe in one line how many runs are done, running and failed, the best one, and the time left."""
        runs = self._runs()
        counts = Counter(result.status for _, result in runs)
        succeeded = [(folder, result) for folder, result in runs if result.succeeded]
        count = f"{len(succeeded)}/{self.total or '?'} done"
        if self.total and len(runs) > self.total:  # some belong to another command with the same directory
            count = f"{len(succeeded)} done in this directory"
        parts = [count]
        others = (Status.RUNNING, Status.OVER_BUDGET, Status.FAILED, Status.INTERRUPTED, Status.DAMAGED)
        parts += [f"{counts[status]} {status.label}" for status in others if counts[status]]
        parts += [f"{len(self.skipped)} skipped"] if self.skipped else []
        if succeeded:
            folder, best = min(succeeded, key=lambda run: MONITOR.cost(run[1].metrics[MONITOR.key]))
            name = folder.name.rpartition("-")[0] or folder.name  # without the hash
            parts.append(f"best {best.metrics[MONITOR.key]:.4f} {name}")
        pruned = sum(result.error == RunPruned.MESSAGE for _, result in runs)
        ended = len(runs) - counts[Status.RUNNING] - counts[Status.INTERRUPTED] + pruned * self.seeds
        seconds = [result.seconds["total"] for _, result in succeeded]
        if self.total and seconds and ended < self.total:
            left = (self.total - ended) * sum(seconds) / len(seconds) / self.workers
            parts.append(f"about {console.duration(left)} left")
        return " | ".join(parts)

    def _number(self, run_dir: Path) -> str:
        return f"[{len(self.started)}/{self.total or '?'}] {run_dir.name}"

    def _runs(self) -> list[Run]:
        found = find_runs([self.folder]) if any(self.folder.rglob(RESULT_FILE)) else []
        return [run for run in found if not run[1].is_debug]


def conclude(folder: Path, tested: SweepTest = SweepTest.NONE) -> tuple[list[Row], int]:
    """Test the runs of a sweep that are selected, rank all of them, and show the leaderboard, also after Ctrl-C.

    Returns the rows, and the exit status: 1 if a run failed, is damaged or could not be tested, otherwise 0.
    Raises: KeyboardInterrupt.
    """
    if not any(folder.rglob(RESULT_FILE)):
        return [], 0
    try:
        complete = tested == SweepTest.NONE or _test_selected(folder, tested)
    finally:
        rows, failed = _show_leaderboard(folder)
    return rows, int(failed or not complete)


def _test_selected(folder: Path, tested: SweepTest) -> bool:
    """Test what is selected and not tested yet. Processes that conclude one sweep at the same time take turns."""
    with file_lock(folder / CONCLUDE_FILE):
        runs = find_runs([folder])
        selected = runs_to_test(rank(runs), tested)
        if selected and any(result.status == Status.RUNNING for _, result in runs):
            console.note("another process is still working on a run: the last one to end tests what is selected")
            return True
        return open_test_rows(selected)


def _show_leaderboard(folder: Path) -> tuple[list[Row], bool]:
    """Print the leaderboard, write leaderboard.csv and log it to W&B. Return its rows, and whether a run has failed."""
    runs = find_runs([folder])
    rows = rank(runs)
    console.print_line("")
    tables.show_ranking(rows)
    tables.note_unranked(runs)
    try:
        write_atomically(folder / LEADERBOARD, to_csv(rows))
        console.print_line(f"leaderboard  {folder / LEADERBOARD}")
    except OSError as error:
        console.note(f"{folder / LEADERBOARD} can't be written ({error.strerror})")
    logger = next((result.config["logger"] for _, result in runs if result.config), {"wandb": "disabled"})
    _log_to_wandb(folder, logger, to_table(rows))
    return rows, any(result.status in (Status.FAILED, Status.DAMAGED) for _, result in runs)


def _log_to_wandb(folder: Path, logger: dict[str, Any], table: list[list[Any]]) -> None:
    """Log the leaderboard to where the runs were logged."""
    if logger["wandb"] == "disabled":
        return
    from lora_agnews.training.wandb_run import log_leaderboard

    try:
        log_leaderboard(folder, logger, table)
    except RuntimeError as error:
        console.note(f"the leaderboard is not in W&B: {error}")
