"""Labelled rows are read and validated, whatever their source."""

import gzip
import io
import json
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from lora_agnews.data.source import Rows, Source, load_rows, read_file
from lora_agnews.errors import UserError
from tests.files_of_rows import (
    CLASSES,
    GOOD,
    SAME_ROWS,
    TEXTS,
)
from tests.messages import check_message


@pytest.mark.parametrize("name", SAME_ROWS)
def test_every_format_gives_the_same_rows(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(SAME_ROWS[name])
    assert read_file(path) == Rows(TEXTS, CLASSES, str(path))


def test_the_shipped_sample_is_balanced_and_small() -> None:
    train, test = load_rows(Source("sample"))
    assert test is not None
    assert np.bincount(train.labels).tolist() == [1000] * 4
    assert np.bincount(test.labels).tolist() == [250] * 4
    shipped = [Path(str(files("lora_agnews.data") / "sample" / f"{split}.csv.gz")) for split in ("train", "test")]
    assert sum(path.stat().st_size for path in shipped) < 1_500_000
    assert not set(train.texts) & set(test.texts)


CANONICAL = b'"1","A","a"\n"2","B","b"\n"3","C","c"\n"4","D","d"\n'


JSON_ROWS = [{"text": f"news {label}", "label": label} for label in range(4)]


JSON_LINES = "".join(json.dumps(row) + "\n" for row in JSON_ROWS).encode()


def in_parquet(**columns: list[object]) -> bytes:
    """The bytes of a parquet file."""
    stream = io.BytesIO()
    parquet.write_table(pa.table(columns), stream)
    return stream.getvalue()


BAD_FILES: list[tuple[str, bytes | None, list[str]]] = [
    ("missing.csv", None, ["no such file"]),
    ("rows.xlsx", GOOD, ["unknown format", ".csv, .tsv, .json, .jsonl, .parquet"]),
    ("rows.csv.bak", GOOD, ["unknown format"]),
    ("rows", GOOD, ["unknown format"]),
    ("empty.csv", b"", ["no rows"]),
    ("empty.jsonl", b"", ["no rows"]),
    ("empty.csv.gz", gzip.compress(b""), ["no rows"]),
    ("header_only.csv", b"text,label\n", ["no rows"]),
    ("no_text.csv", b"title,label\nnews,0\n", ["no column text", "title, label"]),
    ("no_label.csv", b"text,class\nnews,0\n", ["no column label", "text, class"]),
    ("no_header.csv", b"some news,0\n", ["row 1", "text,label", "class,title,description", "2 columns", "'some news'"]),
    ("empty_text.csv", GOOD + b"  ,1\n", ["row 5", "empty"]),
    ("high.csv", GOOD + b"news,4\n", ["row 5", "label 4", "0, 1, 2, 3", "World"]),
    ("negative.csv", GOOD + b"news,-1\n", ["row 5", "label '-1'"]),
    ("name.csv", GOOD + b"news,Politics\n", ["row 5", "'Politics'", "World, Sports, Business, Sci/Tech"]),
    ("no_number.csv", GOOD + b"news,1.0\n", ["row 5", "'1.0'"]),
    ("no_label_value.csv", GOOD + b"news,\n", ["row 5", "label ''"]),
    ("class_5.csv", CANONICAL + b'"5","E","e"\n', ["row 5", "class '5'", "1, 2, 3, 4"]),
    ("class_5_first.csv", b'"5","E","e"\n', ["row 1", "1 to 4", "'5'"]),
    ("empty_news.csv", CANONICAL + b'"1",""," "\n', ["row 5", "empty"]),
    ("narrow.csv", GOOD + b"news\n", ["row 5", "1 columns, not 2", "text, label"]),
    ("wide.csv", CANONICAL + b'"1","E","e","f"\n', ["row 5", "4 columns, not 3", "class, title, description"]),
    ("quote.csv", GOOD + b'"news,1\nmore,2\n', ["line 6", "quote", "never closed"]),
    ("first_quote.csv", b'"1,news\n', ["line 1", "quote", "never closed"]),
    ("quote_inside.csv", GOOD + b'"ne"ws,1\n', ["line 6", "expected after"]),
    ("one_class.csv", b"text,label\nnews,0\nmore,1\n", ["no row of class Business, Sci/Tech", "all four"]),
    ("latin1.csv", GOOD + "caf\xe9,1\n".encode("latin1"), ["line 6", "not UTF-8", "0xe9", "iconv"]),
    ("latin1.jsonl", JSON_LINES + '{"text": "caf\xe9", "label": 1}\n'.encode("latin1"), ["line 5", "not UTF-8"]),
    ("utf16.csv", GOOD.decode().encode("utf-16"), ["line 1", "not UTF-8"]),
    ("cut.csv.gz", gzip.compress(CANONICAL * 100)[:-20], ["can't be read as .csv"]),
    ("plain.csv.gz", GOOD, ["can't be read as .csv", "gzip"]),
    ("broken.csv.gz", gzip.compress(GOOD)[:12] + b"\xff" * 30, ["can't be read as .csv"]),
    ("broken.json", b'[{"text": "news"', ["not JSON", "line 1"]),
    ("object.json", b'{"text": ["news"], "label": [0]}', ["list of objects", "text and label"]),
    ("broken.jsonl", JSON_LINES + b"{text: news}\n", ["line 5", "not JSON"]),
    ("no_object.jsonl", JSON_LINES + b"5\n", ["row 5", "not an object"]),
    ("no_label.jsonl", JSON_LINES + b'{"text": "news"}\n', ["no column label", "row 5"]),
    ("number.jsonl", JSON_LINES + b'{"text": 7, "label": 1}\n', ["row 5", "not a string", "7"]),
    ("null.jsonl", JSON_LINES + b'{"text": null, "label": 1}\n', ["row 5", "empty"]),
    ("true.jsonl", JSON_LINES + b'{"text": "news", "label": true}\n', ["row 5", "label True"]),
    ("half_a_pair.jsonl", JSON_LINES + b'{"text": "news \\ud83d", "label": 1}\n', ["row 5", "\\ud83d"]),
    ("no.parquet", GOOD, ["can't be read as .parquet"]),
    ("no_label.parquet", in_parquet(text=["news"]), ["no column label", "text"]),
    ("high.parquet", in_parquet(text=["a", "b"], label=[0, 7]), ["row 2", "label 7"]),
    ("null.parquet", in_parquet(text=["a", None], label=[0, 1]), ["row 2", "empty"]),
]


@pytest.mark.parametrize(("name", "content", "fragments"), BAD_FILES, ids=[name for name, *_ in BAD_FILES])
def test_a_bad_file_is_refused_with_its_name_and_row(
    name: str, content: bytes | None, fragments: list[str], tmp_path: Path
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_file(path)
    check_message(str(caught.value), [str(path), *fragments])


def test_a_bad_test_file_is_refused_although_the_training_file_is_good(tmp_path: Path) -> None:
    train, test = tmp_path / "train.csv", tmp_path / "test.csv"
    train.write_bytes(GOOD)
    test.write_bytes(GOOD + b"news,4\n")
    with pytest.raises(UserError) as caught:
        load_rows(Source("files", str(train), str(test)))
    check_message(str(caught.value), [str(test), "row 5", "label 4"])


def test_columns_of_files_may_have_other_names(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_bytes(GOOD.replace(b"text,label", b"content,topic"))
    source = Source("files", str(tmp_path / "train.csv"), text_column="content", label_column="topic")
    train, test = load_rows(source)
    assert (train.texts[:2], train.labels, test) == (["some news", "more news"], [0, 1, 2, 3], None)
    with pytest.raises(UserError, match=r"no column label; the columns are content, topic\. Other columns: data\.text"):
        load_rows(replace(source, label_column=None))
    (tmp_path / "train.csv").write_bytes(CANONICAL)
    with pytest.raises(UserError, match="AG News' own format has the columns text and label only"):
        load_rows(source)


def test_shipped_rows_have_an_origin_without_a_path() -> None:
    train, test = load_rows(Source("sample"))
    assert test is not None
    assert (train.origin, test.origin) == ("shipped:train.csv.gz", "shipped:test.csv.gz")
