"""One process of a run reads the files of rows; the others read what it left in the cache."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lora_agnews.data.shared_rows import load_rows_once
from lora_agnews.data.source import Source, load_rows
from lora_agnews.errors import UserError
from tests.commands import run_python
from tests.files_of_rows import write_labelled

READER = """
import json, sys, time
from pathlib import Path

opened = []
sys.addaudithook(lambda event, values: opened.append(str(values[0])) if event == "open" else None)
from lora_agnews.data.shared_rows import load_rows_once
from lora_agnews.data.source import Source

folder, own, other = map(Path, sys.argv[1:])
own.touch()
while not other.exists():  # so that both begin at the same time
    time.sleep(0.01)
source = Source("files", str(folder / "train.csv"), str(folder / "test.csv"))
train, test = load_rows_once(source, folder / "cache")
files = [name for name in opened if name.endswith(".csv")]
print(json.dumps([len(files), train.texts, train.labels, test.texts, test.origin]))
"""


@pytest.fixture
def source(tmp_path: Path) -> Source:
    for name, rows in (("train", 20), ("test", 5)):
        write_labelled(tmp_path / f"{name}.csv", rows)
    return Source("files", str(tmp_path / "train.csv"), str(tmp_path / "test.csv"))


def test_of_two_processes_one_opens_the_files_and_both_get_the_rows(source: Source, tmp_path: Path) -> None:
    names = [str(tmp_path / name) for name in ("first", "second")]
    with ThreadPoolExecutor() as pool:
        done = list(pool.map(lambda pair: run_python("-c", READER, str(tmp_path), *pair), [names, names[::-1]]))
    assert [each.returncode for each in done] == [0, 0], done
    (opened, *rows), (opened_too, *same_rows) = (json.loads(each.stdout) for each in done)
    assert sorted([opened, opened_too]) == [0, 2], "one process opens train.csv and test.csv"
    train, test = load_rows(source)
    assert test is not None
    assert rows == same_rows == [train.texts, train.labels, test.texts, test.origin]


def test_a_file_that_changed_is_read_again(source: Source, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    assert load_rows_once(source, cache) == load_rows_once(source, cache) == load_rows(source)
    train = tmp_path / "train.csv"
    before = train.stat()
    train.write_text(train.read_text().replace("war", "law"))
    os.utime(train, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert load_rows_once(source, cache) == load_rows(source)


def test_other_columns_and_no_test_rows_are_another_entry(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("text,title,label\n" + "".join(f"a{i},b{i},{i}\n" for i in range(4)))
    texts = Source("files", str(tmp_path / "rows.csv"))
    titles = Source("files", str(tmp_path / "rows.csv"), text_column="title")
    for source, letter in ((texts, "a"), (titles, "b")):
        train, test = load_rows_once(source, tmp_path / "cache")
        assert (train.texts, test) == ([f"{letter}{i}" for i in range(4)], None)


@pytest.mark.parametrize("kept", [0, 200])
def test_a_damaged_entry_is_written_again(source: Source, tmp_path: Path, kept: int) -> None:
    expected = load_rows_once(source, tmp_path / "cache")
    (entry,) = (tmp_path / "cache" / "rows").glob("*/train.arrow")
    whole = entry.read_bytes()
    entry.write_bytes(whole[:kept])
    assert load_rows_once(source, tmp_path / "cache") == expected
    assert entry.read_bytes() == whole


def test_bad_files_give_the_message_of_every_other_run(source: Source, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.train_file=.*nothing\.csv: no such file"):
        load_rows_once(Source("files", str(tmp_path / "nothing.csv")), tmp_path / "cache")
    (tmp_path / "test.csv").write_text("text,label\nnews,9\n")
    with pytest.raises(UserError, match=r"data\.test_file=.*row 1: label 9"):
        load_rows_once(source, tmp_path / "cache")


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(source: Source, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert load_rows_once(source, tmp_path / "file") == load_rows(source)


def test_rows_that_are_not_in_files_leave_no_entry(tmp_path: Path) -> None:
    assert load_rows_once(Source("sample"), tmp_path) == load_rows(Source("sample"))
    assert list(tmp_path.iterdir()) == []
