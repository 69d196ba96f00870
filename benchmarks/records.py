"""Records of measured runs: kept without the machine's paths, and read again for the tables of docs/results.md.

    python -m benchmarks.records runs/prefix-tiny    # keep every run of a folder in benchmarks/records/prefix-tiny

A kept run is a folder with result.json and val_predictions.npy, so `python -m lora_agnews compare
benchmarks/records/prefix-tiny` ranks them. Fingerprints identify the rows; files have their names only.
"""

import argparse
import json
import re
import shutil
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lora_agnews.results.predictions import PREDICTIONS_FILE
from lora_agnews.results.ranking import find_runs, rank
from lora_agnews.results.record import RESULT_FILE
from lora_agnews.results.row import Row
from lora_agnews.terminal.console import short_path

RECORDS = Path(__file__).resolve().parent / "records"
ABSOLUTE = re.compile(r"(?<![\w./~-])/(?:[^/\s]+/)*(?=[^/\s])")  # the folders of an absolute path


def keep(runs: Path, folder: Path) -> int:
    """Copy the records of the runs in `runs` to `folder`, replace what was there, and return their number."""
    found = find_runs([runs])
    shutil.rmtree(folder, ignore_errors=True)
    for run_dir, result in found:
        kept = folder / run_dir.name
        kept.mkdir(parents=True)
        record = without_folders(json.loads((run_dir / RESULT_FILE).read_text(encoding="utf-8")))
        (kept / RESULT_FILE).write_text(json.dumps(record | {"status": str(result.status)}, indent=1) + "\n")
        if (run_dir / PREDICTIONS_FILE).exists():
            shutil.copy(run_dir / PREDICTIONS_FILE, kept)
    return len(found)


def without_folders(value: Any) -> Any:
    """Return a value of JSON whose absolute paths are names only."""
    if isinstance(value, dict):
        return {key: without_folders(each) for key, each in value.items()}
    if isinstance(value, list):
        return [without_folders(each) for each in value]
    return ABSOLUTE.sub("", value) if isinstance(value, str) else value


def load(name: str) -> list[Row]:
    """Return the rows of benchmarks/records/NAME, the best validation first."""
    return rank(find_runs([RECORDS / name]))


def load_json(name: str) -> Any:
    """Return what benchmarks/records/NAME.json contains."""
    return json.loads((RECORDS / f"{name}.json").read_text(encoding="utf-8"))


def config_of(row: Row, *keys: str) -> Any:
    """Return a value of the configuration that the runs of a row share: `config_of(row, "optim", "lr")`."""
    value: Any = row.counted[0][1].config
    for key in keys:
        value = value[key]
    return value


def encoder_of(row: Row) -> str:
    """Return the usual name of the encoder."""
    name = Path(config_of(row, "model", "name")).name
    return {"minilm": "MiniLM-L6", "mpnet": "MPNet-base"}.get(name, name)


def layers_of(row: Row) -> str:
    """Return the adapted layers in words."""
    layers = str(config_of(row, "model", "lora", "layers"))
    return "all layers" if layers == "all" else f"the top {layers.strip('-:')}"


def rows_of(row: Row) -> int:
    """Return the number of training rows."""
    return int(row.counted[0][1].data["train"])


def by_number_of_rows(names: Sequence[str]) -> dict[int, Row]:
    """Return number of training rows -> row of the records of these names, in ascending order."""
    found = {rows_of(row): row for name in names for row in load(name)}
    return dict(sorted(found.items()))


def training_seconds(row: Row) -> float:
    """Return the mean over the seeds."""
    return statistics.mean(result.seconds["train"] for _, result in row.counted)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, help="folders of runs")
    for runs in map(Path.resolve, parser.parse_args().folders):
        if runs.is_relative_to(RECORDS):
            parser.error(f"{runs} is where records are kept; give the folder of the runs")
        print(f"{keep(runs, RECORDS / runs.name)} runs kept in {short_path(RECORDS / runs.name)}")


if __name__ == "__main__":
    main()
