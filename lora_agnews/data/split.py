"""The validation split, and the texts that occur in two splits. Test rows are only compared, never drawn from."""

import hashlib
from dataclasses import dataclass

import numpy as np

from lora_agnews.data.source import Rows
from lora_agnews.errors import UserError
from lora_agnews.labels import LABELS


@dataclass(frozen=True)
class Overlap:
    """Numbers of rows with a duplicate text.

    In the training file itself; validation rows whose text is also a training row's; test rows whose text is also in
    the training file.
    """

    within_train: int
    train_and_val: int
    train_and_test: int


def seed_of_split(split_seed: int | None, seed: int) -> int:
    """Return what draws the rows: data.split_seed or, without it, the seed of the run."""
    return seed if split_seed is None else split_seed


def split_rows(
    labels: list[int], val_fraction: float, train_rows: int | None, split_seed: int | None, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the sorted indices of the training and the validation rows of a run, as its configuration names them.

    Raises: UserError, as `stratified_split` and `stratified_part`.
    """
    drawn_by = seed_of_split(split_seed, seed)
    train, val = stratified_split(labels, val_fraction, drawn_by)
    return (stratified_part(labels, train, train_rows, drawn_by) if train_rows else train), val


def stratified_split(labels: list[int], val_fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the sorted indices of training and validation rows. Validation gets `val_fraction` of every class.

    Raises: UserError, if a class would have no row on one side.
    """
    rng = np.random.default_rng(seed)
    every = np.asarray(labels)
    val = []
    for label, name in enumerate(LABELS):
        rows = np.flatnonzero(every == label)
        num_val = round(val_fraction * len(rows))
        if not 0 < num_val < len(rows):
            raise UserError(
                f"class {name} has {len(rows)} training rows; data.val_fraction={val_fraction} leaves "
                f"{num_val} for validation and {len(rows) - num_val} for training, and both need at least one"
            )
        val.append(rng.permutation(rows)[:num_val])
    chosen = np.sort(np.concatenate(val))
    return np.setdiff1d(np.arange(len(every)), chosen), chosen


def stratified_part(labels: list[int], rows: np.ndarray, number: int, seed: int) -> np.ndarray:
    """Return `number` of the given rows, sorted, with the proportions of the classes.

    A smaller number gives a part of what a larger one gives.

    Raises: UserError, if there are not so many rows, or if a class would have none.
    """
    if number > len(rows):
        raise UserError(
            f"data.train_rows={number}: there are only {len(rows):,} training rows; use null for all of them"
        )
    shuffled = np.random.default_rng(seed).permutation(rows)
    classes = np.asarray(labels)[shuffled]
    place = np.empty(len(rows))  # between 0 and 1, evenly spaced within each class
    for label, name in enumerate(LABELS):
        members = np.flatnonzero(classes == label)
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
        if number * len(members) < len(rows) / 2:
            raise UserError(f"data.train_rows={number} leaves no row of class {name}; use a larger number")
    return np.sort(shuffled[np.argsort(place, kind="stable")[:number]])


def class_counts(labels: list[int], rows: np.ndarray) -> list[int]:
    """Return the number of the given rows in each class."""
    counts: list[int] = np.bincount(np.asarray(labels)[rows], minlength=len(LABELS)).tolist()
    return counts


def overlap(train: Rows, train_rows: np.ndarray, val_rows: np.ndarray, test: Rows | None) -> Overlap:
    """Count duplicate texts, ignoring white space, by the SHA-256 of their words."""
    digests = [_digest(text) for text in train.texts]
    known, trained = set(digests), {digests[i] for i in train_rows}
    return Overlap(
        within_train=len(digests) - len(known),
        train_and_val=sum(digests[i] in trained for i in val_rows),
        train_and_test=0 if test is None else sum(_digest(text) in known for text in test.texts),
    )


def _digest(text: str) -> bytes:
    return hashlib.sha256(" ".join(text.split()).encode("utf-8", "surrogatepass")).digest()
