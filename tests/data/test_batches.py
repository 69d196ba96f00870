"""Each row is in one batch of an epoch, with its tokens, its label and its padding."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

from lora_agnews.data.batches import BucketSampler, collate, evaluation_batches, used_batches
from lora_agnews.data.source import Source, load_rows
from lora_agnews.data.tokens import Tokens, tokenise
from lora_agnews.errors import UserError
from tests.batches import unpadded

LENGTHS = np.random.default_rng(0).integers(1, 60, 205)


@settings(deadline=None, max_examples=100)
@given(
    lengths=st.lists(st.integers(1, 300), min_size=1, max_size=200),
    batch_size=st.integers(1, 40),
    bucket=st.integers(0, 5),
    seed=st.integers(0, 2**32 - 1),
    epoch=st.integers(0, 1000),
    begun=st.integers(0, 1000),
)
def test_an_epoch_has_every_row_once_and_continues_where_it_was(
    lengths: list[int], batch_size: int, bucket: int, seed: int, epoch: int, begun: int
) -> None:
    number = -(-len(lengths) // batch_size)
    consumed = epoch * number
    sampler = BucketSampler(np.array(lengths), batch_size, bucket, seed, lambda: consumed)
    batches = list(sampler)
    assert len(batches) == len(sampler) == number
    consumed += begun % number
    assert list(sampler) == batches[begun % number :]
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    sizes = sorted(map(len, batches), reverse=True)
    assert set(sizes[:-1]) <= {batch_size}
    assert 0 < sizes[-1] <= batch_size


@pytest.mark.parametrize("bucket", [0, 3])
def test_the_order_is_a_function_of_seed_and_epoch(bucket: int) -> None:
    def order(seed: int, epoch: int) -> list[list[int]]:
        return list(BucketSampler(LENGTHS, 8, bucket, seed, lambda: epoch * 26))

    assert order(0, 1) == order(0, 1)
    assert order(0, 1) != order(0, 2)
    assert order(0, 1) != order(1, 1)
    assert sorted(map(sorted, order(0, 1))) != sorted(map(sorted, order(0, 2)))  # other batches, not only another order


@pytest.mark.parametrize("limit", [5, 0.2])
def test_a_limited_epoch_is_the_first_part_of_the_whole_one(limit: float) -> None:
    consumed = 0
    whole, part = (BucketSampler(LENGTHS, 8, 3, 0, lambda: consumed, each) for each in (1.0, limit))
    assert list(part) == list(whole)[:5]
    consumed = 5 + 2  # in the second epoch
    found = list(part)
    consumed = 26
    assert found == list(whole)[2:5]


def test_an_epoch_that_is_limited_to_nothing_is_refused() -> None:
    assert [used_batches(26, limit) for limit in (1, 0.1, 1.0, 99)] == [1, 2, 26, 26]
    with pytest.raises(UserError, match=r"limit_train_batches:0\.01}: less than one of the 26 batches"):
        used_batches(26, 0.01)


def test_without_buckets_batches_are_a_plain_permutation() -> None:
    sampler = BucketSampler(LENGTHS, 8, 0, 5, lambda: 0)
    order = np.random.default_rng((5, 0)).permutation(len(LENGTHS))
    assert [row for batch in sampler for row in batch] == order.tolist()


def test_buckets_leave_little_padding_on_the_shipped_rows(tokenizer: PreTrainedTokenizerBase) -> None:
    lengths = tokenise(load_rows(Source("sample"))[0].texts, tokenizer, 256).lengths

    def padded(bucket: int) -> float:
        batches = list(BucketSampler(lengths, 32, bucket, 0, lambda: 0))
        return sum(len(batch) * lengths[batch].max() for batch in batches) / lengths.sum()

    assert padded(50) <= 1.06
    assert padded(0) > 1.5


def test_evaluation_takes_every_row_once_longest_first() -> None:
    batches = evaluation_batches(np.array([3, 9, 5, 9, 1]), 2)
    assert batches == [[1, 3], [2, 0], [4]]


TOKENS = Tokens(np.array([0, 7, 2, 0, 2, 0, 5, 6, 8, 2], dtype=np.int32), np.array([0, 3, 5, 10]))


def test_a_batch_equals_one_made_by_hand() -> None:
    batch = collate([1, 0], TOKENS, np.array([3, 1, 2]), pad=1)
    assert batch["input_ids"].tolist() == [[0, 2, 1], [0, 7, 2]]
    assert batch["attention_mask"].tolist() == [[1, 1, 0], [1, 1, 1]]
    assert batch["labels"].tolist() == [1, 3]
    assert collate([1, 0], TOKENS, np.array([3, 1, 2]), pad=1, numbered=True)["rows"].tolist() == [1, 0]
    assert {values.dtype for values in batch.values()} == {torch.int64}


def test_a_batch_is_as_wide_as_its_own_longest_row_even_at_the_end_of_the_array() -> None:
    labels = np.array([3, 1, 2])
    assert collate([1], TOKENS, labels, pad=1)["input_ids"].tolist() == [[0, 2]]
    assert collate([2, 1], TOKENS, labels, pad=1)["input_ids"].tolist() == [[0, 5, 6, 8, 2], [0, 2, 1, 1, 1]]


@settings(deadline=None, max_examples=100)
@given(st.lists(st.lists(st.integers(2, 9), min_size=1, max_size=12), min_size=1, max_size=20), st.randoms())
def test_without_its_padding_a_batch_has_the_tokens_of_its_rows(rows: list[list[int]], random: Any) -> None:
    tokens = Tokens(np.concatenate(rows).astype(np.int32), np.cumsum([0, *map(len, rows)]))
    chosen = random.choices(range(len(rows)), k=5)
    batch = collate(chosen, tokens, np.arange(len(rows)), pad=1)
    assert unpadded(batch) == [rows[i] for i in chosen]
    assert batch["labels"].tolist() == chosen
    assert batch["input_ids"].shape == (5, max(len(rows[i]) for i in chosen))
    is_padded = len(set(map(len, (rows[i] for i in chosen)))) > 1
    assert ("attention_mask" in batch) == is_padded
    assert not is_padded or (batch["input_ids"][batch["attention_mask"] == 0] == 1).all()
