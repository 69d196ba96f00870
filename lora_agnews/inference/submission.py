"""Write predictions as CSV: submissions, and rows that were misclassified."""

import csv
from collections.abc import Iterable
from typing import Any, TextIO

import numpy as np

from lora_agnews.data.source import Rows
from lora_agnews.labels import LABELS, label_key

PROBABILITIES = [f"p_{label_key(name)}" for name in LABELS]


def write_predictions(stream: TextIO, predicted: Iterable[tuple[list[str], np.ndarray]], full: bool) -> int:
    """Write `ID,Label` rows, with `full` also text, label name and probabilities. Return their number.

    IDs count from 0, labels are 0 to 3.
    """
    writer = _writer(stream, ["ID", "Label", *(["text", "label_name", *PROBABILITIES] if full else [])])
    number = 0
    for texts, probabilities in predicted:
        for text, row in zip(texts, probabilities, strict=True):
            label = int(row.argmax())
            writer.writerow([number, label, *([text, LABELS[label], *_rounded(row)] if full else [])])
            number += 1
    return number


def write_errors(stream: TextIO, rows: Rows, probabilities: np.ndarray) -> int:
    """Write the misclassified rows, the most confident errors first. Return their number."""
    writer = _writer(stream, ["ID", "text", "label_name", "predicted", *PROBABILITIES])
    predicted = probabilities.argmax(1)
    missed = np.flatnonzero(predicted != np.asarray(rows.labels))
    for i in missed[np.argsort(-probabilities[missed].max(1), kind="stable")]:
        names = (LABELS[rows.labels[i]], LABELS[predicted[i]])
        writer.writerow([int(i), rows.texts[i], *names, *_rounded(probabilities[i])])
    return len(missed)


def _writer(stream: TextIO, header: list[str]) -> Any:
    """Quote every text. By default Python 3.11 does not quote a carriage return, which no reader accepts."""
    stream.write(",".join(header) + "\n")
    return csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)


def _rounded(row: np.ndarray) -> list[float]:
    return [round(float(value), 6) for value in row]
