"""Runs with model.prefix=cached: one computation for all of them, and results that need no cache afterwards."""

import copy
import json
import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
import torch

from lora_agnews.config.compose import compose_config
from lora_agnews.config.schema import TrainConfig
from lora_agnews.errors import UserError
from lora_agnews.inference.classifier import load_classifier, open_run
from lora_agnews.inference.evaluation import evaluate, load_in_run_precision, rows_to_evaluate
from lora_agnews.inference.export import MAX_DIFFERENCE, export
from lora_agnews.model.encoder import find_encoder
from lora_agnews.model.prefix import PartOfEncoder
from lora_agnews.results.record import RunResult, Status
from lora_agnews.training import prefix
from lora_agnews.training.in_sweep import InSweep
from lora_agnews.training.testing import add_test
from tests.resuming import kill, remains, train

MAX_LOGIT_ERROR = 5e-3  # of states that were rounded to float16


@pytest.fixture
def config(short_config: TrainConfig, tmp_path: Path) -> TrainConfig:
    changed = copy.deepcopy(short_config)
    changed.model.prefix, changed.model.lora.layers = "cached", "-2:"
    changed.data.cache_dir = str(tmp_path / "cache")
    return changed


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """First and last layer of each part of the encoder that is loaded to compute states."""
    found: list[tuple[int, int]] = []

    def load(encoder: Any, shape: Any, first: int, end: int, *options: Any) -> PartOfEncoder:
        found.append((first, end))
        return PartOfEncoder(encoder, shape, first, end, *options)

    monkeypatch.setattr(prefix, "PartOfEncoder", load)
    return found


