"""The validation split is disjoint, stratified and reproducible; duplicate texts are counted."""

import itertools

import numpy as np
import pytest

from lora_agnews.data.source import Rows
from lora_agnews.data.split import Overlap, class_counts, overlap, split_rows, stratified_part, stratified_split
from lora_agnews.errors import UserError
from tests.messages import check_message


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5])
def test_the_split_is_disjoint_complete_and_takes_the_same_share_of_each_class(fraction: float) -> None:
    labels = np.random.default_rng(0).permutation([0] * 100 + [1] * 40 + [2] * 20 + [3] * 60)
    train, val = stratified_split(labels.tolist(), fraction, seed=0)
    assert sorted([*train, *val]) == list(range(len(labels)))
    assert np.bincount(labels[val]).tolist() == [fraction * size for size in (100, 40, 20, 60)]


def test_the_split_is_a_function_of_the_seed() -> None:
    labels = [0, 1, 2, 3] * 50
    first, again, other = (stratified_split(labels, 0.1, seed)[1].tolist() for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_the_split_of_a_run_is_drawn_by_its_seed_unless_it_has_a_seed_of_its_own() -> None:
    labels = [0, 1, 2, 3] * 50
    (train, val), (fewer, same) = (split_rows(labels, 0.1, number, None, seed=3) for number in (None, 40))
    assert val.tolist() == same.tolist() == stratified_split(labels, 0.1, 3)[1].tolist()
    assert (len(train), class_counts(labels, train)) == (180, [45] * 4)
    assert (len(fewer), class_counts(labels, fewer)) == (40, [10] * 4)
    assert set(fewer) < set(train)
    assert split_rows(labels, 0.1, None, 3, seed=9)[1].tolist() == val.tolist()


def test_a_part_has_the_share_of_each_class_and_contains_every_smaller_part() -> None:
    labels = np.random.default_rng(0).permutation([0] * 100 + [1] * 50 + [2] * 30 + [3] * 20)
    rows = np.arange(0, 200)
    parts = [stratified_part(labels.tolist(), rows, number, seed=1) for number in (20, 40, 100, 200)]
    assert [len(part) for part in parts] == [20, 40, 100, 200]
    assert all(set(small) <= set(large) for small, large in itertools.pairwise(parts))
    assert np.bincount(labels[parts[1]]).tolist() == pytest.approx([20, 10, 6, 4], abs=1)
    assert parts[3].tolist() == rows.tolist()
    assert parts[0].tolist() != stratified_part(labels.tolist(), rows, 20, seed=2).tolist()


def test_a_part_that_is_too_large_or_lacks_a_class_is_refused_with_the_key() -> None:
    labels = [0] * 40 + [1] * 40 + [2] * 40 + [3]
    with pytest.raises(UserError) as caught:
        stratified_part(labels, np.arange(121), 122, seed=0)
    check_message(str(caught.value), ["data.train_rows=122", "only 121 training rows", "null"])
    with pytest.raises(UserError) as caught:
        stratified_part(labels, np.arange(121), 8, seed=0)
    check_message(str(caught.value), ["data.train_rows=8", "Sci/Tech", "larger"])


def test_duplicate_texts_are_counted_by_place() -> None:
    train = Rows(["a b", "a  b", "c", "d", "c", "a b"], [0] * 6, "train")
    test = Rows(["c", "c ", "e", "A b"], [0] * 4, "test")
    counted = overlap(train, np.array([0, 2, 3]), np.array([1, 4, 5]), test)
    # inside train: "a b" twice too often, "c" once; all three of val stand in train; of test, "c" and "c "
    assert counted == Overlap(within_train=3, train_and_val=3, train_and_test=2)
    assert overlap(train, np.array([2, 3]), np.array([0, 1]), None) == Overlap(3, 0, 0)


def test_too_few_rows_of_a_class_are_refused_with_the_class_and_the_key() -> None:
    with pytest.raises(UserError) as caught:
        stratified_split([0] * 20 + [1] * 20 + [2] * 4 + [3] * 20, val_fraction=0.1, seed=0)
    check_message(str(caught.value), ["class Business", "4 training rows", "data.val_fraction=0.1"])
