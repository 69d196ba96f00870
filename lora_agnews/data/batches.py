"""Which rows form a batch, and its tensors. The order depends only on the seed and the number of batches consumed."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from lora_agnews.data.states import States, StatesOfSome
from lora_agnews.data.tokens import Tokens
from lora_agnews.errors import UserError

Batch = dict[str, Tensor]  # input_ids (B, T), labels (B,), attention_mask (B, T) if a row is padded, rows (B,): int64


class BucketSampler(Sampler[list[int]]):
    """Yield random batches of rows of similar length, each row once per epoch.

    The rows of an epoch are shuffled, cut into chunks of `bucket` batches, sorted by length within each chunk and cut
    into batches, which are shuffled again. On AG News this gives 1.05 tokens with padding per real token, random
    batches (`bucket=0`) 2.0. `consumed` returns the number of batches that the run has seen in all epochs; an iterator
    starts there and ends with the epoch, or where `limit` ends it; see `used_batches`.
    """

    def __init__(
        self,
        lengths: np.ndarray,
        batch_size: int,
        bucket: int,
        seed: int,
        consumed: Callable[[], int],
        limit: float = 1.0,
    ) -> None:
        self.lengths, self.batch_size, self.bucket, self.seed = lengths, batch_size, bucket, seed
        self.consumed, self.limit = consumed, limit

    def __len__(self) -> int:
        return -(-len(self.lengths) // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        used = used_batches(len(self), self.limit)
        epoch, begun = divmod(self.consumed(), used)
        rng = np.random.default_rng((self.seed, epoch))
        order = rng.permutation(len(self.lengths))
        if self.bucket:
            chunk = self.bucket * self.batch_size
            parts = [order[start : start + chunk] for start in range(0, len(order), chunk)]
            order = np.concatenate([part[np.argsort(self.lengths[part], kind="stable")] for part in parts])
        batches = [order[start : start + self.batch_size] for start in range(0, len(order), self.batch_size)]
        if self.bucket:
            rng.shuffle(batches)
        yield from (batch.tolist() for batch in batches[begun:used])


class Loader(DataLoader[Batch]):
    """A DataLoader without a state of its own: its sampler asks the trainer for the position."""

    def state_dict(self) -> dict[str, Any]:
        """Return nothing. The method tells Lightning that a resume in the middle of an epoch is exact."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Do nothing: there is no state."""


def used_batches(batches: int, limit: float) -> int:
    """Return how many batches of an epoch are used: at most `limit` if it is an int, otherwise that share of them.

    Raises: UserError, if that is less than one. Source: Lightning's limit_train_batches.
    """
    used = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
    if used < 1:
        raise UserError(
            f"trainer.extra={{limit_train_batches:{limit}}}: less than one of the {batches} batches of an epoch; use a "
            "larger share, or a number of batches"
        )
    return used


def evaluation_batches(lengths: np.ndarray, batch_size: int, share: tuple[int, int] = (0, 1)) -> list[list[int]]:
    """Return one device's batches of row numbers, longest rows first so that the largest batch comes first."""
    rank, devices = share
    order = np.argsort(-lengths, kind="stable")[rank::devices]
    return [order[start : start + batch_size].tolist() for start in range(0, len(order), batch_size)]


def collate(
    rows: Sequence[int] | np.ndarray,
    tokens: Tokens,
    labels: np.ndarray,
    pad: int,
    share: tuple[int, int] = (0, 1),
    numbered: bool = False,
    states: States | StatesOfSome | None = None,
) -> Batch:
    """Gather rows into a batch, padded on the right to the longest of them. A `numbered` one also has `rows`.

    With `states`, a batch has inputs_embeds (B, T, H) float16 instead of input_ids. A batch in which no row is padded
    has no attention_mask. So nothing has to search for padding on the GPU. `share` (rank, number of devices) selects
    the rows of one device. The batch then also has `weight`, which scales the mean loss of this device so that the
    average over the devices is the mean over all rows. A device without a row gets one row of weight 0.
    """
    rank, devices = share
    at = np.asarray(rows)[rank::devices]
    weight = len(at) * devices / len(rows)
    at = at if len(at) else np.asarray(rows)[:1]
    lengths = tokens.offsets[at + 1] - tokens.offsets[at] if states is None else states.vectors[at]
    columns = np.arange(lengths.max())
    real = columns < lengths[:, None]
    batch = {"labels": torch.from_numpy(labels[at])}
    if states is None:
        where = np.minimum(tokens.offsets[at][:, None] + columns, len(tokens.flat) - 1)
        batch["input_ids"] = torch.from_numpy(np.where(real, tokens.flat[where], pad).astype(np.int64))
    else:
        padded = np.zeros((*real.shape, states.width), dtype=np.float16)
        for each, row in zip(padded, at, strict=True):
            each[: states.vectors[row]] = states[row]
        batch["inputs_embeds"] = torch.from_numpy(padded)
    if numbered:
        batch["rows"] = torch.from_numpy(at)
    if not real.all():
        batch["attention_mask"] = torch.from_numpy(real.astype(np.int64))
    if devices > 1:
        batch["weight"] = torch.tensor(weight, dtype=torch.float32)
    return batch
