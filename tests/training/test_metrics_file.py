"""metrics.csv: one row per logged step, replaced as a whole, continued after a resume."""

import csv
from pathlib import Path

import pytest
import torch

from lora_agnews.errors import UserError
from lora_agnews.training.metrics_file import MetricsFile


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_metrics_of_different_steps_have_their_columns(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / "metrics.csv", 0)
    file.log_metrics({"train/loss": 1.5, "epoch": 0.0}, 1)
    file.log_metrics({"val/accuracy": torch.tensor(0.25), "epoch": 0.0}, 2)
    file.save()
    assert rows_of(file.path) == [
        {"epoch": "0", "step": "1", "train/loss": "1.5", "val/accuracy": ""},
        {"epoch": "0", "step": "2", "train/loss": "", "val/accuracy": "0.25"},
    ]


def test_a_resumed_run_keeps_the_rows_before_its_checkpoint(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / "metrics.csv", 0)
    for step in (1, 2, 3):
        file.log_metrics({"train/loss": float(step)}, step)
    file.save()
    resumed = MetricsFile(tmp_path / "metrics.csv", 2)
    assert rows_of(file.path)[2]["step"] == "3", "the old rows stay until the file is replaced"
    resumed.log_metrics({"train/loss": 9.0, "val/loss": 0.5}, 3)
    resumed.save()
    assert [(row["step"], row["train/loss"], row["val/loss"]) for row in rows_of(file.path)] == [
        ("1", "1.0", ""),
        ("2", "2.0", ""),
        ("3", "9.0", "0.5"),
    ]


def test_a_run_is_not_continued_with_damaged_curves(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("step,loss\n1,0.5\n2,te")
    with pytest.raises(UserError, match=r"metrics\.csv: damaged; delete it to continue the run without its curves"):
        MetricsFile(tmp_path / "metrics.csv", 2)
    assert len(MetricsFile(tmp_path / "metrics.csv", 1).rows) == 1
