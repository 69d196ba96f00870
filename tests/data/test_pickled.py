"""The course's pickle is read, and no pickle can run code."""

import os
import pickle
import subprocess
import sys
import tracemalloc
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lora_agnews.data.source import read_texts
from lora_agnews.errors import UserError
from tests.files_of_rows import PICKLED, PICKLES


@pytest.mark.parametrize("version", ["2.14", "3.5", "5.2"])
def test_the_courses_pickle_is_read_without_the_library_that_made_it(version: str) -> None:
    assert list(read_texts(PICKLES / f"datasets-{version}.pkl")) == PICKLED


def test_a_pickle_of_chosen_rows_gives_those_in_their_order() -> None:
    assert list(read_texts(PICKLES / "datasets-3.5-chosen.pkl")) == [PICKLED[i] for i in (3, 0, 1)]


class Evil:
    """An object whose pickle calls a function when it is read."""

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


def pickle_of_a_data_set(table: pa.Table, monkeypatch: pytest.MonkeyPatch, chosen: list[int] | None = None) -> bytes:
    """Return what pickle writes for a datasets.Dataset with this table; classes of the same names stand for its own."""

    def instance(module: str, name: str, **state: Any) -> Any:
        kind = type(name, (SimpleNamespace,), {"__module__": module, "__reduce__": object.__reduce__})
        found = ModuleType(module)
        setattr(found, name, kind)
        monkeypatch.setitem(sys.modules, module, found)
        return kind(**state)

    monkeypatch.setitem(sys.modules, "datasets", ModuleType("datasets"))
    data = instance("datasets.table", "InMemoryTable", table=table)
    rows = pa.table({"indices": pa.array(chosen, pa.uint64())}) if chosen else None
    indices = type(data)(table=rows) if rows else None
    return pickle.dumps(instance("datasets.arrow_dataset", "Dataset", _data=data, _indices=indices))


def test_a_small_pickle_that_asks_for_much_memory_is_refused_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    endless = pa.Array.from_buffers(pa.null(), 2**60, [None])
    pickles = {
        "null_column": pickle_of_a_data_set(pa.table({"text": endless}), monkeypatch),
        "repeated_row": pickle_of_a_data_set(pa.table({"text": ["x" * 10**6]}), monkeypatch, [0] * 10**6),
        "bytearray": pickle.dumps(Evil(bytearray, 1 << 30)),
        "memo": b"\x80\x04N" + pickle.LONG_BINPUT + (1 << 26).to_bytes(4, "little") + b".",
    }
    for name, content in pickles.items():
        (tmp_path / f"{name}.pkl").write_bytes(content)
        tracemalloc.start()
        with pytest.raises(UserError, match="Nothing but a"):
            list(read_texts(tmp_path / f"{name}.pkl"))
        assert tracemalloc.get_traced_memory()[1] < 50e6, name
        tracemalloc.stop()


def test_a_data_set_as_pickle_writes_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rows.pkl"
    path.write_bytes(pickle_of_a_data_set(pa.table({"text": ["a", "b"], "empty": pa.nulls(2)}), monkeypatch))
    assert list(read_texts(path)) == ["a", "b"]
    path.write_bytes(pickle_of_a_data_set(pa.table({"text": ["a", "b", "c"]}), monkeypatch, [2, 0]))
    assert list(read_texts(path)) == ["c", "a"]
