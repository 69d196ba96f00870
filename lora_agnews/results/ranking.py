"""Rank many runs: one row per configuration with mean and spread over its seeds, best validation first."""

import csv
import io
import json
import math
import statistics
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lora_agnews.config.rules import config_keys, to_override
from lora_agnews.config.schema import TrainConfig
from lora_agnews.errors import UserError
from lora_agnews.files.locks import is_locked
from lora_agnews.results.monitor import MONITOR
from lora_agnews.results.record import RESULT_FILE, RunResult, Status

Run = tuple[Path, RunResult]
NOT_COMPARED = ("seed", "data.cache_dir", "logger.", "budget.", "resume")  # keys that do not distinguish configurations
TEST = "test/accuracy"
SORT_KEYS = (MONITOR.key, TEST, "parameters", "seconds")


@dataclass
class Row:
    """Runs that differ only by the seed. Only successful runs are counted."""

    values: dict[str, Any]  # of the keys that differ between the rows
    runs: list[Run]
    repeated: int = 0  # older runs of a seed that are left out
    tied: bool = False  # with the best row: the means differ by at most one standard error of the best

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
        """Mean ± standard deviation as it is reported; only the score for one run, "-" for none."""
        if not self.scores(metric):
            return "-"
        return f"{self.mean(metric):.4f}" + (f" ± {self.std(metric):.4f}" if self.n > 1 else "")

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
        return found | {"tied_with_best": self.tied, "runs": runs}


def find_runs(folders: Sequence[Path]) -> list[Run]:
    """Find every run in the folders, at any depth. A `running` one that no process has locked was interrupted.

    A run whose record can't be read is damaged. Raises: UserError, naming a folder without a run.
    """
    found: dict[Path, RunResult] = {}
    for folder in folders:
        records = sorted(folder.rglob(RESULT_FILE))
        if not records:
            what = "no run in it" if folder.is_dir() else "a file" if folder.is_file() else "no such directory"
            raise UserError(f"{folder}: {what}; give run directories, or directories that hold some")
        for record in records:
            result = RunResult.load_even_damaged(record.parent)
            assert result is not None
            if result.status == Status.RUNNING and not is_locked(record.parent):
                result.status = Status.INTERRUPTED
            found[record.parent.resolve()] = result
    return list(found.items())


def rank(runs: Sequence[Run], by: str = MONITOR.key) -> list[Row]:
    """Return one row per configuration, sorted by one of SORT_KEYS or by a key that varies.

    Metrics: best first. Parameters, seconds and values: smallest first. Rows without a number are last.
    Raises: UserError, for another `by`.
    """
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(json.dumps(_configuration(run[1])), []).append(run)
    configurations = [_configuration(members[0][1]) for members in groups.values()]
    known = [_configuration(result) for _, result in runs if result.config] or configurations
    varying = [key for key in known[0] if len({json.dumps(each[key]) for each in known}) > 1]
    names = short_names(varying)
    rows = [
        Row({names[key]: values[key] for key in varying}, *newest_of_each_seed(members))
        for values, members in zip(configurations, groups.values(), strict=True)
    ]
    keys = names | {short: short for short in names.values()}
    if by not in SORT_KEYS and by not in keys:
        raise UserError(f"--sort={by}: must be one of {', '.join([*SORT_KEYS, *names.values()])}")

    def place(row: Row) -> tuple[bool, int, Any]:
        if by in keys:
            value = row.values[keys[by]]
            return (False, 0, value) if isinstance(value, (int, float)) else (False, 1, to_override(value))
        if by in ("parameters", "seconds"):
            value = row.trainable if by == "parameters" else row.seconds
        else:
            value = MONITOR.cost(row.mean()) if by == MONITOR.key else -row.mean(by)
        return math.isnan(value), 0, value

    counted = [row for row in rows if row.n]
    best = min(counted, key=lambda row: MONITOR.cost(row.mean()), default=None)
    for row in counted:
        assert best is not None
        row.tied = row is not best and abs(best.mean() - row.mean()) <= best.standard_error
    return sorted(rows, key=place)


def newest_of_each_seed(runs: Sequence[Run]) -> tuple[list[Run], int]:
    """Keep the newest successful run of each seed of a configuration, and return how many older ones are left out.

    The same run twice is not two seeds: it would have a standard deviation of 0.
    """
    newest = {run[1].seed: run for run in sorted(runs, key=_modified) if run[1].succeeded}
    kept = [run for run in runs if not run[1].succeeded or run is newest[run[1].seed]]
    return kept, len(runs) - len(kept)


def to_table(rows: Sequence[Row]) -> list[list[Any]]:
    """Return a header and a line per row, with None where there is no number."""
    found = [row.to_dict() for row in rows]
    keys = list(rows[0].values)
    plain = [key for key in found[0] if key not in ("configuration", "runs")]
    lines = [[*(to_override(row["configuration"][key]) for key in keys), *(row[key] for key in plain)] for row in found]
    runs = [" ".join(run["run"] for run in row["runs"]) for row in found]
    return [[*keys, *plain, "runs"], *([*line, of] for line, of in zip(lines, runs, strict=True))]


def to_csv(rows: Sequence[Row]) -> str:
    """Return `to_table` as CSV; a cell is empty where there is no number."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(to_table(rows))
    return text.getvalue()


def pareto(rows: Sequence[Row]) -> list[Row]:
    """Return the rows that no other row beats in both metric and number of parameters, fewest parameters first."""
    front: list[Row] = []
    for row in sorted((row for row in rows if row.n), key=lambda row: (row.trainable, MONITOR.cost(row.mean()))):
        if not front or MONITOR.is_better(row.mean(), front[-1].mean()):
            front.append(row)
    return front


def short_names(keys: Collection[str]) -> dict[str, str]:
    """Return key -> its last part, or the whole key if another one has the same last part."""
    last = {key: key.rpartition(".")[2] for key in keys}
    shared = {name for name, number in Counter(last.values()).items() if number > 1} | {"name"}
    return {key: key if name in shared else name for key, name in last.items()}


def _modified(run: Run) -> float:
    return (run[0] / RESULT_FILE).stat().st_mtime


def _configuration(result: RunResult) -> dict[str, Any]:
    """Return full key -> value of the keys that distinguish configurations; None for keys that an older run lacks."""
    found: dict[str, Any] = {}
    for key, _, _ in config_keys(TrainConfig):
        if not key.startswith(NOT_COMPARED):
            value: Any = result.config
            for part in key.split("."):
                value = value.get(part) if isinstance(value, dict) else None
            found[key] = value
    # What the run computed in: 16-mixed becomes float32 on a CPU.
    found["trainer.precision"] = result.environment.get("precision", found["trainer.precision"])
    return found


def _mean(values: Sequence[float]) -> float:
    return statistics.mean(values) if values else math.nan
