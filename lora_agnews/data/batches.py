"""Which rows make a batch, and the tensors of it. The order is a function of (seed, batches consumed), nothing else."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from lora_agnews.data.tokens import Tokens

Batch = dict[str, Tensor]  # input_ids, attention_mask (B, T) int64; labels (B,) int64


class BucketSampler(Sampler[list[int]]):
    """Every row once an epoch in random batches of rows alike in length.

    An epoch is permuted, cut into chunks of `bucket` batches, sorted by length inside a chunk, cut into batches, and
    the batches are shuffled: 1.04 padded tokens per real one on AG News, against 2.1 for random batches (`bucket=0`).
    `consumed` says how many batches of all epochs a run has seen; an iterator goes on from there to the epoch's end.
    """

    def __init__(
        self, lengths: np.ndarray, batch_size: int, bucket: int, seed: int, consumed: Callable[[], int]
    ) -> None:
        self.lengths, self.batch_size, self.bucket, self.seed = lengths, batch_size, bucket, seed
        self.consumed = consumed

    def __len__(self) -> int:
        return -(-len(self.lengths) // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        epoch, begun = divmod(self.consumed(), len(self))
        rng = np.random.default_rng((self.seed, epoch))
        order = rng.permutation(len(self.lengths))
        if self.bucket:
            chunk = self.bucket * self.batch_size
            parts = [order[start : start + chunk] for start in range(0, len(order), chunk)]
            order = np.concatenate([part[np.argsort(self.lengths[part], kind="stable")] for part in parts])
        batches = [order[start : start + self.batch_size] for start in range(0, len(order), self.batch_size)]
        if self.bucket:
            rng.shuffle(batches)
        yield from (batch.tolist() for batch in batches[begun:])


class Loader(DataLoader[Batch]):
    """A DataLoader that knows its place without being told: the sampler reads it from the run."""

    def state_dict(self) -> dict[str, Any]:
        """Nothing; that there is one tells Lightning that a resume in the middle of an epoch is exact."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to do."""


def in_order(lengths: np.ndarray, batch_size: int, share: tuple[int, int] = (0, 1)) -> list[list[int]]:
    """Batches for evaluation, longest rows first so that the largest batch comes first; of these a device's share."""
    rank, devices = share
    order = np.argsort(-lengths, kind="stable")[rank::devices]
    return [order[start : start + batch_size].tolist() for start in range(0, len(order), batch_size)]


def collate(
    rows: Sequence[int] | np.ndarray, tokens: Tokens, labels: np.ndarray, pad: int, share: tuple[int, int] = (0, 1)
) -> Batch:
    """The rows, padded on the right to the longest of them.

    With `share` (rank, devices) only those of one device, and `weight`: what its mean loss must be multiplied by for
    the mean over the devices to be that of all rows. A device without a row gets one of weight 0.
    """
    rank, devices = share
    at = np.asarray(rows)[rank::devices]
    weight = len(at) * devices / len(rows)
    at = at if len(at) else np.asarray(rows)[:1]
    starts, lengths = tokens.offsets[at], tokens.offsets[at + 1] - tokens.offsets[at]
    columns = np.arange(lengths.max())
    real = columns < lengths[:, None]
    where = np.minimum(starts[:, None] + columns, len(tokens.flat) - 1)
    batch = {
        "input_ids": torch.from_numpy(np.where(real, tokens.flat[where], pad).astype(np.int64)),
        "attention_mask": torch.from_numpy(real.astype(np.int64)),
        "labels": torch.from_numpy(labels[at]),
    }
    return batch if devices == 1 else batch | {"weight": torch.tensor(weight, dtype=torch.float32)}
