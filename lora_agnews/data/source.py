"""Load AG News rows from the hub, from files or from the shipped sample, and validate them."""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from lora_agnews.data.formats import LINES, PICKLES, TABLES, read_columns
from lora_agnews.errors import UserError
from lora_agnews.hub import Snapshot, fetch
from lora_agnews.labels import LABELS

HUB_NAME = "fancyzhx/ag_news"
SAMPLE = Path(str(files("lora_agnews.data") / "sample"))


@dataclass(frozen=True)
class Rows:
    """Texts and labels (0 to 3) of one split, in order, and their origin."""

    texts: list[str]
    labels: list[int]
    origin: str

    def __len__(self) -> int:
        return len(self.texts)


def fingerprints(train: Rows, test: Rows | None) -> dict[str, str | None]:
    """Return a hash of the texts and labels of each file, in order; None for test if there is no test file."""
    return {"train": _fingerprint(train), "test": _fingerprint(test) if test else None}


def _fingerprint(rows: Rows) -> str:
    found = hashlib.blake2b(digest_size=8)
    for text in rows.texts:
        written = text.encode()
        found.update(len(written).to_bytes(8, "little") + written)
    found.update(bytes(rows.labels))
    return found.hexdigest()


def load_rows(source: str, train_file: str | None, test_file: str | None) -> tuple[Rows, Rows | None]:
    """Load training and test rows. Raises: UserError, for bad files; RuntimeError, if the hub can't be reached."""
    if source == "hub":
        snapshot = fetch(HUB_NAME, "dataset", ["data/*.parquet"])
        return _from_hub(snapshot, "train"), _from_hub(snapshot, "test")
    if source == "sample":
        return _shipped("train.csv.gz"), load_test_rows(source, None)
    assert train_file is not None
    return _read_key("data.train_file", train_file), load_test_rows(source, test_file)


def load_test_rows(source: str, test_file: str | None) -> Rows | None:
    """Load only the test rows, or None if the run has no test file. Raises: as `load_rows`."""
    if source == "hub":
        return _from_hub(fetch(HUB_NAME, "dataset", ["data/test-*.parquet"]), "test")
    if source == "sample":
        return _shipped("test.csv.gz")
    return _read_key("data.test_file", test_file) if test_file else None


def _read_key(key: str, file: str) -> Rows:
    try:
        return read_file(Path(file).expanduser())
    except UserError as error:  # it begins with the path
        raise UserError(f"{key}={error}") from error


def _shipped(name: str) -> Rows:
    return replace(read_file(SAMPLE / name), origin=f"shipped:{name}")


def _from_hub(snapshot: Snapshot, split: str) -> Rows:
    found = sorted(snapshot.folder.glob(f"data/{split}-*.parquet"))
    if not found:
        raise UserError(f"{HUB_NAME}@{snapshot.commit} has no data/{split}-*.parquet")
    parts = [read_file(path) for path in found]
    texts, labels = [t for part in parts for t in part.texts], [y for part in parts for y in part.labels]
    return Rows(texts, labels, f"hub:{HUB_NAME}@{snapshot.commit[:12]}")


def read_file(path: Path, every_class: bool = True) -> Rows:
    """Read labelled rows: AG News CSV (class 1 to 4, title, description, no header), or columns `text` and `label`.

    In a column `label`, labels are 0 to 3 or the names World, Sports, Business, Sci/Tech.
    Raises: UserError, naming the file and the row (counted from 1, without the header).
    """
    texts, labels = [], []
    for number, (text, label) in enumerate(read_columns(path, ("text", "label"), TABLES), 1):
        texts.append(_text(text, path, number))
        labels.append(_label(label, path, number))
    if not texts:
        raise UserError(f"{path}: no rows")
    missing = [name for i, name in enumerate(LABELS) if i not in set(labels)]
    if missing and every_class:
        raise UserError(f"{path}: no row of class {', '.join(missing)}; all four classes are needed")
    return Rows(texts, labels, str(path))


def read_texts(path: Path, column: str = "text") -> Iterator[str]:
    """Yield the texts to classify one by one, empty ones included. Raises: UserError, as `read_file`."""
    for number, (text,) in enumerate(read_columns(path, (column,), (*TABLES, *LINES, *PICKLES)), 1):
        yield text if isinstance(text, str) and not text.strip() else _text(text, path, number)


def _text(text: Any, path: Path, number: int) -> str:
    if text is None or (isinstance(text, str) and not text.strip()):
        raise UserError(f"{path}: row {number}: the text is empty{' (null)' if text is None else ''}")
    if not isinstance(text, str):
        raise UserError(f"{path}: row {number}: the text is not a string: {text!r}")
    try:
        text.encode()
    except UnicodeEncodeError as error:  # JSON may contain half of a surrogate pair, which no tokenizer accepts
        raise UserError(f"{path}: row {number}: the text holds {text[error.start]!a}, which is no character") from error
    return text


def _label(label: Any, path: Path, number: int) -> int:
    if isinstance(label, str):
        name = label.strip()
        label = LABELS.index(name) if name in LABELS else int(name) if re.fullmatch(r"[0-9]{1,9}", name) else name
    if not isinstance(label, int) or isinstance(label, bool) or not 0 <= label < len(LABELS):
        raise UserError(f"{path}: row {number}: label {label!r} is not 0, 1, 2, 3 or one of {', '.join(LABELS)}")
    return label
