"""How the shipped sample was drawn: python -m lora_agnews.data.sample.draw train.csv.gz test.csv.gz

4,000 training rows from train and 1,000 test rows from test, the same number of each class, in the files' order. The
lines are copied as they are, so the text is AG News' own.
"""

import csv
import gzip
import io
import sys
from pathlib import Path

import numpy as np

CLASSES = ("1", "2", "3", "4")


def draw(source: Path, target: Path, num_rows: int, seed: int) -> None:
    """Copies `num_rows` / 4 rows of each class, chosen by `seed`."""
    with gzip.open(source, "rt", encoding="utf-8", newline="") as stream:
        rows = list(csv.reader(stream))
    rng, chosen = np.random.default_rng(seed), []
    for name in CLASSES:
        of_class = [i for i, row in enumerate(rows) if row[0] == name]
        chosen += rng.choice(of_class, num_rows // len(CLASSES), replace=False).tolist()
    written = io.StringIO(newline="")
    csv.writer(written, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(rows[i] for i in sorted(chosen))
    with target.open("wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as stream:  # the same bytes each time
        stream.write(written.getvalue().encode())


if __name__ == "__main__":
    here = Path(__file__).parent
    draw(Path(sys.argv[1]), here / "train.csv.gz", num_rows=4000, seed=0)
    draw(Path(sys.argv[2]), here / "test.csv.gz", num_rows=1000, seed=0)
