"""Values of a result.json that no run wrote are named, whatever their place."""

import json
from pathlib import Path
from typing import Any

import pytest

from lora_agnews.errors import UserError
from lora_agnews.inference.classifier import open_run
from lora_agnews.results.record import RunResult
from tests.records import save_record


def change(folder: Path, path: str, value: Any) -> None:
    """Set a value of a saved record, or delete it with `...`."""
    record = json.loads((folder / "result.json").read_text())
    *sections, key = path.split(".")
    inner = record
    for section in sections:
        inner = inner[section]
    if value is ...:
        del inner[key]
    else:
        inner[key] = value
    (folder / "result.json").write_text(json.dumps(record))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("metrics", [], r"metrics is '\[\]'"),
        ("metrics.val/accuracy", "0.9", "metrics is "),
        ("metrics.val/accuracy", ..., "it has no metrics.val/accuracy"),
        ("budget", None, "budget is 'None'"),
        ("budget.trainable", "many", "budget.trainable is 'many'"),
        ("seconds", ..., "it has no seconds.total"),
        ("seconds.total", True, "seconds is "),
        ("seed", 1.5, "seed is '1.5'"),
        ("status", ["finished"], ".* is not a valid Status"),
        ("confusion", [[1, "a"]], "confusion is "),
        ("config", None, "config is 'None'"),
        ("config.trainer", 3, "config: 3 is not a section"),
        ("config.trainer.max_epochs", "3", "config.trainer.max_epochs is '3'"),
        ("config.logger", ..., "it has no config.logger.wandb"),
        ("config.lora", None, None),
        ("data.val", None, "data.val is 'None'"),
        ("data.train_classes", [18, "many"], "data.train_classes is "),
        ("environment.precision", 16, "environment.precision is '16'"),
        ("error", 5, "error is '5'"),
    ],
)
def test_a_value_of_a_wrong_type_is_named(tmp_path: Path, path: str, value: Any, message: str | None) -> None:
    save_record(tmp_path / "run", 0.9)
    change(tmp_path / "run", path, value)
    if message is None:  # a key that this version does not know
        assert RunResult.load(tmp_path / "run").succeeded
        return
    with pytest.raises(UserError, match=f"result.json: not a record of this version: {message}"):
        RunResult.load(tmp_path / "run")


def test_a_record_that_can_be_ranked_may_lack_what_the_model_needs(tmp_path: Path) -> None:
    save_record(tmp_path / "run", 0.9)
    (tmp_path / "run" / "adapter").mkdir()
    with pytest.raises(UserError, match=r"result.json: not a record of this version: it has no seconds\.train"):
        open_run(tmp_path / "run")
