"""Many Parquet files: each row once with the label of the other command, and a folder that is never mixed up."""

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from lora_agnews.errors import UserError
from lora_agnews.inference.classifier import Classifier, Run, open_run
from lora_agnews.inference.many_files import Part, plan_parts, predict_part
from lora_agnews.labels import LABELS
from tests.files_of_rows import TEST_TEXTS

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # peft 0.21


@pytest.fixture
def run(run_dir: Path) -> Run:
    return open_run(run_dir)


@pytest.fixture
def news(tmp_path: Path) -> Path:
    """Three files in two folders, one of them empty; the first one has IDs."""
    for name, columns in {
        "monday/a.parquet": {"text": TEST_TEXTS[:20], "id": [f"n{i}" for i in range(20)]},
        "tuesday/a.parquet": {"text": TEST_TEXTS[20:60]},
        "tuesday/b.parquet": {"text": pa.array([], pa.string())},
    }.items():
        path = tmp_path / "news" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(pa.table(columns), path)
    return tmp_path / "news"


def plan(
    run: Run, pattern: Path | str, folder: Path, column: str = "text", full: bool = True
) -> tuple[list[Part], int]:
    return plan_parts([run], str(pattern), folder, column, full, half=False)


def test_every_row_gets_the_label_of_the_run_and_its_id(
    run: Run, classify: Classifier, expected: np.ndarray, news: Path, tmp_path: Path
) -> None:
    parts, there = plan(run, news / "*/*.parquet", tmp_path / "out")
    assert ([part.rows for part in parts], there) == ([20, 40, 0], 0)
    assert not (tmp_path / "out").exists(), "a plan writes nothing"
    for part in parts:
        predict_part(classify, part)
    found = [parquet.read_table(tmp_path / "out" / name) for name in ("monday/a.parquet", "tuesday/a.parquet")]
    assert found[0]["ID"].to_pylist() == [f"n{i}" for i in range(20)]
    assert found[1]["ID"].to_pylist() == list(range(40))
    rows = [row for table in found for row in table.to_pylist()]
    assert [row["text"] for row in rows] == TEST_TEXTS[:60]
    assert [row["Label"] for row in rows] == expected.argmax(1).tolist()
    assert [row["label_name"] for row in rows] == [LABELS[label] for label in expected.argmax(1)]
    keys = ["p_world", "p_sports", "p_business", "p_sci_tech"]
    assert np.array([[row[key] for key in keys] for row in rows]) == pytest.approx(expected, abs=1e-5)
    assert parquet.read_table(tmp_path / "out/tuesday/b.parquet").num_rows == 0


def test_without_full_there_are_ids_and_labels(run: Run, classify: Classifier, news: Path, tmp_path: Path) -> None:
    (part,), _ = plan(run, news / "monday" / "a.parquet", tmp_path / "out", full=False)
    predict_part(classify, part)
    assert parquet.read_schema(tmp_path / "out" / "a.parquet").names == ["ID", "Label"]


def test_only_what_is_missing_is_planned_again(run: Run, classify: Classifier, news: Path, tmp_path: Path) -> None:
    parts, _ = plan(run, news / "*/*.parquet", tmp_path / "out")
    predict_part(classify, parts[0])
    (tmp_path / "out" / "monday" / ".b.parquet.host-1-x").write_text("of a process that was killed")
    again, there = plan(run, news / "*/*.parquet", tmp_path / "out")
    assert (again, there) == (parts[1:], 1)


def test_a_bad_row_is_named_and_leaves_no_file(run: Run, classify: Classifier, tmp_path: Path) -> None:
    parquet.write_table(pa.table({"text": ["fine", None]}), tmp_path / "a.parquet")
    (part,), _ = plan(run, tmp_path / "a.parquet", tmp_path / "out")
    with pytest.raises(UserError, match=r"a.parquet: row 2: the text is empty \(null\)"):
        predict_part(classify, part)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_folder_with_other_predictions_is_refused(
    run: Run, other_run: Path, classify: Classifier, news: Path, tmp_path: Path
) -> None:
    source, out = news / "monday" / "a.parquet", tmp_path / "out"
    (part,), _ = plan(run, source, out)
    predict_part(classify, part)
    with pytest.raises(UserError, match=r"a.parquet: was made with other runs; choose a new directory"):
        plan(open_run(other_run), source, out)
    with pytest.raises(UserError, match="was made with other --full"):
        plan(run, source, out, full=False)
    os.utime(source, (1, 1))
    with pytest.raises(UserError, match=r"has changed since .*a.parquet was written; delete that file"):
        plan(run, source, out)


@pytest.mark.parametrize(
    ("pattern", "folder", "message"),
    [
        ("news/*.csv", "out", "no file matches; give a pattern in quotes"),
        ("news", "out", r"news: no file matches; give news/\*.parquet"),
        ("*.csv", "out", "mine.csv: --engine ray reads .parquet files"),
        ("news/*/*.parquet", "mine.csv", "mine.csv: is a file; --engine ray writes a directory"),
        ("news/*/*.parquet", "mine", "notes.txt: is not a file of predictions; choose a new directory"),
        ("news/*/*.parquet", "news", "--output=.*news: is where news/.* looks for texts"),
        ("news/**/*.parquet", "news/out", "--output=.*out: is where news/.* looks for texts"),
        ("bad/*.parquet", "out", "bad.parquet: can't be read as .parquet"),
        ("news/*/*.parquet", "run/adapter", "is a file of the run in .*run and is not overwritten"),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_is_written(
    run_copy: Path, news: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str, folder: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.csv").write_text("text\nmine\n")
    for name in ("mine/notes.txt", "bad/bad.parquet"):
        Path(name).parent.mkdir()
        Path(name).write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=message):
        plan(open_run(run_copy), pattern, Path(folder))
    assert sorted(tmp_path.rglob("*")) == before
