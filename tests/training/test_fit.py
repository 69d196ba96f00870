"""The three steps of a run: prepare, fit, and test the best checkpoint."""

import json
import re
import shutil
from pathlib import Path

import lightning as L
import pytest
import torch

from lora_agnews.budget import trainable_parameters
from lora_agnews.config.compose import compose_config
from lora_agnews.config.schema import TrainConfig
from lora_agnews.model import lora as lora_module
from lora_agnews.model.encoder import find_encoder
from lora_agnews.training import fit as fitting
from lora_agnews.training.callbacks import Stopwatch
from lora_agnews.training.fit import Parts, fit, prepare
from lora_agnews.training.in_sweep import InSweep
from lora_agnews.training.trainer import build_trainer

TINY = find_encoder("tiny", None)


def trainer_of(config: TrainConfig, parts: Parts, run_dir: Path) -> L.Trainer:
    return build_trainer(config.trainer, run_dir, parts.batches, [], {"config": "x"}, Stopwatch(0.0, 0.0), InSweep())


@pytest.fixture
def config(short_run: list[str], tmp_path: Path) -> TrainConfig:
    return compose_config([*short_run, "trainer.max_epochs=3", "optim.lr=5e-3", f"data.cache_dir={tmp_path}/cache"])


def test_parts_fit_together(config: TrainConfig) -> None:
    parts = prepare(config, TINY)
    assert parts.batches == len(parts.data.train_dataloader()) == 3
    assert parts.task.budget.trainable == sum(each.numel() for each in trainable_parameters(parts.task).values())
    assert parts.task.budget.head == parts.architecture.head == ("classifier.dense", "classifier.out_proj")
    assert parts.model is parts.task.model
    assert parts.model.training


def test_a_limit_shortens_every_epoch(config: TrainConfig, tmp_path: Path) -> None:
    config.trainer.extra = {"limit_train_batches": 0.7, "profiler": "simple"}
    parts = prepare(config, TINY)
    trainer = trainer_of(config, parts, tmp_path)
    fit(parts, trainer, None, compile_model=False, is_tested=False)
    assert (parts.batches, trainer.global_step) == (2, 6)
    assert re.search(r"run_training_batch.*\|  6 ", (tmp_path / "profile.txt").read_text())


def test_a_model_that_trains_something_else_than_predicted_is_a_bug_that_stops_the_run(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(*arguments: object) -> object:
        found = lora_module.trained_parameters(*arguments)  # type: ignore[arg-type]
        return {name: size for name, size in found.items() if "out_proj.bias" not in name}

    monkeypatch.setattr("lora_agnews.model.build.trained_parameters", wrong)
    with pytest.raises(AssertionError, match=r"predicted Budget.*built Budget"):
        prepare(config, TINY)


def test_a_model_is_predicted_from_its_own_config_json(config: TrainConfig, tmp_path: Path) -> None:
    """Its name may be one of conf/model, whose shipped config.json then describes another model."""
    folder = Path(shutil.copytree(TINY.folder, tmp_path / "model"))
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(values | {"num_hidden_layers": 2}))
    encoder = find_encoder(str(folder), None)
    config.model.name = "FacebookAI/roberta-base"
    parts = prepare(config, encoder)
    assert set(parts.task.budget.layers) == {"0", "1", "head"}


def test_the_metrics_are_those_of_the_best_validation_and_its_weights_are_tested(
    config: TrainConfig, tmp_path: Path
) -> None:
    parts = prepare(config, TINY)
    trainer = trainer_of(config, parts, tmp_path)
    fitted = fit(parts, trainer, None, compile_model=False, is_tested=True)
    best = torch.load(tmp_path / "checkpoints" / "best.ckpt", weights_only=True)
    assert fitted.metrics["val/accuracy"] == best["best"]["val/accuracy"]
    assert fitted.metrics["train/loss"] == parts.task.epoch_loss
    assert sum(map(sum, fitted.confusion)) == len(parts.data.val_rows) == 8
    correct = sum(fitted.confusion[label][label] for label in range(4))
    assert correct / 8 == pytest.approx(fitted.metrics["val/accuracy"])
    assert fitted.predictions["row"].tolist() == parts.data.val_rows.tolist()
    assert sum(fitted.predictions["label"] == fitted.predictions["predicted"]) == correct
    assert not fitted.stopped_early
    with torch.no_grad():  # what the last step left is replaced by the best checkpoint
        for parameter in trainable_parameters(parts.task).values():
            parameter.zero_()
    metrics, confusion, predictions = fitting.test(parts, trainer, tmp_path, is_wanted=True)
    assert metrics == predictions == {}, "no test file"
    assert confusion == [], "that of the best validation is in what fit returned"
    for name, value in trainable_parameters(parts.task).items():
        assert torch.equal(value.cpu(), best["state_dict"][name])


def test_each_compiled_run_of_a_process_begins_without_the_graphs_of_earlier_ones(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    monkeypatch.setattr(torch.compiler, "reset", lambda: calls.append("reset"))
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module, **_: calls.append("compile"))
    config.trainer.max_epochs = 1
    parts = prepare(config, TINY)
    fit(parts, trainer_of(config, parts, tmp_path), None, compile_model=True, is_tested=False)
    assert calls == ["reset", "compile"]


def test_frozen_layers_are_stored_in_the_precision_of_the_run(config: TrainConfig, tmp_path: Path) -> None:
    config.trainer.precision, config.trainer.max_epochs = "bf16-mixed", 1
    parts = prepare(config, TINY)
    fit(parts, trainer_of(config, parts, tmp_path), None, compile_model=False, is_tested=False)
    halves = [name for name, value in parts.model.named_parameters() if value.dtype == torch.bfloat16]
    assert halves
    assert all(value.dtype == torch.float32 for value in trainable_parameters(parts.model).values())