def test_only_the_rows_that_are_used_are_computed_and_the_run_equals_a_live_one(
    config: TrainConfig, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config.data.train_rows = 64
    cached = train(tmp_path / "cached", config)
    used = cached.data["train"] + cached.data["val"] + cached.data["test"]
    assert f"of {used} rows" in " ".join(capfd.readouterr().err.split())
    assert cached.data["train"] == 64
    config.model.prefix = "live"
    live = train(tmp_path / "live", config)
    assert cached.metrics["val/loss"] == pytest.approx(live.metrics["val/loss"], rel=1e-2)
    assert cached.metrics["train/loss"] == pytest.approx(live.metrics["train/loss"], rel=1e-2)


def test_test_rows_are_computed_only_for_a_run_that_is_tested_at_its_end(
    config: TrainConfig, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config.data.train_rows = 64  # the test file has the same texts as the training file
    untested = train(tmp_path / "untested", config, in_sweep=InSweep(is_tested=False))
    assert untested.succeeded
    assert f"of {untested.data['train'] + untested.data['val']} rows" in " ".join(capfd.readouterr().err.split())
    tested = train(tmp_path / "tested", config)
    assert f"of {tested.data['test']} rows" in " ".join(capfd.readouterr().err.split())
    add_test(tmp_path / "untested")
    later = RunResult.load(tmp_path / "untested").metrics
    assert later["test/loss"] == pytest.approx(tested.metrics["test/loss"], abs=MAX_LOGIT_ERROR)


def test_a_long_computation_in_emulated_bfloat16_says_so_before_it_begins_and_names_what_shortens_it(
    config: TrainConfig, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True}, raising=False)
    monkeypatch.setattr(prefix, "LONG", 0.0)
    config.trainer.precision = "bf16-mixed"
    train(tmp_path / "run", config)
    shown = " ".join(capfd.readouterr().err.split())
    assert shown.index("bf16-mixed is slower here than 32-true") < shown.index("computing the prefix")
    assert "later runs find it there. To shorten it: data.train_rows=NUMBER, or a GPU" in shown


def test_the_estimate_is_made_on_rows_of_average_length(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of any length are padded to the longest one, which made the estimate several times too high."""
    padding: list[float] = []
    forward = PartOfEncoder.__call__

    def call(part: PartOfEncoder, batch: Any) -> torch.Tensor:
        padding.append(1 - float(batch["attention_mask"].float().mean()) if "attention_mask" in batch else 0.0)
        return forward(part, batch)

    monkeypatch.setattr(PartOfEncoder, "__call__", call)
    train(tmp_path / "run", config)
    assert padding[0] == padding[1] < 0.1
    assert max(padding[2:]) > 0.1, "the rows have different lengths"


def test_runs_share_one_computation_and_a_deeper_prefix_begins_with_it(
    config: TrainConfig, tmp_path: Path, loaded: list[tuple[int, int]], capfd: pytest.CaptureFixture[str]
) -> None:
    first = train(tmp_path / "first", config)
    assert first.succeeded
    shown = " ".join(capfd.readouterr().err.split())
    assert "computing the prefix (layers below 2) of 424 rows: 0.00 GB in" in shown
    assert first.seconds["prefix"] > 0
    other = copy.deepcopy(config)
    other.model.lora.r, other.seed = 2, 1
    assert train(tmp_path / "other", other).seconds["prefix"] == 0.0, "nothing was computed"
    assert loaded == [(0, 2)]
    assert "computing the prefix" not in capfd.readouterr().err
    other.model.lora.layers = "-1:"
    train(tmp_path / "deeper", other)
    other.model.lora.target_modules = []
    train(tmp_path / "head", other)
    assert loaded == [(0, 2), (2, 3), (3, 4)]


def test_another_config_json_in_a_folder_is_another_prefix(config: TrainConfig, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(find_encoder("tiny", None).folder, tmp_path / "model"))
    config.model.name = str(folder)
    assert train(tmp_path / "first", config).seconds["prefix"] > 0
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(values | {"layer_norm_eps": 1e-3}))
    assert train(tmp_path / "second", config).seconds["prefix"] > 0


def test_the_budget_is_that_of_the_complete_model(config: TrainConfig, tmp_path: Path) -> None:
    live = copy.deepcopy(config)
    live.model.prefix = "live"
    budgets = [train(tmp_path / str(i), each).budget for i, each in enumerate((config, live))]
    assert budgets[0] == budgets[1]


def test_a_killed_and_resumed_run_is_the_uninterrupted_one(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(tmp_path / "whole", config)
    kill(monkeypatch, "training_step", 9, tmp_path / "killed", config)
    shutil.rmtree(tmp_path / "cache")
    assert train(tmp_path / "killed", config, tmp_path / "killed").metrics == whole.metrics
    torch.testing.assert_close(remains(tmp_path / "killed"), remains(tmp_path / "whole"), rtol=0, atol=0)


def test_what_follows_a_run_needs_no_cache_and_gives_its_logits(config: TrainConfig, tmp_path: Path) -> None:
    result = train(tmp_path / "run", config)
    shutil.rmtree(tmp_path / "cache")
    run = open_run(tmp_path / "run")
    rows = rows_to_evaluate(run, None)
    found, _ = evaluate(load_in_run_precision(run), rows)
    assert found.metrics["test/loss"] == pytest.approx(result.metrics["test/loss"], abs=MAX_LOGIT_ERROR)
    assert abs(found.metrics["test/accuracy"] - result.metrics["test/accuracy"]) <= 1 / len(rows)
    assert load_classifier([run])(["Oil prices rise"])[0].label
    assert export(run, "merged", tmp_path / "merged", force=False).difference <= MAX_DIFFERENCE


def test_too_little_space_is_an_error_before_any_work(
    config: TrainConfig, tmp_path: Path, loaded: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")(1, 0, 1)
    monkeypatch.setattr(prefix.shutil, "disk_usage", lambda folder: usage)
    result = train(tmp_path / "run", config)
    assert result.status == Status.FAILED
    assert "data.cache_dir=DIRECTORY" in str(result.error)
    assert loaded == []


@pytest.mark.parametrize("layers", ["all", "[0]", "[0,3]"])
def test_adapters_in_layer_0_are_refused_before_anything_is_loaded(tmp_path: Path, layers: str) -> None:
    with pytest.raises(UserError, match=r"model\.prefix=cached needs layers below .*model\.lora\.layers="):
        train(tmp_path / "run", compose_config(["model=tiny", "model.prefix=cached", f"lora.layers={layers}"]))
