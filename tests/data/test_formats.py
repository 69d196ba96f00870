"""Texts of files of every format are read unchanged, in little memory."""

import gzip
import os
import tracemalloc
from itertools import islice
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from lora_agnews.data.formats import read_columns
from lora_agnews.data.source import read_texts
from lora_agnews.errors import UserError
from tests.files_of_rows import (
    ODD_TEXTS,
    ONE_LINE,
    SAME_ROWS,
    TEXTS,
    texts_in,
)


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.json", "a.jsonl", "a.parquet", "a.txt", "a.csv.gz", "a.txt.gz"])
def test_unusual_texts_are_read_unchanged(name: str, tmp_path: Path) -> None:
    texts = ONE_LINE if ".txt" in name else ODD_TEXTS
    content = texts_in({"text": texts}, name.removesuffix(".gz"))
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    assert list(read_texts(tmp_path / name)) == texts


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.json", "a.jsonl", "a.parquet"])
def test_texts_are_read_from_the_column_that_is_asked_for(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(texts_in({"id": ["1", "2"], "headline": ["a", "b"], "label": ["x", ""]}, name))
    assert list(read_texts(tmp_path / name, "headline")) == ["a", "b"]


def test_texts_of_labelled_files_are_those_of_training(tmp_path: Path) -> None:
    for name, content in SAME_ROWS.items():
        (tmp_path / name).write_bytes(content)
        assert list(read_texts(tmp_path / name)) == TEXTS, name


def test_a_blank_line_in_a_file_of_one_column_is_refused(tmp_path: Path) -> None:
    """Blank lines are skipped, as in pandas, except where the IDs would shift without a message."""
    path = tmp_path / "a.csv"
    path.write_bytes(b'text\nfirst\n""\nthird\n\n')
    assert list(read_texts(path)) == ["first", "", "third"]
    path.write_bytes(b"text\nfirst\n\nthird\n")
    with pytest.raises(UserError, match='line 3 is blank; delete it, or write ""'):
        list(read_texts(path))


def test_a_large_file_is_read_in_constant_memory(tmp_path: Path) -> None:
    """40 MB of rows, of which 10,000 were read: no more than a window of them is held."""
    for name in ("a.csv", "a.jsonl", "a.txt", "a.parquet"):
        (tmp_path / name).write_bytes(texts_in({"text": ["news " * 200] * 40_000}, name))
        tracemalloc.start()
        assert sum(1 for _ in islice(read_texts(tmp_path / name), 10_000)) == 10_000
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 8e6, name


def test_what_is_not_a_file_is_not_called_missing(tmp_path: Path) -> None:
    folder, pipe = tmp_path / "folder.csv", tmp_path / "pipe.csv"
    folder.mkdir()
    os.mkfifo(pipe)
    for path in (folder, pipe):
        with pytest.raises(UserError, match="not a file; - reads lines from standard input"):
            list(read_columns(path, ("text",), (".csv",)))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_another_unicode_encoding_is_named_in_the_command_that_converts_it(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "news.csv"
    path.write_bytes("text\nsome news\n".encode(encoding))
    with pytest.raises(UserError, match=f"iconv -f {encoding} -t utf-8 news.csv"):
        list(read_columns(path, ("text",), (".csv",)))


@pytest.mark.parametrize("name", ["a.csv.gz", "a.jsonl.gz", "a.json.gz", "a.txt.gz"])
def test_a_line_without_end_is_refused_before_it_fills_the_memory(tmp_path: Path, name: str) -> None:
    with gzip.open(tmp_path / name, "wb", compresslevel=1) as stream:
        for _ in range(40):
            stream.write(b"a" * 10_000_000)
    tracemalloc.start()
    with pytest.raises(UserError, match="jsonl" if ".json." in name else "line 1 is longer than"):
        list(read_texts(tmp_path / name))
    assert tracemalloc.get_traced_memory()[1] < 300e6
    tracemalloc.stop()


def test_a_small_parquet_file_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "news.parquet"
    shared = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * 1000, pyarrow.int32()), ["a" * 30_000_000])
    parquet.write_table(pyarrow.table({"text": shared}), path, compression="zstd")
    tracemalloc.start()
    with pytest.raises(UserError, match=r"news\.parquet: 28 MB are packed into [\d,]+ bytes; texts do not compress"):
        list(read_texts(path))
    assert tracemalloc.get_traced_memory()[1] < 8e6
    tracemalloc.stop()
