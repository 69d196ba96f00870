"""Rows of (text, label) from the hub, from files or from the shipped sample, checked row by row."""

import csv
import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow
from pyarrow import parquet

from lora_agnews.config import LABELS, UserError
from lora_agnews.hub import fetch

HUB_NAME = "fancyzhx/ag_news"
SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".parquet")
csv.field_size_limit(1 << 30)


@dataclass(frozen=True)
class Rows:
    """Texts and labels 0..3 of one split, in order, and where they came from."""

    texts: list[str]
    labels: list[int]
    origin: str

    def __len__(self) -> int:
        return len(self.texts)


def load_rows(source: str, train_file: str | None, test_file: str | None) -> tuple[Rows, Rows | None]:
    """Training and test rows. Raises: UserError for bad files and rows, RuntimeError if the hub is out of reach."""
    if source == "hub":
        snapshot = fetch(HUB_NAME, "dataset", ["data/*.parquet"])
        found = [sorted(snapshot.folder.glob(f"data/{split}-*.parquet")) for split in ("train", "test")]
        if not all(found):
            raise UserError(f"{HUB_NAME}@{snapshot.commit} has no data/train-*.parquet and data/test-*.parquet")
        train, test = (
            _join([read_file(path) for path in paths], f"hub:{HUB_NAME}@{snapshot.commit[:12]}") for paths in found
        )
        return train, test
    if source == "sample":
        sample = files("lora_agnews.data") / "sample"
        return tuple(read_file(Path(str(sample / f"{split}.csv.gz"))) for split in ("train", "test"))  # type: ignore[return-value]
    assert train_file is not None
    return read_file(Path(train_file).expanduser()), read_file(Path(test_file).expanduser()) if test_file else None


def read_file(path: Path) -> Rows:
    """Labelled rows of a file: AG News CSV (class 1..4, title, description, no header), or columns `text` and `label`.

    Labels with a header are 0..3 or the names World, Sports, Business, Sci/Tech.
    Raises: UserError, naming the file and the row (counted from 1, the header not counted).
    """
    kind = next((suffix for suffix in reversed(path.suffixes) if suffix in SUFFIXES), None)
    if kind is None or path.suffixes[-1] not in (kind, ".gz"):
        raise UserError(f"{path}: can't tell its format; use one of {', '.join(SUFFIXES)} (.gz is fine)")
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        if kind == ".parquet":
            records = _parquet_records(path)
        elif kind in (".csv", ".tsv"):
            records = _csv_records(path, "\t" if kind == ".tsv" else ",")
        else:
            records = _json_records(path, lines=kind == ".jsonl")
        texts, labels = [], []
        for number, (text, label) in enumerate(records, 1):
            texts.append(_text(text, path, number))
            labels.append(_label(label, path, number))
    except (OSError, EOFError, zlib.error, pyarrow.ArrowException) as error:
        raise UserError(f"{path}: can't be read as {kind}: {error}") from error
    if not texts:
        raise UserError(f"{path}: no rows")
    missing = [name for i, name in enumerate(LABELS) if i not in set(labels)]
    if missing:
        raise UserError(f"{path}: no row of class {', '.join(missing)}; all four classes are needed")
    return Rows(texts, labels, str(path))


def _lines(path: Path) -> Iterator[str]:
    """Decoded lines with their line ends. Raises: UserError with the line whose bytes are not UTF-8."""
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            try:
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise UserError(
                    f"{path}: line {number} is not UTF-8 (byte {line[error.start]:#04x}); convert it, "
                    f"for example: iconv -f latin1 -t utf-8 {path.name}"
                ) from error


