"""One run of train.py: what it leaves, what it prints, how it ends."""

import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from lora_agnews.results.record import RunResult
from tests.commands import CACHE, ROOT, SHORT, run_python, train


def test_a_run_leaves_its_whole_record(finished: tuple[Path, Any]) -> None:
    run_dir, _ = finished
    left = {str(path.relative_to(run_dir)) for path in run_dir.rglob("*") if path.is_file()}
    assert left == {
        ".lock",
        "config.yaml",
        "result.json",
        "metrics.csv",
        "val_predictions.npy",
        "test_predictions.npy",
        "train.log",
        "checkpoints/best.ckpt",
        "checkpoints/last.ckpt",
        "adapter/adapter_config.json",
        "adapter/adapter_model.safetensors",
        "adapter/README.md",
        "figures/confusion.png",
        "figures/curves.png",
    }


def test_result_json_says_what_ran_and_how_well(finished: tuple[Path, Any]) -> None:
    run_dir, _ = finished
    result = json.loads((run_dir / "result.json").read_text())
    assert result["status"] == "finished"
    assert {"val/accuracy", "val/loss", "val/macro_f1", "test/accuracy", "test/macro_f1", "train/loss"} <= set(
        result["metrics"]
    )
    assert result["budget"]["trainable"] == sum(result["budget"]["groups"].values()) == 85_252
    assert (result["data"]["train"], result["data"]["val"], result["data"]["test"]) == (3600, 400, 1000)
    assert result["throughput"]["samples_per_second"] > 0
    assert result["throughput"]["peak_memory_bytes"] < 2 * 2**30
    assert result["environment"]["precision"] == "32-true"
    assert result["seed"] == 0
    assert result["error"] is None
    assert RunResult.load(run_dir).succeeded


def test_config_yaml_holds_every_value_once(finished: tuple[Path, Any]) -> None:
    run_dir, _ = finished
    written = yaml.safe_load((run_dir / "config.yaml").read_text())
    assert written["model"]["lora"]["r"] == 4
    assert written["trainer"]["max_steps"] == 6
    assert "lora" not in written
    assert written == json.loads((run_dir / "result.json").read_text())["config"]


def test_checkpoints_hold_trained_parameters_and_their_optimizer_only(finished: tuple[Path, Any]) -> None:
    run_dir, _ = finished
    for name in ("best", "last"):
        path = run_dir / "checkpoints" / f"{name}.ckpt"
        saved = torch.load(path, weights_only=True)
        assert sum(value.numel() for value in saved["state_dict"].values()) == 85_252
        assert path.stat().st_size < 3 * 4 * 85_252 + 60_000  # parameters and Adam's two moments, float32


