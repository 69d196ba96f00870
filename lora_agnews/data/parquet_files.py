"""The Parquet files of a large prediction: inputs with IDs, and outputs with a note about their origin."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow
from pyarrow import parquet

from lora_agnews.data.formats import READ_ERRORS, check_columns, check_unpacked, read_columns
from lora_agnews.errors import UserError

ID_COLUMNS = ("ID", "id")  # the first one that a file has
NOTE = b"lora_agnews"  # key of the note in the metadata of a written file
TYPES = {"Label": pyarrow.int8(), "text": pyarrow.large_string(), "label_name": pyarrow.string()}


def count_rows(path: Path, text_column: str) -> int:
    """Return the number of rows, which the footer of the file stores.

    Raises: UserError, if it can't be read or has no such column.
    """
    try:
        with parquet.ParquetFile(path) as file:
            check_columns((text_column,), file.schema_arrow.names, path)
            check_unpacked(file.metadata, (text_column,), path)
            return int(file.metadata.num_rows)
    except READ_ERRORS as error:
        raise UserError(f"{path}: can't be read as .parquet: {error}") from error


def read_ids(path: Path) -> Iterator[Any]:
    """Yield the values of the ID column or, without one, the numbers of the rows from 0."""
    names = parquet.read_schema(path).names
    column = next((name for name in ID_COLUMNS if name in names), None)
    if column is None:
        return iter(range(parquet.read_metadata(path).num_rows))
    return (value for (value,) in read_columns(path, (column,), (".parquet",)))


@contextmanager
def table_writer(
    stream: BinaryIO, columns: Sequence[str], like: Path, note: Mapping[str, Any]
) -> Iterator[Callable[[Mapping[str, Sequence[Any]]], None]]:
    """Write a table part by part. Yields the function that appends rows, given as the values of each column.

    IDs have the type that they have in the file `like`, probabilities are float32. `note` is what `read_note` returns.
    """
    schema = parquet.read_schema(like)
    ids = next((schema.field(name).type for name in ID_COLUMNS if name in schema.names), pyarrow.int64())
    types = {"ID": ids} | TYPES
    fields = [(name, types.get(name, pyarrow.float32())) for name in columns]
    written = pyarrow.schema(fields, {NOTE: json.dumps(note).encode()})
    with parquet.ParquetWriter(stream, written) as writer:
        yield lambda values: writer.write_table(pyarrow.table(dict(values), written))


def read_note(path: Path) -> dict[str, Any] | None:
    """Return the note of a file that `table_writer` has written, or None if it is another file."""
    try:
        found = (parquet.read_schema(path).metadata or {}).get(NOTE)
    except READ_ERRORS:
        return None
    return json.loads(found) if found else None
