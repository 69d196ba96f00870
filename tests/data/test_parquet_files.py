"""Parquet files of a large prediction: IDs keep their values and types, notes are found again, bad files are named."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from lora_agnews.data.parquet_files import count_rows, read_ids, read_note, table_writer
from lora_agnews.errors import UserError


def table(path: Path, **columns: Any) -> Path:
    parquet.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize(
    ("columns", "ids"),
    [({}, [0, 1]), ({"id": ["a", None]}, ["a", None]), ({"id": [1, 2], "ID": [7, 7]}, [7, 7])],
    ids=["row numbers", "id", "ID comes first"],
)
def test_ids_are_those_of_the_file_or_the_numbers_of_its_rows(
    tmp_path: Path, columns: dict[str, Any], ids: list[Any]
) -> None:
    path = table(tmp_path / "news.parquet", text=["one", "two"], **columns)
    assert list(read_ids(path)) == ids
    assert count_rows(path, "text") == 2


def test_a_written_table_has_the_types_of_its_ids_and_a_note(tmp_path: Path) -> None:
    source = table(
        tmp_path / "news.parquet", text=["one", "two"], id=pa.array(["x", "y"], pa.dictionary("int8", "string"))
    )
    names = ["ID", "Label", "p_world"]
    with (tmp_path / "out.parquet").open("wb") as stream, table_writer(stream, names, source, {"by": "test"}) as write:
        write({"ID": ["x"], "Label": [3], "p_world": [0.25]})
        write({"ID": ["y"], "Label": [0], "p_world": [0.5]})
    found = parquet.read_table(tmp_path / "out.parquet")
    assert found.to_pydict() == {"ID": ["x", "y"], "Label": [3, 0], "p_world": [0.25, 0.5]}
    assert [str(kind) for kind in found.schema.types[1:]] == ["int8", "float"]
    assert read_note(tmp_path / "out.parquet") == {"by": "test"}


def test_another_file_has_no_note(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert read_note(tmp_path / "notes.txt") is None
    assert read_note(table(tmp_path / "news.parquet", text=["one"])) is None


def test_a_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(UserError, match=r"bad.parquet: can't be read as .parquet"):
        count_rows(tmp_path / "bad.parquet", "text")
    with pytest.raises(UserError, match=r"no column headline; the columns are text"):
        count_rows(table(tmp_path / "news.parquet", text=["one"]), "headline")