def test_metrics_csv_has_the_curves(finished: tuple[Path, Any]) -> None:
    run_dir, _ = finished
    with (run_dir / "metrics.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    accuracies = [float(row["val/accuracy"]) for row in rows if row["val/accuracy"]]
    assert accuracies
    assert max(accuracies) == pytest.approx(RunResult.load(run_dir).metrics["val/accuracy"], abs=1e-6)


def test_the_terminal_shows_the_budget_then_the_result_and_no_warning(finished: tuple[Path, Any]) -> None:
    run_dir, done = finished
    shown = done.stdout
    for text in ("lora query", "85,252", "1,000,000", "3,600 training", "macro-F1", "samples/s", "W&B", run_dir.name):
        assert text in shown
    assert "arning" not in shown + done.stderr
    assert "Traceback" not in done.stderr


def test_the_adapter_holds_the_whole_head(finished: tuple[Path, Any]) -> None:
    run_dir, _ = finished
    names = set(load_file(run_dir / "adapter" / "adapter_model.safetensors"))
    layers = ("dense.base_layer", "out_proj")  # classifier.dense has an adapter
    head = {f"base_model.model.classifier.{layer}.{part}" for layer in layers for part in ("weight", "bias")}
    assert head <= names
    assert len(names) == 4 + 4 * 2 * 2 + 2  # head; layers, query and value, A and B; classifier.dense' own A and B


@pytest.mark.slow
def test_a_run_that_was_killed_and_continued_in_other_processes_is_the_same(
    finished: tuple[Path, Any], tmp_path: Path
) -> None:
    command = [sys.executable, "train.py", *SHORT, "trainer.checkpoint_every=1", f"hydra.run.dir={tmp_path}/run"]
    environment = os.environ | {"XDG_CACHE_HOME": CACHE, "OMP_NUM_THREADS": "1"}  # as `run_python`
    with subprocess.Popen(command, cwd=ROOT, env=environment) as running:
        while not (tmp_path / "run" / "checkpoints" / "last.ckpt").exists() and running.poll() is None:
            time.sleep(0.01)
        running.kill()
    assert not (tmp_path / "run" / "figures").exists()
    done = run_python("train.py", f"resume={tmp_path}/run")
    assert done.returncode == 0, done.stderr
    run_dir, _ = finished
    assert RunResult.load(tmp_path / "run").metrics == RunResult.load(run_dir).metrics
    adapter = Path("adapter", "adapter_model.safetensors")
    assert (tmp_path / "run" / adapter).read_bytes() == (run_dir / adapter).read_bytes()


def test_a_run_directory_is_never_overwritten(finished: tuple[Path, Any]) -> None:
    run_dir, _ = finished
    before = (run_dir / "result.json").read_bytes()
    done = train(run_dir)
    assert done.returncode == 2
    assert "not overwritten" in done.stderr
    assert (run_dir / "result.json").read_bytes() == before
    assert (run_dir / "train.log").exists()


def test_a_run_over_the_budget_is_recorded_and_exits_1(tmp_path: Path) -> None:
    done = train(tmp_path / "run", "model.lora.r=203")
    assert done.returncode == 1
    assert "1,000,000" in done.stderr
    assert "Traceback" not in done.stderr
    result = RunResult.load(tmp_path / "run")
    assert result.status == "over_budget"
    assert result.budget["max_r"] == 202
    assert not (tmp_path / "run" / "checkpoints").exists()


@pytest.mark.slow
def test_a_compiled_run_trains_and_keeps_its_names(finished: tuple[Path, Any], tmp_path: Path) -> None:
    done = train(tmp_path / "run", "trainer.compile=true")
    assert done.returncode == 0, done.stderr
    both = (finished[0], tmp_path / "run")
    saved = [torch.load(each / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for each in both]
    assert saved[0].keys() == saved[1].keys()
    eager, compiled = map(RunResult.load, both)
    assert compiled.metrics["test/loss"] == pytest.approx(eager.metrics["test/loss"], abs=1e-3)
    seconds = compiled.seconds["train"] - compiled.seconds["compile"]
    assert (eager.seconds["compile"], compiled.seconds["compile"] > 1) == (0, True)
    assert compiled.throughput["samples_per_second"] == pytest.approx(6 * 32 / seconds)


def test_a_run_with_every_option_changed_records_what_it_did(tmp_path: Path) -> None:
    """16-mixed without a GPU, an own file without a test file, and every key of the adapters."""
    sample = ROOT / "lora_agnews" / "data" / "sample" / "train.csv.gz"
    others = [
        "model.head=lora",
        "lora.r=2",
        "lora.alpha=7",
        "lora.dropout=0.25",
        "lora.target_modules={query:3,value:2}",
    ]
    others += ["lora.layers=-2:", "lora.bias=lora_only", "lora.use_rslora=true", "lora.use_dora=true"]
    others += ["lora.init=gaussian", "optim.lora_plus_ratio=4", "optim.lr=1e-3", "optim.schedule=constant"]
    done = train(
        tmp_path / "run", "trainer.precision=16-mixed", "trainer.accelerator=cpu", f"data.train_file={sample}", *others
    )
    assert done.returncode == 0, done.stderr
    assert "needs an NVIDIA GPU" in done.stderr
    result = RunResult.load(tmp_path / "run")
    assert result.environment["precision"] == "32-true"
    assert "no test file" in done.stdout
    assert result.config["data"]["source"] == "files"
    assert not any(key.startswith("test/") for key in result.metrics)
    written = json.loads((tmp_path / "run" / "adapter" / "adapter_config.json").read_text())
    expected = {
        "r": 2,
        "lora_alpha": 7,
        "lora_dropout": 0.25,
        "bias": "lora_only",
        "use_rslora": True,
        "use_dora": True,
    }
    assert {key: written[key] for key in expected} == expected
    assert written["init_lora_weights"] == "gaussian"
    queries = {f"roberta.encoder.layer.{layer}.attention.self.query": 3 for layer in (2, 3)}
    assert written["rank_pattern"] == queries
    assert len(written["target_modules"]) == 2 * 2 + 1
    saved = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    groups = saved["optimizer_states"][0]["param_groups"]
    assert [group["lr"] for group in groups] == [1e-3, 4e-3]
    assert result.budget["groups"].keys() == {"lora", "lora_head", "head", "bias"}


def test_a_run_memorises_32_rows(tmp_path: Path) -> None:
    with (tmp_path / "few.csv").open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["text", "label"])
        rows.writerows(
            [f"{word} {i}", label] for label, word in enumerate(("war", "goal", "shares", "chips")) for i in range(10)
        )
    done = run_python(
        "train.py", "model=tiny", f"data.train_file={tmp_path}/few.csv", f"data.test_file={tmp_path}/few.csv",
        "data.val_fraction=0.2", "trainer.max_epochs=12", "trainer.precision=32-true", "lora.dropout=0",
        "optim.lr=5e-3", "logger.wandb=disabled", f"hydra.run.dir={tmp_path}/run",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = RunResult.load(tmp_path / "run")
    assert result.metrics["train/loss"] < 0.05
    assert result.metrics["test/accuracy"] == 1.0
    assert "40 in both the training file and the test file" in done.stderr  # the same rows: said, not hidden
