"""How far a sweep is, a line for each run, and what came of it: a leaderboard on the terminal and in a file."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lora_agnews import console
from lora_agnews.config import TrainConfig
from lora_agnews.experiment import Hopeless, run_point
from lora_agnews.lock import Busy
from lora_agnews.ranking import CHOSEN_BY, Row, Run, find_runs, rank, to_csv, to_table
from lora_agnews.result import FILE, RunResult, write_whole

LEADERBOARD = "leaderboard.csv"


@dataclass
class Board:
    """The runs of a sweep, one after another. `total` is None where nobody knows how many there will be."""

    folder: Path
    total: int | None
    workers: int = 1
    done_before: set[str] = field(default_factory=set)  # runs that this process found at their end
    seen: list[str] = field(default_factory=list)  # runs that came up here
    rows: list[Row] = field(default_factory=list)  # the leaderboard, once concluded

    def run(self, config: TrainConfig, run_dir: Path, hopeless: Hopeless | None = None) -> RunResult:
        """A run, or what is left of it, in the W&B group of its sweep. Raises: KeyboardInterrupt; Busy."""
        number = f"[{len(self.seen) + 1}/{self.total or '?'}] {run_dir.name}"
        console.say(number)
        config.logger.group = config.logger.group or self.folder.name
        try:
            result, ran = run_point(config, run_dir, hopeless)
        except Busy:
            console.say("  another process is at it")
            raise
        self.seen.append(run_dir.name)
        self.done_before |= set() if ran else {run_dir.name}
        outcome = result.status.replace("_", " ")
        if result.succeeded:
            outcome += f", {CHOSEN_BY} {result.metrics[CHOSEN_BY]:.4f}, {result.seconds['total']:.0f} s"
        elif result.error:
            outcome += f": {result.error.splitlines()[0]}"
        outcome += f" (more in {run_dir / 'train.log'})" if result.status == "failed" else ""
        console.say(f"  {outcome if ran else f'done before: {outcome}'}\n  {self.state()}")
        return result

    def state(self) -> str:
        """One line: how many runs are done, running, left out and failed, the best of them, the time left."""
        runs = self._runs()
        counts = Counter(result.status for _, result in runs)
        done = counts["finished"] + counts["stopped_early"]
        names = {"running": "running", "over_budget": "over budget", "failed": "failed", "interrupted": "interrupted"}
        parts = [f"{done}/{self.total or '?'} done"]
        parts += [f"{counts[status]} {name}" for status, name in names.items() if counts[status]]
        parts += [f"{len(self.done_before)} skipped"] if self.done_before else []
        scored = [(result.metrics[CHOSEN_BY], folder.name) for folder, result in runs if result.succeeded]
        parts += ["best {:.4f} {}".format(*max(scored))] if scored else []
        ended = len(runs) - counts["running"] - counts["interrupted"]
        seconds = [result.seconds["total"] for _, result in runs if result.succeeded]
        if self.total and seconds and ended < self.total:
            left = (self.total - ended) * sum(seconds) / len(seconds) / self.workers
            parts.append(f"about {left / 60:.0f} min left" if left > 90 else f"about {left:.0f} s left")
        return " | ".join(parts)

    def conclude(self) -> int:
        """Prints and writes the leaderboard of the whole folder. 1 if a run in it failed, else 0."""
        runs = self._runs()
        if not runs:
            return 0
        self.rows = rank(runs)
        write_whole(self.folder / LEADERBOARD, to_csv(self.rows))
        console.say("")
        console.show_ranking(self.rows)
        console.say(f"\nleaderboard  {self.folder / LEADERBOARD}")
        self._log(runs, to_table(self.rows))
        return int(any(result.status == "failed" for _, result in runs))

    def _log(self, runs: list[Run], table: list[list[Any]]) -> None:
        """The leaderboard to W&B, where the runs went."""
        logger = runs[0][1].config["logger"]
        if logger["wandb"] != "disabled":
            from lora_agnews.tracking import log_leaderboard

            try:
                log_leaderboard(self.folder, logger["wandb"], logger["project"], table)
            except RuntimeError as error:
                console.notice(f"the leaderboard is not in W&B: {error}")

    def _runs(self) -> list[Run]:
        return find_runs([self.folder]) if any(self.folder.rglob(FILE)) else []
