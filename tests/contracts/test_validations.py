"""Training is validated at its end: after the last step, after each epoch, and these validations count."""

import csv
from pathlib import Path

import pytest

from lora_agnews.config.compose import compose_config
from lora_agnews.results.record import RunResult, Status
from lora_agnews.training.run import run


def train(tmp_path: Path, *overrides: str) -> tuple[RunResult, list[int]]:
    """Train on 52 rows in 13 batches. Return the record and the steps after which the run validated."""
    with (tmp_path / "few.csv").open("w", newline="") as stream:
        file = csv.writer(stream)
        file.writerow(["text", "label"])
        for label, word in enumerate(("war", "goal", "shares", "chips")):
            file.writerows([f"{word} {i}", label] for i in range(14))
    values = ["model=tiny", f"data.train_file={tmp_path}/few.csv", f"data.cache_dir={tmp_path}", "data.max_length=8"]
    values += ["data.batch_size=4", "data.val_fraction=0.05", "trainer.precision=32-true", "logger.wandb=disabled"]
    (tmp_path / "run").mkdir()
    result = run(compose_config([*values, *overrides]), tmp_path / "run")
    with (tmp_path / "run" / "metrics.csv").open(newline="") as stream:
        return result, [int(row["step"]) + 1 for row in csv.DictReader(stream) if row["val/loss"]]


@pytest.mark.parametrize(
    ("overrides", "steps"),
    [
        (["trainer.max_epochs=2"], [13, 26]),
        (["trainer.max_steps=25"], [13, 25]),
        (["trainer.max_epochs=2", "trainer.val_check_interval=0.6"], [8, 13, 21, 26]),
        (["trainer.max_steps=3"], [3]),
        (["trainer.max_epochs=1", "trainer.accumulate=5", "trainer.val_check_interval=0.3"], [1, 2, 3]),
    ],
    ids=str,
)
def test_the_end_of_every_epoch_and_of_the_run_is_validated(
    tmp_path: Path, overrides: list[str], steps: list[int]
) -> None:
    result, validated = train(tmp_path, "trainer.early_stopping_patience=0", *overrides)
    assert result.status == Status.FINISHED
    assert validated == steps


def test_early_stopping_looks_at_every_validation(tmp_path: Path) -> None:
    """With an interval of one batch, Lightning alone would look at the ends of epochs only."""
    frozen = ["optim.lr=1e-12", "trainer.early_stopping_patience=2", "trainer.val_check_interval=0.05"]
    result, validated = train(tmp_path, "trainer.max_epochs=3", *frozen)
    assert result.status == Status.STOPPED_EARLY
    assert validated == [1, 2, 3]
