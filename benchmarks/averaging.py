"""What averaging the probabilities of several seeds adds, on labelled rows.

    python -m benchmarks.averaging runs/seeds-tiny test.csv.gz

RUNS is the folder of the runs of one configuration. The result is kept in benchmarks/records/averaging.json.
"""

import argparse
import json
from itertools import combinations
from pathlib import Path

import numpy as np

from benchmarks.records import RECORDS
from lora_agnews.data.source import read_file
from lora_agnews.inference.classifier import load_classifier, open_run
from lora_agnews.results.ranking import find_runs

RECORD = RECORDS / "averaging.json"


def averaged(probabilities: np.ndarray, labels: np.ndarray, number: int) -> list[float]:
    """Return the accuracy of the mean of each choice of `number` runs. `probabilities` is (runs, rows, classes)."""
    choices = combinations(range(len(probabilities)), number)
    return [float((probabilities[list(chosen)].mean(0).argmax(1) == labels).mean()) for chosen in choices]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("file", type=Path)
    arguments = parser.parse_args()
    rows, folders = read_file(arguments.file), [folder for folder, _ in find_runs([arguments.runs])]
    found = np.stack([load_classifier([open_run(folder)]).probabilities(rows.texts) for folder in folders])
    labels, record = np.asarray(rows.labels), []
    for number in sorted({1, 3, len(folders)}):
        each = averaged(found, labels, number)
        record.append({"averaged": number, "choices": len(each), "mean": float(np.mean(each)), "lowest": min(each)})
        record[-1]["highest"] = max(each)
        print(record[-1])
    RECORD.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
