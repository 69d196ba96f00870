"""A run that was killed and continued equals the uninterrupted one, bit for bit: parameters, metrics and curves."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from lora_agnews.config.compose import compose_config
from lora_agnews.config.schema import TrainConfig
from tests.models import OTHERS, save_encoder
from tests.resuming import TWELVE_STEPS, kill, remains, train

SLOW = pytest.mark.slow


POINTS = [
    ("training_step", 6),  # just before the validation in the middle of an epoch, two steps after a checkpoint
    ("validation_step", 2),  # in the validation at the end of the first epoch
    ("training_step", 13),  # the first step of the second epoch
    ("test_step", 1),  # after the last step
    *(pytest.param("training_step", step, marks=SLOW) for step in (5, 7, 8, 9, 11, 12, 14, 17, 18, 20, 24)),
    *(pytest.param("validation_step", step, marks=SLOW) for step in (1, 3, 4)),
    *(pytest.param("on_train_epoch_end", epoch, marks=SLOW) for epoch in (1, 2)),
]


@pytest.mark.parametrize(
    ("overrides", "hook", "call"),
    [
        (["trainer.max_steps=9"], "test_step", 1),
        (["trainer.accumulate=5", "trainer.val_check_interval=0.4"], "training_step", 7),
        pytest.param(["trainer.max_steps=9"], "training_step", 9, marks=SLOW),
        pytest.param(["trainer.extra={limit_train_batches:0.6}"], "training_step", 11, marks=SLOW),
        pytest.param(["trainer.max_steps=20"], "validation_step", 3, marks=SLOW),
        pytest.param(["trainer.accumulate=5", "trainer.val_check_interval=0.4"], "training_step", 17, marks=SLOW),
        pytest.param(["trainer.accumulate=3"], "training_step", 8, marks=SLOW),
        pytest.param(["trainer.val_check_interval=0.6"], "training_step", 14, marks=SLOW),
        pytest.param(
            ["trainer.val_check_interval=0.6", "trainer.checkpoint_every=1000"], "training_step", 15, marks=SLOW
        ),
        pytest.param(["trainer.early_stopping_patience=1"], "test_step", 1, marks=SLOW),
        pytest.param(["trainer.gradient_clip=0.5", "model.lora.init=pissa"], "training_step", 15, marks=SLOW),
    ],
    ids=str,
)
def test_a_continued_run_is_exact_wherever_steps_epochs_and_runs_end(
    short_config: TrainConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    overrides: list[str],
    hook: str,
    call: int,
) -> None:
    files = [f"data.{key}={getattr(short_config.data, key)}" for key in ("train_file", "test_file", "cache_dir")]
    short_config = compose_config([*TWELVE_STEPS, *files, *overrides])
    metrics = train(tmp_path / "whole", short_config).metrics
    kill(monkeypatch, hook, call, tmp_path / "killed", short_config)
    assert train(tmp_path / "killed", short_config, resume=tmp_path / "killed").metrics == metrics
    torch.testing.assert_close(remains(tmp_path / "killed"), remains(tmp_path / "whole"), rtol=0, atol=0)


def test_a_run_whose_epochs_were_raised_equals_the_longer_run(short_config: TrainConfig, tmp_path: Path) -> None:
    longer = copy.deepcopy(short_config)
    longer.optim.schedule = "constant"  # a falling rate would have fallen elsewhere
    shorter = copy.deepcopy(longer)
    shorter.trainer.max_epochs = 1
    train(tmp_path / "grown", shorter)
    grown = train(tmp_path / "grown", longer, tmp_path / "grown" / "checkpoints" / "last.ckpt")
    assert grown.metrics == train(tmp_path / "whole", longer).metrics


@pytest.mark.parametrize(("hook", "call"), POINTS)
def test_a_killed_and_continued_run_is_the_uninterrupted_one(
    short_config: TrainConfig,
    uninterrupted: tuple[dict[str, float], dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    hook: str,
    call: int,
) -> None:
    kill(monkeypatch, hook, call, tmp_path, short_config)
    torch.manual_seed(call)  # nothing depends on what the process did before
    result = train(tmp_path, short_config, resume=tmp_path)
    metrics, expected = uninterrupted
    assert result.metrics == metrics
    torch.testing.assert_close(remains(tmp_path), expected, rtol=0, atol=0)


def test_a_run_is_the_same_before_and_after_another_in_one_process(
    short_config: TrainConfig, uninterrupted: tuple[dict[str, float], dict[str, Any]], tmp_path: Path
) -> None:
    other = copy.deepcopy(short_config)
    other.seed, other.model.lora.dropout = 1, 0.0
    assert train(tmp_path / "other", other).metrics != uninterrupted[0]
    assert train(tmp_path / "again", short_config).metrics == uninterrupted[0]
    torch.testing.assert_close(remains(tmp_path / "again"), uninterrupted[1], rtol=0, atol=0)


@pytest.mark.faults
@pytest.mark.parametrize("family", ["electra", *OTHERS])
def test_a_continued_run_of_another_family_is_exact(
    short_config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    encoder = save_encoder(family, tmp_path / "encoder")
    config = copy.deepcopy(short_config)
    config.model.name, config.model.lora.target_modules = encoder.name, "all-linear"
    train(tmp_path / "whole", config)
    kill(monkeypatch, "training_step", 7, tmp_path / "killed", config)
    train(tmp_path / "killed", config, resume=tmp_path / "killed")
    torch.testing.assert_close(remains(tmp_path / "killed"), remains(tmp_path / "whole"), rtol=0, atol=0)
