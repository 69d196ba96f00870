"""TensorBoard has the curves of metrics.csv, also after a run was killed and continued."""

import copy
import csv
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lora_agnews.config.schema import TrainConfig
from lora_agnews.errors import UserError
from lora_agnews.training import tensorboard
from lora_agnews.training.tensorboard import open_tensorboard
from tests.resuming import kill, train

Points = dict[str, list[tuple[int, float]]]


def points_in_tensorboard(folder: Path) -> Points:
    """Metric -> (step, value), each once."""
    found = EventAccumulator(str(folder / "tensorboard"), purge_orphaned_data=True).Reload()
    return {tag: sorted({(each.step, each.value) for each in found.Scalars(tag)}) for tag in found.Tags()["scalars"]}


def points_in_metrics_csv(folder: Path) -> Points:
    found: Points = {}
    with (folder / "metrics.csv").open(newline="") as stream:
        for row in csv.DictReader(stream):
            for key, value in row.items():
                if value and key != "step":
                    found.setdefault(key, []).append((int(row["step"]), pytest.approx(float(value), rel=1e-6)))
    return found


def test_a_continued_run_continues_its_curves(
    short_config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = copy.deepcopy(short_config)
    config.logger.tensorboard = True
    kill(monkeypatch, "training_step", 15, tmp_path / "run", config)
    train(tmp_path / "run", config, resume=tmp_path / "run")
    found, expected = points_in_tensorboard(tmp_path / "run"), points_in_metrics_csv(tmp_path / "run")
    del found["epoch"], expected["epoch"]
    assert {"train/loss", "train/lr", "val/accuracy", "test/accuracy"} <= found.keys()
    assert found == expected
    assert "model:" in (tmp_path / "run" / "tensorboard" / "hparams.yaml").read_text()


def test_without_the_package_nothing_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorboard, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"logger\.tensorboard=true: .* pip install tensorboard"):
        open_tensorboard(tmp_path, {}, None)
    assert list(tmp_path.iterdir()) == []
