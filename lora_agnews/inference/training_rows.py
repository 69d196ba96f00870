"""The rows that a finished run was trained and validated on, read again from its data."""

from dataclasses import asdict, dataclass, replace

import numpy as np

from lora_agnews.data.source import Rows, Source, fingerprints, load_rows
from lora_agnews.data.split import class_counts, split_rows
from lora_agnews.errors import UserError
from lora_agnews.inference.classifier import Run
from lora_agnews.labels import LABELS


@dataclass(frozen=True)
class Split:
    """The training file of a run, and which of its rows the run used for what."""

    rows: Rows
    train: np.ndarray  # indices
    val: np.ndarray

    @property
    def validation(self) -> Rows:
        texts, labels = self.rows.texts, self.rows.labels
        return Rows([texts[i] for i in self.val], [labels[i] for i in self.val], self.rows.origin)


def read_split(run: Run, why: str) -> Split:
    """Read and split the training file as the run did. `why` begins the message if that is impossible.

    Raises: UserError, for a debug run, or if the file can't be read or its rows are not those of the run; RuntimeError,
    if the hub is needed and can't be reached.
    """
    if run.result.is_debug:
        raise UserError(f"{why} needs a complete run, and {run.folder} is a debug run, which used only some rows")
    data, recorded = run.config.data, run.result.data
    try:
        rows, _ = load_rows(replace(Source.of(asdict(data)), test_file=None))
        train, val = split_rows(rows.labels, data.val_fraction, data.train_rows, data.split_seed, run.config.seed)
    except UserError as error:
        raise UserError(f"{why} needs the training file of {run.folder}: {error}") from error
    found = fingerprints(rows, None)["train"]
    known = recorded.get("fingerprints", {}).get("train", found)  # version 0.1 stored none
    if (len(train), len(val), found) != (recorded["train"], recorded["val"], known):
        raise UserError(f"{why} needs the training file of {run.folder}, but the rows of {rows.origin} have changed")
    return Split(rows, train, val)


def training_prior(run: Run, why: str) -> np.ndarray:
    """Return the shares of the classes that a run has learnt, (4,): those of its training rows times their weights.

    Records of earlier versions have no numbers of rows per class; they are counted in the training file.
    Raises: as `read_split`.
    """
    counts = run.result.data.get("train_classes")
    if counts is None:
        split = read_split(run, why)
        counts = class_counts(split.rows.labels, split.train)
    weights = run.config.optim.class_weights
    if weights == "balanced":
        return np.full(len(LABELS), 1 / len(LABELS))
    shares = np.asarray(counts) * np.asarray(weights or [1.0] * len(LABELS))
    return np.asarray(shares / shares.sum())
