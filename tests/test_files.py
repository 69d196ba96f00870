"""Texts to classify out of files of every format, however odd, and out of pickles whose code must not run."""

import gzip
import io
import json
import os
import pickle
import subprocess
import tracemalloc
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from lora_agnews.__main__ import FORMATS
from lora_agnews.data import formats as files
from lora_agnews.data.source import read_texts
from lora_agnews.errors import UserError
from tests.test_data import SAME_ROWS, TEXTS, written_csv

PICKLES = Path(__file__).parent / "pickles"  # of the same rows, made with the named versions of datasets
ODD_TEXTS = [
    'Oil prices rise\nagain,\r\nexperts "say"',
    "",
    "   ",
    "A phone for \U0001f469\u200d\U0001f680 \u2028 火星\x0b\x1c",
    "nul\x00byte",
    "long " * 200_000,
    "last",
]
ONE_LINE = [text for text in ODD_TEXTS if "\n" not in text]


def texts_in(columns: dict[str, list[str]], name: str) -> bytes:
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    if name.endswith((".csv", ".tsv")):
        return written_csv(
            [list(columns), *(list(row.values()) for row in rows)], "," if name.endswith("csv") else "\t"
        )
    if name.endswith(".txt"):
        return "".join(f"{text}\n" for text in columns["text"]).encode()
    if name.endswith(".parquet"):
        stream = io.BytesIO()
        parquet.write_table(pa.table(columns), stream)
        return stream.getvalue()
    lines = [json.dumps(row) for row in rows]
    return ("\n".join(lines) if name.endswith("l") else f"[{','.join(lines)}]").encode()


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.json", "a.jsonl", "a.parquet", "a.txt", "a.csv.gz", "a.txt.gz"])
def test_odd_texts_come_through_as_they_are(name: str, tmp_path: Path) -> None:
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


def test_a_text_of_one_column_may_not_stand_for_a_blank_line(tmp_path: Path) -> None:
    """Blank lines are skipped, as pandas does, but not where IDs would shift without a word."""
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


PICKLED = ["Oil prices rise\nagain", 'The "Reds" won 3-1', "", "Ünïcode \U0001f600 火星"]


@pytest.mark.parametrize("version", ["2.14", "3.5", "5.2"])
def test_the_courses_pickle_is_read_without_the_library_that_made_it(version: str) -> None:
    assert list(read_texts(PICKLES / f"datasets-{version}.pkl")) == PICKLED


def test_a_pickle_of_chosen_rows_gives_those_in_their_order() -> None:
    assert list(read_texts(PICKLES / "datasets-3.5-chosen.pkl")) == [PICKLED[i] for i in (3, 0, 1)]


class Evil:
    """What a malicious file may hold: anything that is called when it is read."""

    def __init__(self, call: Any, *arguments: Any) -> None:
        self.what = call, arguments

    def __reduce__(self) -> Any:
        return self.what


def bad_pickles(proof: Path) -> dict[str, bytes]:
    good = (PICKLES / "datasets-5.2.pkl").read_bytes()
    touch = f"open({str(proof)!r}, 'w')"
    return {
        "system": pickle.dumps(Evil(os.system, f"touch {proof}")),
        "eval": pickle.dumps(Evil(eval, touch)),
        "run": pickle.dumps(Evil(subprocess.run, ["touch", str(proof)])),
        "path": pickle.dumps(Evil(Path.touch, proof)),
        "old": pickle.dumps(Evil(os.system, f"touch {proof}"), protocol=0),
        "inside": good[:-1] + b"0" + pickle.dumps(Evil(eval, touch)),
        "dotted": b"\x80\x04\x8c\x08datasets\x94\x8c\x14os.system.__globals__\x94\x93.",
        "through_pyarrow": b"\x80\x04\x8c\x0bpyarrow.lib\x94\x8c\x06builtins\x94\x93.",
        "numpy": pickle.dumps(np.zeros(3)),
        "list": pickle.dumps(["a", "b"]),
        "no_buffers": pickle.dumps(Evil(pa.lib._restore_array, (pa.string(), 5, 0, 0, [None] * 3, [], None))),
        "deep": b"\x80\x04}" + b")" + b"\x85" * 2_000_000 + b"K\x00s.",
        "cut": good[: len(good) // 2],
        "empty": b"",
        "text": b"Oil prices rise\n",
        "on_disk": good.replace(b"InMemoryTable", b"MemoryMapTab1"),
    }


def test_no_pickle_but_a_data_set_is_read_and_none_executes_anything(tmp_path: Path) -> None:
    proof = tmp_path / "executed"
    for name, content in bad_pickles(proof).items():
        path = tmp_path / f"{name}.pkl"
        path.write_bytes(content)
        with pytest.raises(UserError) as caught:
            list(read_texts(path))
        assert f"pickle.load(open('{name}.pkl', 'rb')).to_parquet('{name}.parquet')" in str(caught.value), name
        assert not proof.exists(), name


def test_the_command_names_every_format() -> None:
    assert tuple(FORMATS.split(", ")) == (*files.TABLES, *files.LINES, files.PICKLES[0])
