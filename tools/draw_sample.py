"""Draw the shipped sample from AG News: python tools/draw_sample.py train.csv.gz test.csv.gz

Takes 4,000 training rows from train and 1,000 test rows from test, the same number of each class, in the order of the
files. The lines are copied unchanged, so the text is AG News' own.
"""

import csv
import gzip
import io
import sys
from pathlib import Path

import numpy as np

CLASSES = ("1", "2", "3", "4")
SAMPLE = Path(__file__).resolve().parent.parent / "lora_agnews" / "data" / "sample"


def draw(source: Path, target: Path, num_rows: int, seed: int) -> None:
    """Copy `num_rows` / 4 rows of each class, chosen by `seed`."""
    with gzip.open(source, "rt", encoding="utf-8", newline="") as stream:
        rows = list(csv.reader(stream))
    rng, chosen = np.random.default_rng(seed), []
    for name in CLASSES:
        of_class = [i for i, row in enumerate(rows) if row[0] == name]
        chosen += rng.choice(of_class, num_rows // len(CLASSES), replace=False).tolist()
    written = io.StringIO(newline="")
    csv.writer(written, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(rows[i] for i in sorted(chosen))
    with target.open("wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as stream:  # the same bytes every time
        stream.write(written.getvalue().encode())


if __name__ == "__main__":
    draw(Path(sys.argv[1]), SAMPLE / "train.csv.gz", num_rows=4000, seed=0)
    draw(Path(sys.argv[2]), SAMPLE / "test.csv.gz", num_rows=1000, seed=0)
