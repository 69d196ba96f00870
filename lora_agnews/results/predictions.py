"""The validation predictions of a run, stored as val_predictions.npy: one record per validation row.

    numpy.load("RUN_DIR/val_predictions.npy")    # sorted by "row"; 12 bytes per row

A row can be matched with that of another run by its number and text, which is what paired comparisons need.
"""

import io
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from lora_agnews.files.atomic import write_atomically

PREDICTIONS_FILE = "val_predictions.npy"
RECORD = np.dtype(
    [
        ("row", "<i4"),  # its number in the training file, from 0
        ("text", "<u4"),  # CRC-32 of its text in UTF-8
        ("label", "i1"),
        ("predicted", "i1"),  # class
        ("probability", "<f2"),  # of the true class
    ]
)


def save_predictions(run_dir: Path, columns: Mapping[str, ArrayLike], texts: Sequence[str]) -> None:
    """Write RUN_DIR/val_predictions.npy, complete or not at all.

    `columns` has row, label, predicted and probability, each (rows,). `texts` are all texts of the training file.
    Without columns nothing is written: a run that version 0.1 began may not know those of its best validation.
    """
    if not columns:
        return
    found = np.empty(np.shape(columns["row"]), RECORD)
    for name, values in columns.items():
        found[name] = values
    found["text"] = [zlib.crc32(texts[row].encode("utf-8", "surrogatepass")) for row in found["row"]]
    stream = io.BytesIO()
    np.save(stream, found)
    write_atomically(run_dir / PREDICTIONS_FILE, stream.getvalue())


def load_predictions(run_dir: Path) -> np.ndarray | None:
    """Read RUN_DIR/val_predictions.npy, (rows,) of RECORD; None, if there is no such file or it is damaged."""
    try:
        # Mapped, so that a damaged header can't ask for more memory than the file has bytes.
        found = np.load(run_dir / PREDICTIONS_FILE, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return np.array(found) if found.dtype == RECORD and found.ndim == 1 else None


def is_correct(predictions: np.ndarray) -> np.ndarray:
    """Return which rows are predicted correctly, (rows,) bool."""
    return np.asarray(predictions["label"] == predictions["predicted"])


def same_rows(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two runs were validated on the same rows: numbers, texts and labels."""
    return all(np.array_equal(first[name], second[name]) for name in ("row", "text", "label"))
