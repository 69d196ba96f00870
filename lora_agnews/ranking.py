"""Many runs -> one row for each configuration: mean and spread over its seeds, chosen by validation, best first."""

import csv
import io
import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lora_agnews.config import TrainConfig, UserError, leaves, spelled
from lora_agnews.lock import at_work_in
from lora_agnews.result import FILE, RunResult

Run = tuple[Path, RunResult]
CHOSEN_BY = "val/accuracy"
APART = ("seed", "data.cache_dir", "logger.", "budget.", "resume")  # keys that do not make another configuration
SORTS = ("val/accuracy", "test/accuracy", "parameters", "seconds")


@dataclass
class Row:
    """Runs that differ by nothing but the seed. Only those that came to their end are counted."""

    values: dict[str, Any]  # of the keys that differ between the rows
    runs: list[Run]
    tied: bool = False  # with the first row: their means are closer than one standard error of the first

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
        """Mean wall time of a run."""
        return _mean([result.seconds["total"] for _, result in self.counted])

    @property
    def best(self) -> Run:
        """The counted run of the best validation accuracy."""
        return max(self.counted, key=lambda run: run[1].metrics[CHOSEN_BY])

    @property
    def name(self) -> str:
        """What varies, as one types it; where nothing does, the directory of the run or runs."""
        varying = " ".join(f"{key}={spelled(value)}" for key, value in self.values.items())
        folder, _ = self.runs[0]
        return varying or (folder if len(self.runs) == 1 else folder.parent).name

    @property
    def states(self) -> dict[str, int]:
        """Status -> how many runs, of the ones that are not counted."""
        left = [result.status for _, result in self.runs if not result.succeeded]
        return {status: left.count(status) for status in dict.fromkeys(left)}

    @property
    def not_counted(self) -> str:
        """`states` in words; empty if every run is counted."""
        return ", ".join(f"{number} {status.replace('_', ' ')}" for status, number in self.states.items())

    def spread(self, metric: str = CHOSEN_BY) -> str:
        """Mean ± standard deviation, as one reports it; the score alone of one run, - of none."""
        if not self.scores(metric):
            return "-"
        return f"{self.mean(metric):.4f}" + (f" ± {self.std(metric):.4f}" if self.n > 1 else "")

    def scores(self, metric: str = CHOSEN_BY) -> list[float]:
        return [result.metrics[metric] for _, result in self.counted if metric in result.metrics]

    def mean(self, metric: str = CHOSEN_BY) -> float:
        """NaN without a counted run."""
        return _mean(self.scores(metric))

    def std(self, metric: str = CHOSEN_BY) -> float:
        """Sample standard deviation over the seeds; NaN for one."""
        scores = self.scores(metric)
        return statistics.stdev(scores) if len(scores) > 1 else math.nan

    @property
    def standard_error(self) -> float:
        """Of the mean validation accuracy: over the seeds or, with one of them, of a share of the validation rows."""
        if self.n > 1:
            return self.std() / math.sqrt(self.n)
        rows = self.counted[0][1].data.get("val", 0) if self.n else 0
        return math.sqrt(self.mean() * (1 - self.mean()) / rows) if rows else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON and CSV; null where there is no number."""
        found = {"configuration": self.values, "n": self.n, "trainable": self.trainable, "seconds": self.seconds}
        for metric in ("val/accuracy", "test/accuracy"):
            scores = self.scores(metric)
            found |= {metric: self.mean(metric), f"{metric}_std": self.std(metric)}
            found[f"{metric}_best"] = max(scores) if scores else math.nan
        found = {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in found.items()}
        runs = [{"run": str(folder), "status": result.status, "seed": result.seed} for folder, result in self.runs]
        return found | {"tied_with_best": self.tied, "runs": runs}


def find_runs(folders: Sequence[Path]) -> list[Run]:
    """Every run in the folders, at any depth; one that says `running` and has no process was interrupted.

    Raises: UserError, naming a folder without a run, or a record that can't be read.
    """
    found: dict[Path, RunResult] = {}
    for folder in folders:
        records = sorted(folder.rglob(FILE))
        if not records:
            what = "no run in it" if folder.is_dir() else "no such directory"
            raise UserError(f"{folder}: {what}; give run directories, or directories that hold some")
        for record in records:
            try:
                result = RunResult.load(record.parent)
            except (ValueError, TypeError) as error:
                raise UserError(f"{record}: no record of a run of this version ({error})") from error
            if result.status == "running" and not at_work_in(record.parent):
                result.status = "interrupted"
            found[record.parent.resolve()] = result
    return list(found.items())


def rank(runs: Sequence[Run], by: str = CHOSEN_BY) -> list[Row]:
    """One row for each configuration, sorted by a metric of SORTS or a key that varies; those without a number last.

    Accuracies fall, parameters, seconds and values rise. Raises: UserError, for another `by`.
    """
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(json.dumps(_configuration(run[1])), []).append(run)
    configurations = [_configuration(members[0][1]) for members in groups.values()]
    varying = [key for key in configurations[0] if len({json.dumps(each[key]) for each in configurations}) > 1]
    names = {key: _short(key, varying) for key in varying}
    rows = [
        Row({names[key]: values[key] for key in varying}, members)
        for values, members in zip(configurations, groups.values(), strict=True)
    ]
    keys = names | {short: short for short in names.values()}
    if by not in SORTS and by not in keys:
        raise UserError(f"--sort={by}: must be one of {', '.join([*SORTS, *names.values()])}")

    def place(row: Row) -> tuple[bool, int, Any]:
        if by in keys:
            value = row.values[keys[by]]
            return (False, 0, value) if isinstance(value, (int, float)) else (False, 1, spelled(value))
        value = row.trainable if by == "parameters" else row.seconds if by == "seconds" else -row.mean(by)
        return math.isnan(value), 0, value

    counted = [row for row in rows if row.n]
    best = max(counted, key=Row.mean, default=None)
    for row in counted:
        assert best is not None
        row.tied = row is not best and best.mean() - row.mean() <= best.standard_error
    return sorted(rows, key=place)


def to_table(rows: Sequence[Row]) -> list[list[Any]]:
    """A header, and a line for each row; None where there is no number."""
    found = [row.to_dict() for row in rows]
    keys = list(rows[0].values)
    plain = [key for key in found[0] if key not in ("configuration", "runs")]
    lines = [[*(spelled(row["configuration"][key]) for key in keys), *(row[key] for key in plain)] for row in found]
    runs = [" ".join(run["run"] for run in row["runs"]) for row in found]
    return [[*keys, *plain, "runs"], *([*line, of] for line, of in zip(lines, runs, strict=True))]


def to_csv(rows: Sequence[Row]) -> str:
    """`to_table`; a cell is empty where there is no number."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(to_table(rows))
    return text.getvalue()


def pareto(rows: Sequence[Row]) -> list[Row]:
    """Rows that no other beats in both, validation accuracy and number of parameters; fewest parameters first."""
    front: list[Row] = []
    for row in sorted((row for row in rows if row.n), key=lambda row: (row.trainable, -row.mean())):
        if not front or row.mean() > front[-1].mean():
            front.append(row)
    return front


def _configuration(result: RunResult) -> dict[str, Any]:
    """Full key -> value of everything that makes a configuration; null for keys that an older run does not have."""
    found: dict[str, Any] = {}
    for key, _, _ in leaves(TrainConfig):
        if not key.startswith(APART):
            value: Any = result.config
            for part in key.split("."):
                value = value.get(part) if isinstance(value, dict) else None
            found[key] = value
    return found


def _short(key: str, among: Sequence[str]) -> str:
    """The last part of a key, where no other of them ends like it."""
    last = key.rpartition(".")[2]
    return last if sum(other.rpartition(".")[2] == last for other in among) == 1 and last != "name" else key


def _mean(values: Sequence[float]) -> float:
    return statistics.mean(values) if values else math.nan
