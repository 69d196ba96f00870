"""The predictions of a run for its validation and its test rows: one record per row.

    numpy.load("RUN_DIR/val_predictions.npy")    # sorted by "row"; 12 bytes per row; test_predictions.npy likewise

A row can be matched with that of another run by its number and text, which is what paired comparisons need.
"""

import io
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from lora_agnews.files.atomic import write_atomically

PREDICTIONS_FILE, TEST_PREDICTIONS_FILE = "val_predictions.npy", "test_predictions.npy"
RECORD = np.dtype(
    [
        ("row", "<i4"),  # its number in the training or test file, from 0
        ("text", "<u4"),  # CRC-32 of its text in UTF-8
        ("label", "i1"),
        ("predicted", "i1"),  # class
        ("probability", "<f2"),  # of the true class
    ]
)


def save_predictions(
    run_dir: Path, columns: Mapping[str, ArrayLike], texts: Sequence[str], name: str = PREDICTIONS_FILE
) -> None:
    """Write RUN_DIR/NAME, complete or not at all.

    `columns` has row, label, predicted and probability, each (rows,). `texts` are all texts of the training or test
    file. Without columns nothing is written: the run is not tested, or version 0.1 made its best validation.
    """
    if not columns:
        return
    found = np.empty(np.shape(columns["row"]), RECORD)
    for column, values in columns.items():
        found[column] = values
    found["text"] = [zlib.crc32(texts[row].encode("utf-8", "surrogatepass")) for row in found["row"]]
    stream = io.BytesIO()
    np.save(stream, found)
    write_atomically(run_dir / name, stream.getvalue())


def load_predictions(run_dir: Path, name: str = PREDICTIONS_FILE) -> np.ndarray | None:
    """Read RUN_DIR/NAME, (rows,) of RECORD; None, if there is no such file or it is damaged."""
    try:
        # Mapped, so that a damaged header can't ask for more memory than the file has bytes.
        found = np.load(run_dir / name, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return np.array(found) if found.dtype == RECORD and found.ndim == 1 else None


def is_correct(predictions: np.ndarray) -> np.ndarray:
    """Return which rows are predicted correctly, (rows,) bool."""
    return np.asarray(predictions["label"] == predictions["predicted"])


def same_rows(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether the predictions of two runs are for the same rows: numbers, texts and labels."""
    return all(np.array_equal(first[name], second[name]) for name in ("row", "text", "label"))
