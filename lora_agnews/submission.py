"""Predictions as CSV: what is handed in, and what went wrong."""

import csv
from collections.abc import Iterable
from typing import TextIO

import numpy as np

from lora_agnews.config import LABELS
from lora_agnews.data.source import Rows
from lora_agnews.scores import in_keys

PROBABILITIES = [f"p_{in_keys(name)}" for name in LABELS]


def write_predictions(stream: TextIO, predicted: Iterable[tuple[list[str], np.ndarray]], full: bool) -> int:
    """`ID,Label`, from 0 on and 0..3; with `full` the text, the label's name and its probabilities too. How many."""
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["ID", "Label", *(["text", "label_name", *PROBABILITIES] if full else [])])
    number = 0
    for texts, probabilities in predicted:
        for text, row in zip(texts, probabilities, strict=True):
            label = int(row.argmax())
            writer.writerow([number, label, *([text, LABELS[label], *_spelled(row)] if full else [])])
            number += 1
    return number


def write_errors(stream: TextIO, rows: Rows, probabilities: np.ndarray) -> int:
    """The rows whose label was missed, those missed with most confidence first. How many."""
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["ID", "text", "label_name", "predicted", *PROBABILITIES])
    predicted = probabilities.argmax(1)
    missed = np.flatnonzero(predicted != np.asarray(rows.labels))
    for i in missed[np.argsort(-probabilities[missed].max(1), kind="stable")]:
        names = (LABELS[rows.labels[i]], LABELS[predicted[i]])
        writer.writerow([i, rows.texts[i], *names, *_spelled(probabilities[i])])
    return len(missed)


def _spelled(row: np.ndarray) -> list[str]:
    return [f"{value:.6f}" for value in row]
