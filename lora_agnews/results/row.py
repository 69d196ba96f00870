"""A row of a leaderboard: the runs of one configuration, with mean and spread over their seeds."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lora_agnews.config.rules import to_override
from lora_agnews.results.monitor import MONITOR
from lora_agnews.results.record import RunResult, Status

Run = tuple[Path, RunResult]
TEST = "test/accuracy"


@dataclass
class Row:
    """Runs that differ only by the seed. Only successful runs are counted."""

    values: dict[str, Any]  # of the keys that differ between the rows
    runs: list[Run]
    repeated: int = 0  # older runs of a seed that are left out
    tied: bool = False  # with the best row: not more than one standard error behind it
    paired: bool = False  # whether that was decided by the predictions of both rows, see `_mark_ties`

    @property
    def counted(self) -> list[Run]:
        return [run for run in self.runs if run[1].succeeded]

    @property
    def n(self) -> int:
        return len(self.counted)

    @property
    def trainable(self) -> int:
        return next((result.budget["trainable"] for _, result in self.runs if result.budget), 0)

    @property
    def seconds(self) -> float:
        """Mean wall time of a counted run."""
        return _mean([result.seconds["total"] for _, result in self.counted])

    @property
    def cost(self) -> float:
        """Wall time of all runs, those that are not counted included."""
        return sum(result.seconds.get("total", 0.0) for _, result in self.runs)

    @property
    def best(self) -> Run:
        """The counted run with the best monitored metric."""
        return min(self.counted, key=lambda run: MONITOR.cost(run[1].metrics[MONITOR.key]))

    @property
    def name(self) -> str:
        """What varies, as it is typed on the command line; if nothing varies, the directory of the runs."""
        varying = " ".join(f"{key}={to_override(value)}" for key, value in self.values.items())
        folder, result = self.runs[0]
        if not result.config:
            return folder.name
        return varying or (folder if len(self.runs) == 1 else folder.parent).name

    @property
    def other_statuses(self) -> dict[Status, int]:
        """Status -> number of runs, for the runs that are not counted."""
        others = [result.status for _, result in self.runs if not result.succeeded]
        return {status: others.count(status) for status in dict.fromkeys(others)}

    @property
    def not_counted(self) -> str:
        """`other_statuses` in words; empty if every run is counted."""
        return ", ".join(f"{number} {status.label}" for status, number in self.other_statuses.items())

    def spread(self, metric: str = MONITOR.key) -> str:
        """Mean ± standard deviation as it is reported; without the deviation for one run, "-" for none."""
        if not self.scores(metric):
            return "-"
        return f"{self.mean(metric):.4f}" + (f" ± {self.std(metric):.4f}" if len(self.scores(metric)) > 1 else "")

    def scores(self, metric: str = MONITOR.key) -> list[float]:
        return [result.metrics[metric] for _, result in self.counted if metric in result.metrics]

    def mean(self, metric: str = MONITOR.key) -> float:
        """NaN without a counted run."""
        return _mean(self.scores(metric))

    def std(self, metric: str = MONITOR.key) -> float:
        """Sample standard deviation over the seeds; NaN for one run."""
        scores = self.scores(metric)
        return statistics.stdev(scores) if len(scores) > 1 else math.nan

    @property
    def standard_error(self) -> float:
        """Standard error of the mean: over the seeds or, for one seed, of a share of the validation rows."""
        if self.n > 1:
            return self.std() / math.sqrt(self.n)
        rows = self.counted[0][1].data.get("val", 0) if self.n else 0
        return math.sqrt(max(0.0, self.mean() * (1 - self.mean())) / rows) if rows else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON and CSV; None where there is no number."""
        found = {"configuration": self.values, "n": self.n, "trainable": self.trainable, "seconds": self.seconds}
        for metric in (MONITOR.key, TEST):
            scores = self.scores(metric)
            found |= {metric: self.mean(metric), f"{metric}_std": self.std(metric)}
            found[f"{metric}_best"] = MONITOR.best(scores) if scores else math.nan
        found = {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in found.items()}
        runs = [{"run": str(folder), "status": result.status, "seed": result.seed} for folder, result in self.runs]
        return found | {"tied_with_best": self.tied, "cost": self.cost, "runs": runs}


def best_row(counted: Sequence[Row]) -> Row:
    """Return the row with the best mean validation, of at least one row that has a counted run."""
    return min(counted, key=lambda row: MONITOR.cost(row.mean()))


def _mean(values: Sequence[float]) -> float:
    return statistics.mean(values) if values else math.nan
