"""Rank many runs: one row per configuration with mean and spread over its seeds, best validation first."""

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from lora_agnews.config.rules import config_keys, to_override
from lora_agnews.config.schema import TrainConfig
from lora_agnews.errors import UserError
from lora_agnews.files.locks import is_locked
from lora_agnews.results.monitor import MONITOR
from lora_agnews.results.paired import paired_difference, predictions_by_seed
from lora_agnews.results.record import RESULT_FILE, RunResult, Status
from lora_agnews.results.row import TEST, Row, Run, best_row

NOT_COMPARED = ("seed", "data.cache_dir", "logger.", "budget.", "resume")  # keys that do not distinguish configurations
SORT_KEYS = (MONITOR.key, TEST, "parameters", "seconds")


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
    """Return one row per configuration, sorted by one of SORT_KEYS or by a key that varies. Debug runs are left out.

    Metrics: best first. Parameters, seconds and values: smallest first. Rows without a number are last.
    Raises: UserError, for another `by`, or if there are only debug runs.
    """
    runs = [run for run in runs if not run[1].is_debug]
    if not runs:
        raise UserError("there are only debug runs, which are never ranked")
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

    _mark_ties([row for row in rows if row.n])
    return sorted(rows, key=place)


def _mark_ties(counted: Sequence[Row]) -> None:
    """Mark the rows that are at most one standard error behind the best row.

    If both have runs of the same seed with predictions of the same rows, the standard error is that of the paired
    difference over these runs. Otherwise it is that of the best row's mean.
    """
    if not counted:
        return
    best = best_row(counted)
    by_predictions = MONITOR.key == "val/accuracy"  # other metrics are not a mean over rows
    known = predictions_by_seed(best.counted) if by_predictions else {}
    for row in (row for row in counted if row is not best):
        found = paired_difference(known, predictions_by_seed(row.counted)) if known else None
        row.paired = found is not None
        row.tied = found.is_tie if found else abs(best.mean() - row.mean()) <= best.standard_error


def tie_rule(rows: Sequence[Row]) -> str:
    """Say which standard error decided about the ties."""
    others = sum(not row.paired for row in rows if row.n) - 1  # without the best row
    if not any(row.paired for row in rows):
        return f"within one standard error of the best {MONITOR.label}"
    exceptions = f"; for {others} unpaired row{'s' if others > 1 else ''}, of the best mean" if others else ""
    return f"within one standard error of the paired difference{exceptions}"


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
    """Return the rows for which no other row has as good a metric with as few parameters, fewest parameters first."""
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
