"""Hidden states of rows, computed once and kept on disk in parts of 512 rows, which are checked when they are read."""

import errno
import json
import re
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lora_agnews.files.atomic import write_atomically
from lora_agnews.files.locks import LOCK_FILE, file_lock
from lora_agnews.terminal import console

ROWS_PER_PART = 512
ABOUT = "about.json"
DTYPE = np.float16
Compute = Callable[[np.ndarray], list[np.ndarray]]  # row numbers -> the states of each row


class States:
    """The states of each row, (vectors, width) float16. They are memory-mapped and need no memory of their own.

    A part appears complete or not at all, and its name contains its checksum. So a computation that was killed
    continues with the next part, and a part that is damaged is computed again.
    """

    def __init__(self, folder: Path, vectors: np.ndarray, width: int, compute: Compute) -> None:
        """`vectors` (rows,) int64 is the number of vectors of each row, all of `width` values."""
        self.folder, self.vectors, self.width, self.compute = folder, vectors, width, compute
        self.num_parts = -(-len(vectors) // ROWS_PER_PART)
        self.opened: dict[int, np.ndarray] = {}
        self.starts = np.concatenate([[0], np.cumsum(vectors)])

    @property
    def missing(self) -> list[int]:
        """Numbers of the parts that are not on the disk."""
        found = {int(path.name[5:10]) for path in self.folder.glob("part-*.npy")}
        return [number for number in range(self.num_parts) if number not in found]

    @property
    def missing_rows(self) -> int:
        return sum(len(self._rows(number)) for number in self.missing)

    @property
    def missing_bytes(self) -> int:
        vectors = sum(int(self.vectors[self._rows(number)].sum()) for number in self.missing)
        return vectors * self.width * np.dtype(DTYPE).itemsize

    def complete(self, about: dict[str, Any], done: Callable[[float], None]) -> None:
        """Compute what is missing. If several processes need it, one computes and the others wait.

        `about` describes the states to whoever lists the cache. `done` is called with the number of rows.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with file_lock(self.folder / LOCK_FILE):
            for leftover in self.folder.glob(".making-*"):
                leftover.unlink()
            write_atomically(self.folder / ABOUT, json.dumps(about))
            for number in self.missing:
                self._write(number)
                done(len(self._rows(number)))

    def __getitem__(self, row: int) -> np.ndarray:
        """Return the states of a row, (vectors, width) float16. Raises: RuntimeError, if too many files are open."""
        number = row // ROWS_PER_PART
        if number not in self.opened:
            self.opened[number] = self._open(number)
        start = self.starts[row] - self.starts[number * ROWS_PER_PART]
        states: np.ndarray = self.opened[number][start : start + self.vectors[row]]
        return states

    def _rows(self, number: int) -> np.ndarray:
        return np.arange(number * ROWS_PER_PART, min((number + 1) * ROWS_PER_PART, len(self.vectors)))

    def _open(self, number: int) -> np.ndarray:
        path = next(self.folder.glob(f"part-{number:05}-*.npy"), None)
        try:
            if path:
                part: np.ndarray = np.load(path, mmap_mode="r")
                expected = (int(self.vectors[self._rows(number)].sum()), self.width)
                if part.shape == expected and part.dtype == DTYPE and path.name == _name(number, part):
                    return part
        except (FileNotFoundError, ValueError, EOFError):
            pass
        except OSError as error:
            if error.errno != errno.EMFILE:
                raise
            raise RuntimeError(f"{path}: too many open files. Allow more of them: ulimit -n 4096") from error
        console.note(f"{path or self.folder} is damaged: computing its {len(self._rows(number))} rows again")
        with file_lock(self.folder / LOCK_FILE):
            for damaged in self.folder.glob(f"part-{number:05}-*.npy"):
                damaged.unlink()
            made: np.ndarray = np.load(self._write(number), mmap_mode="r")
        return made

    def _write(self, number: int) -> Path:
        """Compute a part and return its file."""
        part = np.concatenate(self.compute(self._rows(number))).astype(DTYPE)
        with tempfile.NamedTemporaryFile(prefix=".making-", dir=self.folder, delete=False) as file:
            np.save(file, part)
        made = Path(file.name)
        made.chmod(0o644)  # other users may share the cache
        return made.replace(self.folder / _name(number, part))


class StatesOfSome:
    """States of some rows, which are asked for by their numbers among all rows."""

    def __init__(self, states: States, rows: np.ndarray, num_rows: int) -> None:
        """`states` are those of `rows`, the numbers of some of `num_rows` rows."""
        self.states, self.width = states, states.width
        self.place, self.vectors = np.full(num_rows, -1), np.zeros(num_rows, np.int64)
        self.place[rows], self.vectors[rows] = np.arange(len(rows)), states.vectors

    def __getitem__(self, row: int) -> np.ndarray:
        return self.states[int(self.place[row])]


def cached_layers(folder: Path, num_rows: int) -> list[int]:
    """Return each layer N whose folder layer-N has all of its parts, in increasing order."""
    parts = -(-num_rows // ROWS_PER_PART)
    names = (re.fullmatch(r"layer-(\d+)", path.name) for path in folder.glob("layer-*"))
    layers = [int(name[1]) for name in names if name]
    return sorted(layer for layer in layers if len(list((folder / f"layer-{layer}").glob("part-*.npy"))) == parts)


def sorted_batches(vectors: Sequence[int] | np.ndarray, most: int) -> Iterator[np.ndarray]:
    """Yield positions of rows of similar length, in batches of at most `most` vectors with their padding."""
    order = np.argsort(vectors, kind="stable")
    start = 0
    while start < len(order):
        end = start + 1
        while end < len(order) and (end + 1 - start) * vectors[order[end]] <= most:
            end += 1
        yield order[start:end]
        start = end


def _name(number: int, part: np.ndarray) -> str:
    return f"part-{number:05}-{zlib.crc32(np.ascontiguousarray(part).data):08x}.npy"
