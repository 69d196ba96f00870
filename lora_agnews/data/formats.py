"""Read columns of a file of any supported format, row by row."""

import csv
import gzip
import io
import json
import pickle
import zlib
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow
from pyarrow import parquet

from lora_agnews.data.pickled import read_pickled
from lora_agnews.errors import UserError

TABLES = (".csv", ".tsv", ".json", ".jsonl", ".parquet")
PICKLES = (".pkl", ".pickle")
LINES = (".txt",)
AG_NEWS_COLUMNS = ("text", "label")  # what the rows of AG News' own format are read as
KAGGLE_HEADER = ["class index", "title", "description"]  # the copy on Kaggle has a header
READ_ERRORS = (OSError, EOFError, UnicodeDecodeError, zlib.error, pyarrow.ArrowException, pickle.UnpicklingError)
MAX_LINE = 1 << 24  # bytes; no text of a row is that long, and a file without line ends would fill the memory
MAX_JSON = 1 << 26  # bytes; a .json file is read whole
csv.field_size_limit(MAX_LINE)


def read_columns(path: Path, columns: tuple[str, ...], formats: tuple[str, ...]) -> Iterator[tuple[Any, ...]]:
    """Yield the values of `columns` for each row, as they are in the file. Only .json files and pickles are read whole.

    AG News CSV (class 1 to 4, title, description, no header) has the columns `text` and `label` (0 to 3). In a .txt
    file every line is one text. Raises: UserError, naming the file and the row (counted from 1, without the header).
    """
    kind = next((suffix for suffix in reversed(path.suffixes) if suffix in formats), None)
    zipped = kind not in (".parquet", *PICKLES)
    if kind is None or path.suffixes[-1] not in (kind, ".gz" if zipped else kind):
        raise UserError(f"{path}: unknown format; use one of {', '.join(formats)}; text formats also as .gz")
    if not path.is_file():
        problem = "not a file; - reads lines from standard input" if path.exists() else "no such file"
        raise UserError(f"{path}: {problem}")
    try:
        if kind == ".parquet":
            yield from _from_parquet(path, columns)
        elif kind in (".csv", ".tsv"):
            yield from _from_csv(path, columns, "\t" if kind == ".tsv" else ",")
        elif kind in LINES:
            with _open(path) as stream:
                yield from ((text,) for text in decode_lines(stream, str(path)))
        elif kind in PICKLES:
            table = read_pickled(path)
            check_columns(columns, table.column_names, path)
            yield from _in_batches(table.to_batches(), columns)
        else:
            yield from _from_json(path, columns, lines=kind == ".jsonl")
    except READ_ERRORS as error:
        raise UserError(f"{path}: can't be read as {kind}: {error}") from error


def _lines(path: Path) -> Iterator[str]:
    """Yield decoded lines with their line ends. Raises: UserError, naming the line that is not UTF-8."""
    with _open(path) as stream:
        yield from _decode(stream, str(path))


def _open(path: Path) -> Any:
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")


def decode_lines(stream: BinaryIO, name: str) -> Iterator[str]:
    """Yield each line as one text, without its line end, empty ones included. Raises: UserError, if it is not UTF-8."""
    for line in _decode(stream, name):
        yield line.removesuffix("\n").removesuffix("\r")


