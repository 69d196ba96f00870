"""A run that was killed and continued is the run that was not: parameters, metrics and curves, bit for bit."""

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from lora_agnews.config import TrainConfig
from lora_agnews.launch import check_overrides
from lora_agnews.model.encoder import locate
from lora_agnews.result import RunResult, config_hash
from lora_agnews.task import LoRAClassifier
from lora_agnews.training import train_and_test

SHORT = [
    "model=tiny", "data.max_length=12", "data.batch_size=16", "trainer.max_epochs=2", "trainer.precision=32-true",
    "trainer.val_check_interval=0.5", "trainer.checkpoint_every=4", "optim.schedule=linear", "lora.dropout=0.3",
    "optim.lr=5e-3", "logger.wandb=disabled",
]  # fmt: skip


class Killed(BaseException):
    """Nothing in the program catches this one, so nothing is saved or tidied up."""


def train(run_dir: Path, config: TrainConfig, resume: Path | None = None) -> RunResult:
    run_dir.mkdir(exist_ok=True)
    values = config.to_dict()
    result = RunResult(values, config.seed, config_hash(values))
    train_and_test(config, locate("tiny", None), run_dir, result, resume)
    return result


def left(run_dir: Path) -> dict[str, Any]:
    """What a run leaves, to be compared bit for bit."""
    with (run_dir / "metrics.csv").open(newline="") as stream:
        curves = [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(stream)]
    last = torch.load(run_dir / "checkpoints" / "last.ckpt", weights_only=True)
    kept = {
        key: last[key] for key in ("state_dict", "optimizer_states", "lr_schedulers", "random", "best", "callbacks")
    }
    kept["callbacks"].pop("Stopwatch")
    return kept | {"adapter": load_file(run_dir / "adapter" / "adapter_model.safetensors"), "curves": curves}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    """192 training rows in 12 batches, validated in the middle and at the end of 2 epochs."""
    folder = tmp_path_factory.mktemp("rows")
    with (folder / "few.csv").open("w", newline="") as stream:
        file = csv.writer(stream)
        file.writerow(["text", "label"])
        for label, word in enumerate(("war", "goal", "shares", "chips")):
            file.writerows([f"{word} {'more ' * (i % 7)}{i}", label] for i in range(53))
    files = [f"data.train_file={folder}/few.csv", f"data.test_file={folder}/few.csv", f"data.cache_dir={folder}"]
    return check_overrides("train", [*SHORT, *files])


@pytest.fixture(scope="module")
def whole(config: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, float], dict[str, Any]]:
    """Metrics and remains of the run that nobody interrupted."""
    run_dir = tmp_path_factory.mktemp("whole") / "run"
    return train(run_dir, config).metrics, left(run_dir)


def kill(monkeypatch: pytest.MonkeyPatch, hook: str, call: int, run_dir: Path, config: TrainConfig) -> None:
    """Trains until the `call`-th call of a hook of the task, and no further."""
    original, calls = getattr(LoRAClassifier, hook), iter(range(1, call + 1))

    def until(task: LoRAClassifier, *arguments: Any) -> Any:
        if next(calls) == call:
            raise Killed
        return original(task, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(LoRAClassifier, hook, until)
        with pytest.raises(Killed):
            train(run_dir, config)


POINTS = [
    ("training_step", 6),  # just before the validation in the middle of an epoch, two steps after a checkpoint
    ("validation_step", 2),  # in the validation at the end of the first epoch
    ("training_step", 13),  # the first step of the second epoch
    ("test_step", 1),  # after the last step
    *(pytest.param("training_step", step, marks=pytest.mark.slow) for step in (5, 7, 8, 9, 11, 12, 14, 17, 18, 20, 24)),
    *(pytest.param("validation_step", step, marks=pytest.mark.slow) for step in (1, 3, 4)),
    *(pytest.param("on_train_epoch_end", epoch, marks=pytest.mark.slow) for epoch in (1, 2)),
]


@pytest.mark.parametrize(("hook", "call"), POINTS)
def test_a_killed_and_continued_run_is_the_uninterrupted_one(
    config: TrainConfig,
    whole: tuple[dict[str, float], dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    hook: str,
    call: int,
) -> None:
    kill(monkeypatch, hook, call, tmp_path, config)
    torch.manual_seed(call)  # nothing depends on what the process did before
    result = train(tmp_path, config, tmp_path / "checkpoints" / "last.ckpt")
    metrics, remains = whole
    assert result.metrics == metrics
    torch.testing.assert_close(left(tmp_path), remains, rtol=0, atol=0)
