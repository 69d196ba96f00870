"""Predictions as CSV: the right row, the right label, in order, complete or not at all."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from lora_agnews.inference import classifier as classifying
from lora_agnews.inference.classifier import Classifier
from lora_agnews.inference.prior import estimate_shares, reweight
from lora_agnews.labels import LABELS
from tests.commands import command
from tests.files_of_rows import (
    ODD_TEXTS,
    PICKLED,
    PICKLES,
    TEST_TEXTS,
    read_csv,
    write_lines,
)
from tests.records import change_record

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # peft 0.21


def test_a_submission_has_each_row_once_in_order_with_the_models_label(
    run_dir: Path, expected: np.ndarray, tmp_path: Path
) -> None:
    done = command("predict", run_dir, write_lines(tmp_path / "news.txt", TEST_TEXTS[:60]), "-o", tmp_path / "out.csv")
    assert done.exit_code == 0, done.output
    assert "out.csv: 60 rows" in done.stdout.replace("\n", "")
    rows = (tmp_path / "out.csv").read_text().split("\n")
    assert rows == ["ID,Label", *(f"{i},{label}" for i, label in enumerate(expected.argmax(1))), ""]
    assert len({row.partition(",")[2] for row in rows[1:-1]}) > 1, "a model that tells nothing apart shows no order"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_full_adds_text_name_and_probabilities(run_dir: Path, expected: np.ndarray, tmp_path: Path) -> None:
    command(
        "predict", run_dir, write_lines(tmp_path / "news.txt", TEST_TEXTS[:60]), "-o", tmp_path / "out.csv", "--full"
    )
    rows = read_csv(tmp_path / "out.csv")
    assert len(rows) == 60
    for i, row in enumerate(rows):
        found = [float(row[f"p_{name}"]) for name in ("world", "sports", "business", "sci_tech")]
        assert found == pytest.approx(expected[i].tolist(), abs=1e-5)
        assert (row["ID"], row["text"], row["label_name"]) == (str(i), TEST_TEXTS[i], LABELS[int(row["Label"])])


def test_a_uniform_prior_changes_probabilities_of_a_run_with_unequal_classes(
    run_copy: Path, expected: np.ndarray, tmp_path: Path
) -> None:
    """From standard input too. Of several runs, the mean of what they have learnt counts."""
    change_record(run_copy, data={"train_classes": [600, 200, 100, 100]})
    wanted = expected / [0.6, 0.2, 0.1, 0.1]
    wanted /= wanted.sum(1, keepdims=True)
    stdin = "\n".join(TEST_TEXTS[:60]).encode()
    done = command("predict", run_copy, "-", "--prior", "uniform", "--full", "-o", tmp_path / "out.csv", stdin=stdin)
    assert done.exit_code == 0, done.output
    rows = read_csv(tmp_path / "out.csv")
    assert [float(row["p_world"]) for row in rows] == pytest.approx(wanted[:, 0].tolist(), abs=1e-5)
    assert [int(row["Label"]) for row in rows] == wanted.argmax(1).tolist()


def test_an_estimated_prior_is_that_of_all_texts_of_the_file(
    run_dir: Path, expected: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classifying, "WINDOW_ROWS", 7)
    news = write_lines(tmp_path / "news.txt", TEST_TEXTS[:60])
    done = command("predict", run_dir, news, "--prior", "estimate", "--full", "-o", tmp_path / "out.csv")
    assert done.exit_code == 0, done.output
    shares = estimate_shares(expected, np.full(4, 0.25))
    assert f"note: estimated shares: World {shares[0]:.1%}, Sports {shares[1]:.1%}" in done.stderr
    wanted = reweight(expected, np.full(4, 0.25), shares)
    rows = read_csv(tmp_path / "out.csv")
    assert [row["text"] for row in rows] == TEST_TEXTS[:60]
    assert [float(row["p_world"]) for row in rows] == pytest.approx(wanted[:, 0].tolist(), abs=1e-4)


def test_unusual_texts_get_a_label_and_are_written_unchanged(run_dir: Path, tmp_path: Path) -> None:
    """Line breaks, quotes, emoji, NUL, nothing, and a megabyte."""
    (tmp_path / "odd.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in ODD_TEXTS))
    done = command("predict", run_dir, tmp_path / "odd.jsonl", "-o", tmp_path / "out.csv", "--full")
    assert done.exit_code == 0, done.output
    found = read_csv(tmp_path / "out.csv")
    assert [row["text"] for row in found] == ODD_TEXTS
    for row in found:
        assert sum(float(row[key]) for key in row if key.startswith("p_")) == pytest.approx(1, abs=1e-5)


def test_the_courses_pickle_becomes_a_submission(run_dir: Path, classify: Classifier, tmp_path: Path) -> None:
    done = command("predict", run_dir, PICKLES / "datasets-3.5.pkl", "-o", tmp_path / "submission.csv")
    assert done.exit_code == 0, done.output
    labels = [LABELS.index(found.label) for found in classify(PICKLED)]
    assert [(row["ID"], row["Label"]) for row in read_csv(tmp_path / "submission.csv")] == [
        (str(i), str(label)) for i, label in enumerate(labels)
    ]


def test_lines_of_standard_input_become_a_csv(run_dir: Path, expected: np.ndarray) -> None:
    done = command("predict", run_dir, "-", stdin="\n".join(TEST_TEXTS[:5]).encode())
    assert done.stdout.split() == ["ID,Label", *(f"{i},{label}" for i, label in enumerate(expected[:5].argmax(1)))]


def test_output_follows_links_and_goes_into_pipes(run_dir: Path, tmp_path: Path) -> None:
    """A link keeps its place, a pipe is written to, and carriage returns are read back."""
    news = tmp_path / "news.jsonl"
    news.write_text(json.dumps({"text": "Oil\rprices"}))
    (tmp_path / "real.csv").write_text("old")
    (tmp_path / "link.csv").symlink_to(tmp_path / "real.csv")
    assert command("predict", run_dir, news, "-o", tmp_path / "link.csv", "--full").exit_code == 0
    assert (tmp_path / "link.csv").is_symlink()
    assert [row["text"] for row in read_csv(tmp_path / "real.csv")] == ["Oil\rprices"]
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen(["cat", tmp_path / "pipe"], stdout=subprocess.PIPE, text=True) as reader:
        assert command("predict", run_dir, news, "-o", tmp_path / "pipe").exit_code == 0
        assert reader.communicate(timeout=20)[0].startswith("ID,Label\n0,")
    assert (tmp_path / "pipe").is_fifo()
    with (tmp_path / "through").open("w") as stream:
        assert command("predict", run_dir, news, "-o", f"/dev/fd/{stream.fileno()}").exit_code == 0
    ends = os.pipe()
    assert command("predict", run_dir, news, "-o", f"/dev/fd/{ends[1]}").exit_code == 0
    os.close(ends[1])
    with os.fdopen(ends[0]) as reading:
        assert reading.read().startswith("ID,Label\n0,")
