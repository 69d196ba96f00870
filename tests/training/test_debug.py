"""Debug runs: which rows they use, and what they say at the end."""

from pathlib import Path

import numpy as np
import pytest
from transformers import PreTrainedTokenizerBase

from lora_agnews.config.compose import compose_config
from lora_agnews.config.schema import TrainConfig
from lora_agnews.data.datamodule import AGNewsDataModule
from lora_agnews.labels import AG_NEWS
from lora_agnews.results.ranking import find_runs, rank
from lora_agnews.results.record import RunResult
from lora_agnews.training.debug import outcome, select_rows
from tests.resuming import TWELVE_STEPS, train


@pytest.fixture
def data(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> AGNewsDataModule:
    """The shipped rows in batches of 8, and of 16 for validation and test."""
    values = {"max_length": 64, "val_fraction": 0.1, "train_rows": None, "split_seed": None, "cache_dir": str(tmp_path)}
    sizes = {"batch_size": 8, "eval_batch_size": 16, "bucket": 50, "seed": 0}
    source = dict.fromkeys(("train_file", "test_file", "revision", "text_column", "label_column"))
    source |= {"source": "sample", "name": AG_NEWS, "processes": 1}  # type: ignore[dict-item]
    made = AGNewsDataModule(tokenizer, **source, **values, **sizes)  # type: ignore[arg-type]
    made.setup()
    return made


def config_of(*overrides: str) -> TrainConfig:
    return compose_config(["experiment=quickstart", *overrides])


def test_fast_uses_a_batch_of_the_longest_rows_of_each_split(data: AGNewsDataModule) -> None:
    def lengths() -> list[list[int]]:
        splits = ((data.train_rows, data.tokens), (data.val_rows, data.tokens), (data.test_rows, data.test_tokens))
        return [sorted(tokens.lengths[rows].tolist(), reverse=True) for rows, tokens in splits]

    train, val, test = lengths()
    select_rows(data, config_of("debug=fast"))
    assert lengths() == [train[:8], val[:16], test[:16]]
    assert len(data.train_dataloader()) == len(data.val_dataloader()) == len(data.test_dataloader()) == 1


def test_overfit_trains_and_validates_on_the_same_rows_of_every_class(data: AGNewsDataModule) -> None:
    select_rows(data, config_of("debug=overfit"))
    assert data.train_rows.tolist() == data.val_rows.tolist()
    assert np.bincount(np.asarray(data.labels)[data.train_rows]).tolist() == [8, 8, 8, 8]
    assert data.describe()["val"] == 32


def test_profile_has_as_many_rows_as_its_steps_need(data: AGNewsDataModule) -> None:
    select_rows(data, config_of("debug=profile", "trainer.accumulate=2"))
    assert [len(data.train_rows), len(data.val_rows), len(data.test_rows)] == [30 * 2 * 8, 5 * 16, 5 * 16]


def test_other_runs_use_all_rows(data: AGNewsDataModule) -> None:
    select_rows(data, config_of())
    assert [len(data.train_rows), len(data.val_rows), len(data.test_rows)] == [3600, 400, 1000]


@pytest.mark.parametrize("prefix", [[], ["model.prefix=cached", "lora.layers=-1:"]], ids=["live", "cached"])
def test_fast_leaves_everything_that_a_run_leaves_and_is_not_ranked(
    short_config: TrainConfig, tmp_path: Path, prefix: list[str]
) -> None:
    files = [f"data.{key}={getattr(short_config.data, key)}" for key in ("train_file", "test_file")]
    config = compose_config([*TWELVE_STEPS, *files, f"data.cache_dir={tmp_path}/cache", *prefix, "debug=fast"])
    result = train(tmp_path / "fast", config)
    assert (result.status, result.config["debug"]) == ("finished", "fast")
    assert [result.data[split] for split in ("train", "val", "test")] == [16, 20, 64]
    assert {"adapter", "checkpoints", "metrics.csv", "figures"} <= {path.name for path in (tmp_path / "fast").iterdir()}
    (tmp_path / "other").mkdir()
    RunResult.of(short_config, status="failed").save(tmp_path / "other")
    (row,) = rank(find_runs([tmp_path]))
    assert [path.name for path, _ in row.runs] == ["other"]


@pytest.mark.parametrize(("accuracy", "learnt"), [(1.0, 32), (0.75, 24)])
def test_overfit_says_whether_the_rows_were_learnt(tmp_path: Path, accuracy: float, learnt: int) -> None:
    metrics = {"val/accuracy": accuracy, "train/loss": 0.01}
    result = RunResult.of(config_of("debug=overfit"), metrics=metrics, data={"val": 32})
    line = outcome(result, tmp_path)["debug=overfit"]
    assert line.startswith(f"{learnt} of 32 rows learnt by heart, training loss 0.0100")
    assert ("higher optim.lr" in line) is (learnt < 32)


def test_the_other_outcomes_say_what_to_read(tmp_path: Path) -> None:
    assert "its numbers mean nothing" in outcome(RunResult.of(config_of("debug=fast")), tmp_path)["debug=fast"]
    profile = outcome(RunResult.of(config_of("debug=profile")), tmp_path)["debug=profile"]
    assert profile == f"{tmp_path / 'profile.txt'} (never ranked)"
    assert outcome(RunResult.of(config_of()), tmp_path) == {}
