"""AG News for Lightning: rows, disjoint splits, token ids, padded batches."""

import hashlib
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from lora_agnews.data.batches import BucketSampler, Loader, collate, evaluation_batches
from lora_agnews.data.cache import default_cache
from lora_agnews.data.shared_rows import load_rows_once
from lora_agnews.data.source import Rows, Source, fingerprints, load_rows
from lora_agnews.data.split import Overlap, class_counts, overlap, split_rows
from lora_agnews.data.states import States, StatesOfSome
from lora_agnews.data.tokens import Tokens, load_tokens
from lora_agnews.labels import LABELS


class AGNewsDataModule(L.LightningDataModule):
    """Batches for training, validation (a seeded, stratified share of the training rows) and test.

    After `setup`, `train_rows` and `val_rows` index `train`, and `test_rows` all rows of `test`, which is None if there
    are no test rows. The number `train_rows` selects some of the training rows; the validation rows stay the same.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        source: str,
        train_file: str | None,
        test_file: str | None,
        name: str,
        revision: str | None,
        text_column: str | None,
        label_column: str | None,
        max_length: int,
        val_fraction: float,
        train_rows: int | None,
        split_seed: int | None,
        batch_size: int,
        eval_batch_size: int,
        bucket: int,
        cache_dir: str | None,
        seed: int,
        processes: int,
    ) -> None:
        super().__init__()
        self.tokenizer, self.max_length = tokenizer, max_length
        self.source = Source(source, train_file, test_file, name, revision, text_column, label_column)
        self.split, self.seed, self.processes = (val_fraction, train_rows, split_seed, seed), seed, processes
        self.batch_size, self.eval_batch_size, self.bucket = batch_size, eval_batch_size, bucket
        self.cache_dir = Path(cache_dir).expanduser() if cache_dir else default_cache()
        self.train: Rows | None = None
        self.states: dict[str, StatesOfSome] = {}  # of "train" and "test", with model.prefix=cached

    def setup(self, stage: str | None = None) -> None:
        """Read, split and tokenise the rows on the first call. Later calls do nothing."""
        if self.train is not None:
            return
        several = self.processes > 1
        self.train, self.test = load_rows_once(self.source, self.cache_dir) if several else load_rows(self.source)
        self.fingerprints = fingerprints(self.train, self.test)
        labels = self.train.labels
        self.train_rows, self.val_rows = split_rows(labels, *self.split)
        self.overlap: Overlap = overlap(self.train, self.train_rows, self.val_rows, self.test)
        self.tokens = load_tokens(self.train.texts, self.tokenizer, self.max_length, self.cache_dir)
        self.test_rows = np.arange(len(self.test) if self.test else 0)
        if self.test:
            self.test_tokens = load_tokens(self.test.texts, self.tokenizer, self.max_length, self.cache_dir)

    def use_rows(self, train: np.ndarray, val: np.ndarray, test: np.ndarray) -> None:
        """Use these rows, all sorted, instead of the whole splits."""
        self.train_rows, self.val_rows, self.test_rows = train, val, test

    @property
    def labels(self) -> list[int]:
        """Labels of all rows of the training file."""
        assert self.train is not None
        return self.train.labels

    @property
    def train_texts(self) -> list[str]:
        """All texts of the training file, which `train_rows` and `val_rows` index."""
        assert self.train is not None
        return self.train.texts

    @property
    def test_texts(self) -> list[str]:
        """All texts of the test file; none if there is no test file."""
        return self.test.texts if self.test else []

    @property
    def train_classes(self) -> list[int]:
        """Number of training rows of each class."""
        assert self.train is not None
        return class_counts(self.train.labels, self.train_rows)

    def describe(self) -> dict[str, Any]:
        """Return rows per split and training rows per class, their origin, the duplicate texts, and hashes of files."""
        assert self.train is not None
        return {
            "source": self.train.origin if self.test is None else f"{self.train.origin}, {self.test.origin}",
            "train": len(self.train_rows),
            "val": len(self.val_rows),
            "test": len(self.test_rows),
            "train_classes": self.train_classes,
            "duplicates": asdict(self.overlap),
            "fingerprints": self.fingerprints,
        }

    def fingerprint(self) -> str:
        """Return a hash of the training rows' tokens, labels and split. A run with other data can't be continued."""
        found = hashlib.blake2b(digest_size=8)
        labels = np.asarray(self.labels)
        for array in (self.tokens.flat, self.tokens.offsets, labels, self.train_rows, self.val_rows):
            found.update(np.ascontiguousarray(array).data)
        return found.hexdigest()

    def class_weights(self, wanted: list[float] | str | None) -> list[float] | None:
        """Return the weights of the classes; for "balanced", rows / (classes * rows of the class)."""
        if not isinstance(wanted, str):
            return wanted
        return [len(self.train_rows) / (len(LABELS) * count) for count in self.train_classes]

    def used_tokens(self, with_test: bool) -> dict[str, Tokens]:
        """Return the tokens of the training and validation rows together, and of the test rows, if wanted and given."""
        test = {"test": self.test_tokens.select(self.test_rows)} if with_test and self.test else {}
        return {"train": self.tokens.select(self._used_rows())} | test

    def use_states(self, states: dict[str, States]) -> None:
        """Let batches have these states of `used_tokens` instead of token ids."""
        self.states = {"train": StatesOfSome(states["train"], self._used_rows(), len(self.tokens))}
        if "test" in states:
            self.states["test"] = StatesOfSome(states["test"], self.test_rows, len(self.test_tokens))

    def _used_rows(self) -> np.ndarray:
        return np.union1d(self.train_rows, self.val_rows)

    def train_dataloader(self) -> Loader:
        lengths = self.tokens.lengths[self.train_rows]
        limit = 1.0 if self.trainer is None else self.trainer.limit_train_batches
        sampler = BucketSampler(lengths, self.batch_size, self.bucket, self.seed, self._batches_consumed, limit)
        return self._loader("train", self.train_rows, sampler, share=self._rank_and_devices())

    def val_dataloader(self) -> Loader:
        batches = evaluation_batches(self.tokens.lengths[self.val_rows], self.eval_batch_size, self._rank_and_devices())
        return self._loader("train", self.val_rows, batches, numbered=True)

    def test_dataloader(self) -> Loader:
        assert self.test is not None
        lengths = self.test_tokens.lengths[self.test_rows]
        batches = evaluation_batches(lengths, self.eval_batch_size, self._rank_and_devices())
        return self._loader("test", self.test_rows, batches, numbered=True)

    def _batches_consumed(self) -> int:
        return 0 if self.trainer is None else self.trainer.fit_loop.epoch_loop.batch_progress.total.ready

    def _rank_and_devices(self) -> tuple[int, int]:
        """Return rank and number of devices."""
        return (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)

    def _loader(self, split: str, rows: np.ndarray, batches: Any, **options: Any) -> Loader:
        """Build the loader of some rows of a file; `options` are those of `collate`."""
        source = self.train if split == "train" else self.test
        assert source is not None
        collate_rows = partial(
            collate,
            tokens=self.tokens if split == "train" else self.test_tokens,
            labels=np.asarray(source.labels),
            pad=self.tokenizer.pad_token_id,
            states=self.states.get(split),
            **options,
        )
        # Gathering a batch takes 0.1 ms, so worker processes would cost more than they save. The loader has its own
        # generator because creating an iterator draws a number, which must not change the random state of dropout.
        return Loader(rows, sampler=batches, batch_size=None, collate_fn=collate_rows, generator=torch.Generator())  # type: ignore[arg-type]
