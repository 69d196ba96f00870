"""TF-IDF and a linear SVM on the rows of our runs: the accuracy that needs no encoder, in seconds.

    python -m benchmarks.svm --train-file train.csv.gz --test-file test.csv.gz

Words and pairs of words, logarithmic counts, C=1: of 0.1, 0.3, 1, 3 and 10 the best on the validation rows, or within
0.3 points of the best. The rows are those of data.val_fraction=0.02, data.split_seed=0 and data.train_rows=NUMBER. It
needs scikit-learn: pip install -e ".[pretrain]". The result is kept in benchmarks/records/svm.json.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np

from benchmarks.records import RECORDS
from lora_agnews.data.source import read_file
from lora_agnews.data.split import stratified_part, stratified_split

RECORD = RECORDS / "svm.json"
VAL_FRACTION, SPLIT_SEED = 0.02, 0


def accuracies(texts: list[str], labels: list[int], others: list[tuple[list[str], list[int]]]) -> list[float]:
    """Fit the SVM and return its accuracy on each of the other sets of rows."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline
    from sklearn.svm import LinearSVC

    model = make_pipeline(TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LinearSVC(C=1, random_state=0))
    model.fit(texts, labels)
    return [float(model.score(*each)) for each in others]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train-file", type=Path, required=True)
    parser.add_argument("--test-file", type=Path, required=True)
    parser.add_argument("--rows", nargs="+", type=int, default=[500, 1000, 2000, 4000, 14_000, 16_000])
    arguments = parser.parse_args()
    rows, test = read_file(arguments.train_file), read_file(arguments.test_file)
    train, val = stratified_split(rows.labels, VAL_FRACTION, SPLIT_SEED)

    def select(indices: np.ndarray) -> tuple[list[str], list[int]]:
        return [rows.texts[i] for i in indices], [rows.labels[i] for i in indices]

    found = []
    for number in [*arguments.rows, len(train)]:
        began = time.perf_counter()
        part = select(stratified_part(rows.labels, train, number, SPLIT_SEED))
        on_val, on_test = accuracies(*part, [select(val), (test.texts, test.labels)])
        seconds = time.perf_counter() - began
        found.append({"rows": number, "val": on_val, "test": on_test, "seconds": round(seconds, 1)})
        print(f"{number:>7,} rows: validation {on_val:.4f}, test {on_test:.4f}, {seconds:.1f} s")
    RECORD.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
