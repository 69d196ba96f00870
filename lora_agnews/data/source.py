"""Load AG News rows from the hub, from files or from the shipped sample, and validate them."""

import hashlib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from lora_agnews.data.dataset import OpenDataset, open_dataset
from lora_agnews.data.formats import AG_NEWS_COLUMNS, LINES, PICKLES, TABLES, read_columns
from lora_agnews.errors import UserError
from lora_agnews.labels import AG_NEWS, LABELS

SPELLINGS = ("world", "sports", "business", "scitech")  # of LABELS, without capitals and punctuation
SAMPLE = Path(str(files("lora_agnews.data") / "sample"))
MOST_SHOWN = 10  # labels in a message


@dataclass(frozen=True)
class Source:
    """Which rows a run uses: the keys of `data` that select them, with their meaning in config/sections.py."""

    source: str
    train_file: str | None = None
    test_file: str | None = None
    name: str = AG_NEWS
    revision: str | None = None
    text_column: str | None = None
    label_column: str | None = None

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> "Source":
        """Select the keys from all values of `data`. Records of earlier versions lack some, which had no effect."""
        return cls(**{each.name: data[each.name] for each in fields(cls) if each.name in data})

    @property
    def columns(self) -> tuple[str, str]:
        """Names of the columns with texts and labels."""
        return self.text_column or AG_NEWS_COLUMNS[0], self.label_column or AG_NEWS_COLUMNS[1]


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


def load_rows(source: Source) -> tuple[Rows, Rows | None]:
    """Load training and test rows, or None if there are no test rows.

    Raises: UserError, for rows that can't be used; RuntimeError, if the hub is needed and can't be reached.
    """
    if source.source == "hub":
        found = open_dataset(source.name, source.revision)
        return _from_dataset(found, "train", source.columns), _test_split(found, source.columns)
    if source.source == "sample":
        return _shipped("train.csv.gz"), load_test_rows(source)
    assert source.train_file is not None
    return _read_key("data.train_file", source.train_file, source.columns), load_test_rows(source)


def load_test_rows(source: Source) -> Rows | None:
    """Load only the test rows, or None if the run has none. Raises: as `load_rows`."""
    if source.source == "hub":
        return _test_split(open_dataset(source.name, source.revision), source.columns)
    if source.source == "sample":
        return _shipped("test.csv.gz")
    return _read_key("data.test_file", source.test_file, source.columns) if source.test_file else None


def read_file(path: Path, every_class: bool = True, columns: tuple[str, str] = AG_NEWS_COLUMNS) -> Rows:
    """Read labelled rows: AG News CSV (class 1 to 4, title, description, no header), or columns of texts and labels.

    In a column, labels are 0 to 3 or the names World, Sports, Business, Sci/Tech.
    Raises: UserError, naming the file and the row (counted from 1, without the header).
    """
    return _validated(read_columns(path, columns, TABLES), str(path), every_class)


def read_texts(path: Path, column: str = "text") -> Iterator[str]:
    """Yield the texts to classify one by one, empty ones included. Raises: UserError, as `read_file`."""
    for number, (text,) in enumerate(read_columns(path, (column,), (*TABLES, *LINES, *PICKLES)), 1):
        yield text if isinstance(text, str) and not text.strip() else _text(text, str(path), number)


def _read_key(key: str, file: str, columns: tuple[str, str]) -> Rows:
    try:
        return read_file(Path(file).expanduser(), columns=columns)
    except UserError as error:  # it begins with the path
        raise UserError(f"{key}={error}") from error


def _shipped(name: str) -> Rows:
    return replace(read_file(SAMPLE / name), origin=f"shipped:{name}")


def _from_dataset(found: OpenDataset, split: str, columns: tuple[str, str]) -> Rows:
    texts, labels = found.columns(split, columns)
    rows = _validated(zip(texts, labels, strict=True), f"data.name={found.name}, split {split}", all_labels=labels)
    return replace(rows, origin=found.origin)


def _test_split(found: OpenDataset, columns: tuple[str, str]) -> Rows | None:
    return _from_dataset(found, "test", columns) if "test" in found.splits else None


def _validated(
    pairs: Iterable[tuple[Any, Any]], where: str, every_class: bool = True, all_labels: Collection[Any] = ()
) -> Rows:
    """Check texts and labels. `where` begins each message and becomes the origin.

    The message about a bad label names some of `all_labels`.
    """
    texts, labels = [], []
    for number, (text, label) in enumerate(pairs, 1):
        texts.append(_text(text, where, number))
        value = _label(label)
        if type(value) is not int or value not in range(len(LABELS)):
            found = sorted({repr(each) for each in all_labels})
            others = f"; the labels there are {', '.join(found[:MOST_SHOWN])}" if found else ""
            others += ", ..." if len(found) > MOST_SHOWN else ""
            allowed = f"0, 1, 2, 3 or one of {', '.join(LABELS)}"
            raise UserError(f"{where}: row {number}: label {value!r} is not {allowed}{others}")
        labels.append(value)
    if not texts:
        raise UserError(f"{where}: no rows")
    missing = [name for i, name in enumerate(LABELS) if i not in set(labels)]
    if missing and every_class:
        raise UserError(f"{where}: no row of class {', '.join(missing)}; all four classes are needed")
    return Rows(texts, labels, where)


def _text(text: Any, where: str, number: int) -> str:
    if text is None or (isinstance(text, str) and not text.strip()):
        raise UserError(f"{where}: row {number}: the text is empty{' (null)' if text is None else ''}")
    if not isinstance(text, str):
        raise UserError(f"{where}: row {number}: the text is not a string: {text!r}")
    try:
        text.encode()
    except UnicodeEncodeError as error:  # JSON may contain half of a surrogate pair, which no tokenizer accepts
        raise UserError(
            f"{where}: row {number}: the text holds {text[error.start]!a}, which is no character"
        ) from error
    return text


def _label(label: Any) -> Any:
    """Return the number of a class that is given by its name, in any capitals and punctuation, or by digits.

    Anything else is returned as it is.
    """
    if not isinstance(label, str):
        return label
    name = re.sub(r"[\W_]", "", label).lower()
    if name in SPELLINGS:
        return SPELLINGS.index(name)
    return int(label) if re.fullmatch(r"[0-9]{1,9}", label.strip()) else label