def _decode(stream: BinaryIO, name: str, longest: int = MAX_LINE) -> Iterator[str]:
    """Yield UTF-8 lines with their line ends. Raises: UserError, as `_lines`, or if one is longer than `longest`."""
    for number, line in enumerate(iter(partial(stream.readline, longest + 1), b""), 1):
        if len(line) > longest:
            raise UserError(f"{name}: line {number} is longer than {longest >> 20} MiB; is it a text file?")
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            marks = {b"\xff\xfe\0\0": "utf-32", b"\0\0\xfe\xff": "utf-32", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
            found = (name for mark, name in marks.items() if number == 1 and line.startswith(mark))
            encoding = next(found, "latin1")
            raise UserError(
                f"{name}: line {number} is not UTF-8 (byte {line[error.start]:#04x}); convert it, "
                f"for example: iconv -f {encoding} -t utf-8 {Path(name).name}"
            ) from error


def _from_csv(path: Path, columns: tuple[str, ...], delimiter: str) -> Iterator[tuple[Any, ...]]:
    rows = _csv_rows(path, delimiter)
    first = next(rows, None)
    if first is None:
        return
    names, title = [name.strip() for name in first], ["class", "title", "description"]
    canonical = len(first) == 3 and names[0] in ("1", "2", "3", "4")
    if set(columns) <= set(AG_NEWS_COLUMNS) and (canonical or [name.lower() for name in names] == KAGGLE_HEADER):
        for number, row in enumerate(chain([first], rows) if canonical else rows, 1):
            _check_width(row, title, path, number)
            if row[0].strip() not in ("1", "2", "3", "4"):
                raise UserError(f"{path}: row {number}: class {row[0]!r} is not one of 1, 2, 3, 4")
            found = {"text": f"{row[1]} {row[2]}".strip(), "label": int(row[0]) - 1}
            yield tuple(found[column] for column in columns)
        return
    if set(columns) <= set(AG_NEWS_COLUMNS) and not set(columns) & set(names):
        raise UserError(
            f"{path}: row 1 is neither a header such as {','.join(columns)} nor an AG News row "
            f"class,title,description with a class from 1 to 4; it has {len(first)} columns and begins with "
            f"{first[0][:40]!r}{_column_hint(columns)}"
        )
    if canonical:
        raise UserError(f"{path}: AG News' own format has the columns text and label only; leave the other name out")
    check_columns(columns, names, path)
    where = [names.index(column) for column in columns]
    for number, row in enumerate(rows, 1):
        _check_width(row, names, path, number)
        yield tuple(row[column] for column in where)


def _csv_rows(path: Path, delimiter: str) -> Iterator[list[str]]:
    """Yield rows and skip blank lines.

    Raises: UserError, naming the line where a badly quoted row begins, or a blank line in a file of one column: it may
    be an empty text.
    """
    rows, begins, blank = csv.reader(_lines(path), delimiter=delimiter, strict=True), 1, 0
    try:
        for row in rows:
            if row and blank and len(row) == 1:
                raise UserError(f'{path}: line {blank} is blank; delete it, or write "" there if it is an empty text')
            if row:
                yield row
            else:
                blank = blank or (begins if begins > 1 else 0)
            begins = rows.line_num + 1
    except csv.Error as error:
        why = "a quote is opened and never closed" if str(error) == "unexpected end of data" else str(error)
        raise UserError(f"{path}: the row that begins at line {begins}: {why}") from error


def _from_json(path: Path, columns: tuple[str, ...], lines: bool) -> Iterator[tuple[Any, ...]]:
    for number, record in enumerate(_json_lines(path) if lines else _json_list(path, columns), 1):
        if not isinstance(record, dict):
            raise UserError(f"{path}: row {number} is not an object with {' and '.join(columns)}")
        check_columns(columns, list(record), path, number)
        yield tuple(record[column] for column in columns)


def _json_lines(path: Path) -> Iterator[Any]:
    for number, line in enumerate(_lines(path), 1):
        if line.strip():
            try:
                yield json.loads(line)
            except (ValueError, RecursionError) as error:
                raise UserError(f"{path}: line {number} is not JSON: {error}") from error


def _json_list(path: Path, columns: tuple[str, ...]) -> Iterable[Any]:
    with _open(path) as stream:
        written = stream.read(MAX_JSON + 1)
    if len(written) > MAX_JSON:
        raise UserError(f"{path}: more than {MAX_JSON >> 20} MiB of JSON; use .jsonl, which is read row by row")
    text = "".join(_decode(io.BytesIO(written), str(path), MAX_JSON))
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not JSON: {error}") from error
    if not isinstance(content, list):
        raise UserError(f"{path}: must be a JSON list of objects with {' and '.join(columns)}")
    return content


def _from_parquet(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[Any, ...]]:
    with parquet.ParquetFile(path) as file:
        check_columns(columns, file.schema_arrow.names, path)
        check_unpacked(file.metadata, columns, path)
        yield from _in_batches(file.iter_batches(100, columns=list(columns)), columns)


def check_unpacked(about: parquet.FileMetaData, columns: tuple[str, ...], path: Path) -> None:
    """Raises: UserError, if a small file would fill the memory: texts shrink to about a third, never to a hundredth."""
    for group in map(about.row_group, range(about.num_row_groups)):
        for column in map(group.column, range(group.num_columns)):
            unpacked, packed = column.total_uncompressed_size, column.total_compressed_size
            if column.path_in_schema in columns and unpacked > max(MAX_LINE, 100 * packed):
                raise UserError(
                    f"{path}: {unpacked >> 20} MB are packed into {packed:,} bytes; texts do not compress that much, "
                    "so the file is not read"
                )


def _in_batches(batches: Iterable[pyarrow.RecordBatch], columns: tuple[str, ...]) -> Iterator[tuple[Any, ...]]:
    for batch in batches:
        for values in zip(*(batch[column] for column in columns), strict=True):
            yield tuple(value.as_py() for value in values)


def _check_width(row: list[str], names: list[str], path: Path, number: int) -> None:
    if len(row) != len(names):
        raise UserError(f"{path}: row {number} has {len(row)} columns, not {len(names)} ({', '.join(names)})")


def check_columns(columns: tuple[str, ...], names: list[str], path: Path | str, number: int | None = None) -> None:
    """Raises: UserError, beginning with `path`, if a column is missing, or there are several of its name.

    `number` is the row, if they vary.
    """
    missing = [name for name in columns if name not in names]
    if missing:
        row = f" of row {number}" if number else ""
        raise UserError(
            f"{path}: no column {' and '.join(missing)}; the columns{row} are {', '.join(map(str, names))}"
            f"{_column_hint(columns)}"
        )
    twice = [name for name in columns if names.count(name) > 1]
    if twice:
        raise UserError(f"{path}: has {names.count(twice[0])} columns {twice[0]}")


def _column_hint(columns: tuple[str, ...]) -> str:
    if len(columns) == 1:
        return ". Another column: --text-column NAME"
    return ". Other columns: data.text_column=NAME, data.label_column=NAME (evaluate: --text-column, --label-column)"