def _csv_records(path: Path, delimiter: str) -> Iterator[tuple[Any, Any]]:
    rows = _csv_rows(path, delimiter)
    first = next(rows, None)
    if first is None:
        return
    if "text" in first or "label" in first:
        names = [name.strip() for name in first]
        _need(names, path)
        where = names.index("text"), names.index("label")
        numbered: Iterable[tuple[int, list[str]]] = enumerate(rows, 1)
    elif [name.strip().lower() for name in first] == [
        "class index",
        "title",
        "description",
    ]:  # Kaggle's copy has a header
        names, where, numbered = ["class", "title", "description"], None, enumerate(rows, 1)
    elif len(first) == 3 and first[0].strip() in ("1", "2", "3", "4"):
        names, where = ["class", "title", "description"], None
        numbered = enumerate(chain([first], rows), 1)
    else:
        raise UserError(
            f"{path}: row 1 is neither the header text,label nor an AG News row class,title,description "
            f"with a class from 1 to 4; it has {len(first)} columns and begins with {first[0][:40]!r}"
        )
    for number, row in numbered:
        if len(row) != len(names):
            raise UserError(f"{path}: row {number} has {len(row)} columns, not {len(names)} ({', '.join(names)})")
        if where:
            yield row[where[0]], row[where[1]]
        else:
            if row[0].strip() not in ("1", "2", "3", "4"):
                raise UserError(f"{path}: row {number}: class {row[0]!r} is not one of 1, 2, 3, 4")
            yield f"{row[1]} {row[2]}".strip(), int(row[0]) - 1


def _csv_rows(path: Path, delimiter: str) -> Iterator[list[str]]:
    """Rows without blank lines. Raises: UserError with the line at which a badly quoted row begins."""
    rows, begins = csv.reader(_lines(path), delimiter=delimiter, strict=True), 1
    try:
        for row in rows:
            begins = rows.line_num + 1
            if row:
                yield row
    except csv.Error as error:
        why = "a quote is opened and never closed" if str(error) == "unexpected end of data" else str(error)
        raise UserError(f"{path}: the row that begins at line {begins}: {why}") from error


def _json_records(path: Path, lines: bool) -> Iterator[tuple[Any, Any]]:
    if not lines:
        try:
            content = json.loads("".join(_lines(path)))
        except json.JSONDecodeError as error:
            raise UserError(f"{path}: not JSON: {error}") from error
        if not isinstance(content, list):
            raise UserError(f"{path}: must hold a list of objects with text and label")
        yield from _columns(content, path)
        return
    records = []
    for number, line in enumerate(_lines(path), 1):
        if line.strip():
            try:
                records.append(json.loads(line))
            except json.JSONDecodeError as error:
                raise UserError(f"{path}: line {number} is not JSON: {error}") from error
    yield from _columns(records, path)


def _parquet_records(path: Path) -> Iterator[tuple[Any, Any]]:
    with parquet.ParquetFile(path) as file:
        _need(file.schema_arrow.names, path)
        columns = file.read(["text", "label"]).to_pydict()
    yield from zip(columns["text"], columns["label"], strict=True)


def _columns(records: Iterable[Any], path: Path) -> Iterator[tuple[Any, Any]]:
    for number, record in enumerate(records, 1):
        if not isinstance(record, dict):
            raise UserError(f"{path}: row {number} is not an object with text and label")
        _need(list(record), path, number)
        yield record["text"], record["label"]


def _need(names: list[str], path: Path, number: int | None = None) -> None:
    missing = [name for name in ("text", "label") if name not in names]
    if missing:
        row = f" of row {number}" if number else ""
        raise UserError(f"{path}: no column {' and '.join(missing)}; the columns{row} are {', '.join(map(str, names))}")


def _text(text: Any, path: Path, number: int) -> str:
    if text is None or (isinstance(text, str) and not text.strip()):
        raise UserError(f"{path}: row {number}: the text is empty")
    if not isinstance(text, str):
        raise UserError(f"{path}: row {number}: the text is not a text: {text!r}")
    try:
        text.encode()
    except UnicodeEncodeError as error:  # JSON may hold one half of a pair, and no tokenizer takes it
        raise UserError(f"{path}: row {number}: the text holds {text[error.start]!a}, which is no character") from error
    return text


def _label(label: Any, path: Path, number: int) -> int:
    if isinstance(label, str):
        name = label.strip()
        label = LABELS.index(name) if name in LABELS else int(name) if name.isascii() and name.isdigit() else name
    if not isinstance(label, int) or isinstance(label, bool) or not 0 <= label < len(LABELS):
        raise UserError(f"{path}: row {number}: label {label!r} is not 0, 1, 2, 3 or one of {', '.join(LABELS)}")
    return label


def _join(parts: list[Rows], origin: str) -> Rows:
    return Rows([t for part in parts for t in part.texts], [y for part in parts for y in part.labels], origin)
