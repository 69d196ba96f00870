"""A run that starts from another one: what must be the same, and that it needs the other one only at its start."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from lora_agnews.config.compose import compose_config
from lora_agnews.config.schema import TrainConfig
from lora_agnews.errors import UserError
from lora_agnews.model.adapter import load_adapter
from lora_agnews.model.build import build_model
from lora_agnews.model.encoder import find_encoder
from lora_agnews.model.lora import LoraSpec
from lora_agnews.training.start import start_from_run
from tests.commands import SHORT
from tests.models import some_batch
from tests.resuming import TWELVE_STEPS, kill, train

TINY = find_encoder("tiny", None)


def start(run_dir: Path, *overrides: str) -> Any:
    """The model of a run like `run_dir`, with these changes, at its first step."""
    config = compose_config([*SHORT, "seed=7", f"model.adapter={run_dir}", *overrides]).model
    model = build_model(TINY, LoraSpec.of(config), 7)
    start_from_run(config, TINY, model)
    return model.eval()


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # peft 0.21
def test_a_run_starts_with_the_logits_of_the_other_one(run_dir: Path) -> None:
    batch = some_batch()
    expected = load_adapter(run_dir / "adapter", TINY)(**batch).logits
    for overrides in ([], ["lora.layers=:", "lora.dropout=0.3"]):
        assert torch.equal(start(run_dir, *overrides)(**batch).logits, expected)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("lora.r=2", r"does not fit: model\.lora\.r=4 there and 2 here\. Use the values of that run"),
        ("model.head=lora", r"model\.head=full there and lora here"),
        ("lora.alpha=4", r"model\.lora\.alpha=8 there and 4 here"),
        ("lora.layers=-1:", r"model\.lora\.layers=all there and -1: here"),
        ("lora.target_modules=all-linear", r"model\.lora\.target_modules=.* there and all-linear here"),
        ("lora.init=pissa", r"model\.lora\.init=pissa of this run changes the base weights"),
    ],
)
def test_what_does_not_fit_is_named(run_dir: Path, override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        start(run_dir, override)


def test_only_a_finished_run_that_is_there_can_be_started_from(run_copy: Path) -> None:
    found = compose_config([*SHORT, f"model.adapter={run_copy}"]).model
    record = json.loads((run_copy / "result.json").read_text())
    (run_copy / "result.json").write_text(json.dumps(record | {"status": "interrupted"}))
    model = build_model(TINY, LoraSpec.of(found), 0)
    with pytest.raises(UserError, match="the run is interrupted; only a finished one"):
        start_from_run(found, TINY, model)
    shutil.rmtree(run_copy)
    with pytest.raises(UserError, match="the run is not there any more"):
        start_from_run(found, TINY, model)


def test_a_resumed_run_does_not_need_the_other_one(
    short_config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [f"data.{key}={getattr(short_config.data, key)}" for key in ("train_file", "test_file", "cache_dir")]
    line = [*TWELVE_STEPS, *files]
    train(tmp_path / "first", compose_config([*line, "trainer.max_steps=2"]))
    second = compose_config([*line, f"model.adapter={tmp_path / 'first'}"])
    whole = train(tmp_path / "whole", second)
    kill(monkeypatch, "training_step", 9, tmp_path / "killed", second)
    shutil.rmtree(tmp_path / "first")
    continued = train(tmp_path / "killed", second, resume=tmp_path / "killed")
    assert continued.metrics == whole.metrics
    assert continued.config["model"]["adapter"] == second.model.adapter
