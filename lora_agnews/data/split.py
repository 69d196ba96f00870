"""Which training rows validate, and which rows stand in two splits. The test rows are compared, never drawn from."""

import hashlib
from dataclasses import dataclass

import numpy as np

from lora_agnews.config import LABELS, UserError
from lora_agnews.data.source import Rows


@dataclass(frozen=True)
class Overlap:
    """Texts found more than once: inside train, and in both of two splits (rows of the second one)."""

    within_train: int
    train_and_val: int
    train_and_test: int


def stratified_split(labels: list[int], val_fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of training and validation rows, each sorted: `val_fraction` of every class, drawn by `seed`.

    Raises: UserError, if a class would have no row on one side.
    """
    rng = np.random.default_rng(seed)
    every = np.asarray(labels)
    val = []
    for label, name in enumerate(LABELS):
        rows = np.flatnonzero(every == label)
        share = round(val_fraction * len(rows))
        if not 0 < share < len(rows):
            raise UserError(
                f"class {name} has {len(rows)} training rows; data.val_fraction={val_fraction} leaves "
                f"{share} for validation and {len(rows) - share} for training, and both need at least one"
            )
        val.append(rng.permutation(rows)[:share])
    chosen = np.sort(np.concatenate(val))
    return np.setdiff1d(np.arange(len(every)), chosen), chosen


def overlap(train: Rows, train_rows: np.ndarray, val_rows: np.ndarray, test: Rows | None) -> Overlap:
    """How often the same text, white space aside, stands twice, by SHA-256 of its words."""
    digests = [_digest(text) for text in train.texts]
    known, trained = set(digests), {digests[i] for i in train_rows}
    return Overlap(
        within_train=len(digests) - len(known),
        train_and_val=sum(digests[i] in trained for i in val_rows),
        train_and_test=0 if test is None else sum(_digest(text) in known for text in test.texts),
    )


def _digest(text: str) -> bytes:
    return hashlib.sha256(" ".join(text.split()).encode("utf-8", "surrogatepass")).digest()
