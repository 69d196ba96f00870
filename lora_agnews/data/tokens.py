"""Texts -> token ids, once: one flat array and where each row begins."""

from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedTokenizerBase

ROWS_AT_ONCE = 1000  # the fast tokenizer works in parallel within a call


@dataclass(frozen=True)
class Tokens:
    """Row i is `flat[offsets[i] : offsets[i + 1]]`; flat (sum of lengths,) int32, offsets (rows + 1,) int64."""

    flat: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        return np.diff(self.offsets)


def tokenise(texts: list[str], tokenizer: PreTrainedTokenizerBase, max_length: int) -> Tokens:
    """Token ids of every text with the model's special tokens, cut to `max_length`, never padded."""
    rows: list[np.ndarray] = []
    for start in range(0, len(texts), ROWS_AT_ONCE):
        ids = tokenizer(texts[start : start + ROWS_AT_ONCE], truncation=True, max_length=max_length)["input_ids"]
        rows += [np.asarray(row, dtype=np.int32) for row in ids]
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    return Tokens(np.concatenate(rows), offsets)
