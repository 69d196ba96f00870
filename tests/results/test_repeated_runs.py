"""The same configuration and seed twice is one seed, and the precision that a run used belongs to its configuration."""

import os
from pathlib import Path

import pytest

from lora_agnews.results.record import RunResult
from lora_agnews.terminal.tables import show_ranking
from tests.records import ranked, save_record


def test_of_two_runs_of_a_seed_the_newer_one_counts(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for age, (name, accuracy) in enumerate((("new", 0.92), ("old", 0.80), ("failed", 0.99))):
        status = "failed" if name == "failed" else "finished"
        save_record(tmp_path / name, accuracy, "seed=0", status=status)
        os.utime(tmp_path / name / "result.json", (1000 - age, 1000 - age))
    save_record(tmp_path / "other", 0.90, "seed=1")
    (row,) = ranked(tmp_path)
    assert sorted(row.scores()) == [0.90, 0.92]
    assert (row.n, row.repeated, row.other_statuses) == (2, 1, {"failed": 1})
    show_ranking([row])
    assert "older runs that a newer one of the same configuration and seed replaces: 1" in capfd.readouterr().err


def test_runs_that_computed_in_different_precisions_are_different_configurations(tmp_path: Path) -> None:
    for precision in ("16-mixed", "32-true"):
        save_record(tmp_path / precision, 0.9, "seed=0")
        result = RunResult.load(tmp_path / precision)
        result.environment["precision"] = precision
        result.save(tmp_path / precision)
    assert [row.values for row in ranked(tmp_path)] == [{"precision": "16-mixed"}, {"precision": "32-true"}]
