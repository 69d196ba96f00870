"""The validation predictions of a run are a small file that says which rows they belong to."""

from pathlib import Path

import numpy as np
import pytest

from lora_agnews.results.predictions import (
    PREDICTIONS_FILE,
    RECORD,
    TEST_PREDICTIONS_FILE,
    is_correct,
    load_predictions,
    same_rows,
    save_predictions,
)
from tests.records import columns_of

TEXTS = [f"text {number}" for number in range(10)]


def saved(folder: Path, labels: list[int], predicted: list[int], texts: list[str] = TEXTS) -> np.ndarray:
    folder.mkdir(exist_ok=True)
    save_predictions(folder, columns_of(labels, predicted), texts)
    found = load_predictions(folder)
    assert found is not None
    return found


def test_predictions_are_read_back_with_the_texts_they_belong_to(tmp_path: Path) -> None:
    found = saved(tmp_path, [0, 3, 1], [0, 2, 1])
    assert found["row"].tolist() == [0, 1, 2]
    assert is_correct(found).tolist() == [True, False, True]
    assert found["probability"].tolist() == [0.75, 0.25, 0.75]
    assert len(set(found["text"].tolist())) == 3
    assert [path.name for path in tmp_path.iterdir()] == [PREDICTIONS_FILE]


def test_predictions_of_test_rows_have_a_file_of_their_own(tmp_path: Path) -> None:
    saved(tmp_path, [0, 3], [0, 3])
    save_predictions(tmp_path, columns_of([1, 2], [1, 1]), TEXTS, TEST_PREDICTIONS_FILE)
    found = load_predictions(tmp_path, TEST_PREDICTIONS_FILE)
    assert found is not None
    assert found["label"].tolist() == [1, 2]
    assert is_correct(saved(tmp_path, [0, 3], [0, 3])).all()


def test_the_file_has_twelve_bytes_per_row(tmp_path: Path) -> None:
    saved(tmp_path, [0] * 5000, [1] * 5000, ["the same"] * 5000)
    assert (tmp_path / PREDICTIONS_FILE).stat().st_size < 12 * 5000 + 300


def test_rows_are_the_same_if_numbers_texts_and_labels_are(tmp_path: Path) -> None:
    one = saved(tmp_path / "1", [0, 1], [0, 0])
    assert same_rows(one, saved(tmp_path / "2", [0, 1], [3, 3]))
    assert not same_rows(one, saved(tmp_path / "3", [0, 2], [0, 0])), "another label"
    assert not same_rows(one, saved(tmp_path / "4", [0, 1, 1], [0, 0, 0])), "one row more"
    assert not same_rows(one, saved(tmp_path / "5", [0, 1], [0, 0], ["another", *TEXTS[1:]]))


def test_a_run_that_knows_no_predictions_leaves_no_file(tmp_path: Path) -> None:
    save_predictions(tmp_path, {}, TEXTS)
    assert load_predictions(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kept", [0, 5, 100, 150])
def test_a_file_that_is_cut_off_is_no_file(tmp_path: Path, kept: int) -> None:
    saved(tmp_path, [0, 1], [0, 1])
    path = tmp_path / PREDICTIONS_FILE
    path.write_bytes(path.read_bytes()[:kept])
    assert load_predictions(tmp_path) is None


def test_other_arrays_objects_and_shapes_that_the_file_does_not_have_are_no_predictions(tmp_path: Path) -> None:
    path = tmp_path / PREDICTIONS_FILE
    np.save(path, np.zeros(3))
    assert load_predictions(tmp_path) is None
    np.save(path, np.array([{}], dtype=object), allow_pickle=True)
    assert load_predictions(tmp_path) is None
    with path.open("wb") as stream:
        described = {"descr": np.lib.format.dtype_to_descr(RECORD), "fortran_order": False, "shape": (10**13,)}
        np.lib.format.write_array_header_1_0(stream, described)
        stream.write(b"0" * 100)
    assert load_predictions(tmp_path) is None
