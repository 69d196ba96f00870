"""Predictions as CSV: what is handed in, and what went wrong."""

import csv
from collections.abc import Iterable
from typing import Any, TextIO

import numpy as np

from lora_agnews.config import LABELS
from lora_agnews.data.source import Rows
from lora_agnews.scores import in_keys

PROBABILITIES = [f"p_{in_keys(name)}" for name in LABELS]


def write_predictions(stream: TextIO, predicted: Iterable[tuple[list[str], np.ndarray]], full: bool) -> int:
    """`ID,Label`, from 0 on and 0..3; with `full` the text, the label's name and its probabilities too. How many."""
    writer = _writer(stream, ["ID", "Label", *(["text", "label_name", *PROBABILITIES] if full else [])])
    number = 0
    for texts, probabilities in predicted:
        for text, row in zip(texts, probabilities, strict=True):
            label = int(row.argmax())
            writer.writerow([number, label, *([text, LABELS[label], *_spelled(row)] if full else [])])
            number += 1
    return number


def write_errors(stream: TextIO, rows: Rows, probabilities: np.ndarray) -> int:
    """The rows whose label was missed, those missed with most confidence first. How many."""
    writer = _writer(stream, ["ID", "text", "label_name", "predicted", *PROBABILITIES])
    predicted = probabilities.argmax(1)
    missed = np.flatnonzero(predicted != np.asarray(rows.labels))
    for i in missed[np.argsort(-probabilities[missed].max(1), kind="stable")]:
        names = (LABELS[rows.labels[i]], LABELS[predicted[i]])
        writer.writerow([int(i), rows.texts[i], *names, *_spelled(probabilities[i])])
    return len(missed)


def _writer(stream: TextIO, header: list[str]) -> Any:
    """Every text in quotes: of itself, Python 3.11 puts none around a carriage return, and no reader takes that."""
    stream.write(",".join(header) + "\n")
    return csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)


def _spelled(row: np.ndarray) -> list[float]:
    return [round(float(value), 6) for value in row]
