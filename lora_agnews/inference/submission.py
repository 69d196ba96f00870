"""Write predictions as CSV: submissions, and rows that were misclassified."""

import csv
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from lora_agnews.config.choices import Prior
from lora_agnews.data.formats import decode_lines
from lora_agnews.data.source import Rows, read_texts
from lora_agnews.errors import UserError
from lora_agnews.files.atomic import output_stream
from lora_agnews.inference.classifier import load_classifier, open_run
from lora_agnews.inference.prior import estimate_shares, reweight
from lora_agnews.inference.training_rows import training_prior
from lora_agnews.labels import LABELS, label_key
from lora_agnews.terminal import console

Predicted = tuple[list[str], np.ndarray]  # texts and their probabilities (texts, 4)
UNIFORM = np.full(len(LABELS), 1 / len(LABELS))
PROBABILITIES = [f"p_{label_key(name)}" for name in LABELS]


def columns(full: bool) -> list[str]:
    """Return the columns of a file of predictions."""
    return ["ID", "Label", *(["text", "label_name", *PROBABILITIES] if full else [])]


def predict_file(
    run_dirs: Sequence[Path],
    file: str,
    output: str,
    text_column: str,
    full: bool,
    half: bool,
    base: str | None,
    prior: Prior | None,
) -> int:
    """Classify the texts of a file, or the lines of standard input for "-", and write `output`. Return their number.

    The file is read from end to end first, so that a bad row is reported before the work begins. With `prior`, the
    probabilities are corrected for other shares of the classes; an estimate keeps 16 bytes per row in memory.
    Raises: UserError, for runs, files and rows that can't be used; RuntimeError, as `open_run`.
    """
    if prior == Prior.ESTIMATE and file == "-":
        raise UserError("--prior estimate: reads the texts twice, so it needs a file instead of standard input")
    runs = [open_run(run_dir, base) for run_dir in run_dirs]
    trained = np.mean([training_prior(run, f"--prior {prior}") for run in runs], axis=0) if prior else None
    if file == "-":
        if sys.stdin is None:
            raise UserError("-: stdin is closed")
        texts, rows = decode_lines(sys.stdin.buffer, "stdin"), None
    else:
        if output != "-" and Path(output).resolve() == Path(file).resolve():
            raise UserError(f"--output={output}: would overwrite the file with the texts; choose another")
        rows = sum(1 for _ in read_texts(Path(file), text_column))
        if rows == 0:
            raise UserError(f"{file}: no rows")
        texts = read_texts(Path(file), text_column)
    with output_stream(output) as stream:
        classifier = load_classifier(runs, half)
        with console.progress_bar("predicting", rows) as done:
            predicted: Iterable[Predicted] = classifier.stream(texts, done)
            if prior == Prior.UNIFORM and trained is not None:
                predicted = ((window, reweight(found, trained, UNIFORM)) for window, found in predicted)
            elif prior and trained is not None:
                predicted = _with_estimated_shares(predicted, trained, read_texts(Path(file), text_column))
            return write_predictions(stream, predicted, full)


def _with_estimated_shares(
    predicted: Iterable[Predicted], trained: np.ndarray, texts: Iterable[str]
) -> Iterator[Predicted]:
    """Estimate the shares of the classes from all probabilities, and yield each text with its corrected ones."""
    every = np.concatenate([found for _, found in predicted])
    shares = estimate_shares(every, trained)
    named = (f"{name} {share:.1%}" for name, share in zip(LABELS, shares, strict=True))
    console.note(f"estimated shares: {', '.join(named)}")
    for text, found in zip(texts, reweight(every, trained, shares), strict=True):
        yield [text], found[None]


def write_predictions(stream: TextIO, predicted: Iterable[Predicted], full: bool) -> int:
    """Write `ID,Label` rows, with `full` also text, label name and probabilities. Return their number.

    IDs count from 0, labels are 0 to 3.
    """
    writer = _writer(stream, columns(full))
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
