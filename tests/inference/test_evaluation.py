"""Metrics after training: those of result.json to the last digit, with correct intervals."""

import csv
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor
from torchmetrics.classification import MulticlassCalibrationError

from lora_agnews import load_run
from lora_agnews.data.source import Source, load_test_rows
from lora_agnews.errors import UserError
from lora_agnews.inference import evaluation
from lora_agnews.inference.calibration import save_temperature
from lora_agnews.inference.classifier import open_run
from lora_agnews.labels import LABELS, label_key
from lora_agnews.results.estimates import Estimate
from lora_agnews.training.metrics import ClassificationMetrics
from tests.commands import command, train
from tests.files_of_rows import TEST_TEXTS, write_labelled

ROWS = load_test_rows(Source("sample")) or pytest.fail("no test rows")


BIAS = "model.base_model.model.classifier.out_proj.bias"
KEYS = [label_key(name) for name in LABELS]


def evaluated(*arguments: Any) -> dict[str, Any]:
    done = command("evaluate", *arguments, "--json")
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_runs_own_test_split_gives_its_result_json_exactly(run_copy: Path) -> None:
    """Without the training rows, and the files of the split's name are pictures of it."""
    result = json.loads((run_copy / "result.json").read_text())
    shutil.rmtree(run_copy / "figures")
    shutil.rmtree(run_copy / "checkpoints")
    done = command("evaluate", run_copy, "--json")
    assert done.stderr == ""
    found = json.loads(done.stdout)
    assert found["metrics"] == {key: value for key, value in result["metrics"].items() if key.startswith("test/")}
    assert found["counts"] == result["confusion"]
    assert found["rows"] == 1000
    assert found["accuracy"]["value"] == result["metrics"]["test/accuracy"]
    assert {path.name for path in (run_copy / "figures").iterdir()} == {"confusion.png", "calibration.png"}


@pytest.mark.slow
def test_in_half_precision_too_the_metrics_are_those_of_result_json(tmp_path: Path) -> None:
    assert train(tmp_path / "run", "trainer.precision=bf16-mixed", "lora.use_rslora=true").returncode == 0
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["environment"]["precision"] == "bf16-mixed"
    found = evaluated(tmp_path / "run")["metrics"]
    assert found == {key: value for key, value in result["metrics"].items() if key.startswith("test/")}


def test_a_difference_from_result_json_is_printed(run_copy: Path) -> None:
    result = json.loads((run_copy / "result.json").read_text())
    result["metrics"]["test/accuracy"] = 0.5
    (run_copy / "result.json").write_text(json.dumps(result))
    done = command("evaluate", run_copy)
    assert done.exit_code == 0
    assert "test/accuracy is " in done.stderr
    assert "result.json has 0.5" in done.stderr


def test_a_labelled_file_of_three_classes_is_evaluated_beside_the_runs_own_pictures(
    run_copy: Path, tmp_path: Path
) -> None:
    before = (run_copy / "figures" / "confusion.png").read_bytes()
    chosen = [i for i in range(120) if ROWS.labels[i] != 3]
    with (tmp_path / "my news.v2.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["text", "label"], *([TEST_TEXTS[i], LABELS[ROWS.labels[i]]] for i in chosen)])
    found = evaluated(run_copy, tmp_path / "my news.v2.csv", "--errors", tmp_path / "errors.csv")
    probabilities = load_run(run_copy).probabilities([TEST_TEXTS[i] for i in chosen])
    labels, predicted = np.array([ROWS.labels[i] for i in chosen]), probabilities.argmax(1)
    assert found["accuracy"]["value"] == pytest.approx((labels == predicted).mean())
    assert found["counts"] == [
        [int(((labels == true) & (predicted == guess)).sum()) for guess in range(4)] for true in range(4)
    ]
    assert found["classes"]["Sci/Tech"]["recall"] == {"value": None, "low": None, "high": None}
    assert (run_copy / "figures" / "confusion.png").read_bytes() == before
    assert {"confusion-my_news.v2.csv.png", "calibration-my_news.v2.csv.png"} < {
        p.name for p in (run_copy / "figures").iterdir()
    }

    with (tmp_path / "errors.csv").open(newline="") as stream:
        errors = list(csv.DictReader(stream))
    assert [int(row["ID"]) for row in errors] == sorted(
        np.flatnonzero(labels != predicted), key=lambda i: -probabilities[i].max()
    )
    for row in errors:
        i = int(row["ID"])
        assert row["text"] == TEST_TEXTS[chosen[i]]
        assert (row["label_name"], row["predicted"]) == (LABELS[labels[i]], LABELS[predicted[i]])
        assert [float(row[f"p_{key}"]) for key in KEYS] == pytest.approx(probabilities[i].tolist(), abs=1e-5)


def test_the_terminal_shows_every_metric_with_its_interval_and_method(run_copy: Path) -> None:
    save_temperature(run_copy, 2.0, 400)
    done = command("evaluate", run_copy)
    assert "1,000 rows of " in done.stdout
    assert "the same, calibrated" in done.stdout
    assert "calibrated with temperature 2.0000" in done.stdout
    for text in ("accuracy", "macro-F1", "calibration error", "Wilson", "bootstrap", *LABELS, "confusion.png"):
        assert text in done.stdout
    found = evaluated(run_copy)
    calibrated = found["calibrated"]
    assert f"{calibrated['loss']:.4f}" in done.stdout
    for each in (found["accuracy"], found["macro_f1"], found["calibration_error"], calibrated["calibration_error"]):
        assert f"{each['low']:.4f} to {each['high']:.4f}" in done.stdout
    estimates = [each for scores in found["classes"].values() for each in scores.values()]
    for each in estimates + [each for row in found["shares"] for each in row]:
        assert each["low"] is None or f"({each['low']:.3f}-{each['high']:.3f})" in done.stdout


def test_a_run_without_a_test_split_needs_a_file(run_copy: Path) -> None:
    config = yaml.safe_load((run_copy / "config.yaml").read_text())
    config["data"] |= {"source": "files", "train_file": "gone.csv", "test_file": None}
    (run_copy / "config.yaml").write_text(yaml.safe_dump(config))
    done = command("evaluate", run_copy)
    assert done.exit_code == 2
    assert "the run has no test split; give a labelled FILE" in done.stderr


def test_the_last_checkpoint_is_evaluated_beside_the_best_one(run_copy: Path, tmp_path: Path) -> None:
    path, labelled = run_copy / "checkpoints" / "last.ckpt", tmp_path / "labelled.csv"
    write_labelled(labelled, 5)
    saved = torch.load(path, weights_only=True)
    assert torch.equal(out_bias(evaluation.load_last(open_run(run_copy))), saved["state_dict"][BIAS])
    saved["state_dict"][BIAS][3] += 1000
    torch.save(saved, path)
    done = command("evaluate", run_copy, labelled, "--checkpoint", "last")
    assert done.exit_code == 0, done.output
    assert "last checkpoint, on 20 rows" in done.stdout
    assert re.search(r"^accuracy +0\.2500 ", done.stdout, re.MULTILINE), "everything is Sci/Tech"
    assert (run_copy / "figures" / "confusion-last-labelled.csv.png").exists()


def test_a_last_checkpoint_of_another_model_or_damaged_is_refused(run_copy: Path) -> None:
    path, run = run_copy / "checkpoints" / "last.ckpt", open_run(run_copy)
    saved = torch.load(path, weights_only=True)
    del saved["state_dict"][BIAS]
    torch.save(saved, path)
    with pytest.raises(UserError, match="contains other weights than the run in"):
        evaluation.load_last(run)
    torch.save(saved | {"run": saved["run"] | {"model": "other"}}, path)
    with pytest.raises(UserError, match=r"last\.ckpt: was written by a run with other base weights"):
        evaluation.load_last(run)
    path.write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"last\.ckpt: damaged"):
        evaluation.load_last(run)


def out_bias(network: torch.nn.Module) -> Tensor:
    return network.get_parameter(BIAS.removeprefix("model."))


def random_rows(number: int, seed: int = 0) -> tuple[np.ndarray, Tensor]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(4, size=number)
    logits = rng.normal(size=(number, 4)) + 2 * np.eye(4)[labels]
    return labels, torch.from_numpy(logits.astype(np.float32))


def estimated(labels: np.ndarray, logits: Tensor) -> evaluation.Evaluation:
    scores = ClassificationMetrics()
    scores.update(logits, torch.from_numpy(labels))
    metrics = scores.compute("test")
    return evaluation.with_intervals("", metrics, scores.confusion.numpy(), labels, logits.softmax(1).numpy())


def test_the_calibration_error_is_that_of_torchmetrics() -> None:
    labels, logits = random_rows(500)
    expected = MulticlassCalibrationError(4, n_bins=15, norm="l1")(logits.softmax(1), torch.from_numpy(labels))
    assert estimated(labels, logits).calibration_error.value == pytest.approx(float(expected), abs=1e-6)


def test_a_perfect_model_has_intervals_without_width() -> None:
    labels = np.arange(40) % 4
    found = estimated(labels, torch.from_numpy(50.0 * np.eye(4)[labels]))
    assert found.macro_f1 == Estimate(1.0, 1.0, 1.0)
    assert found.calibration_error == Estimate(0.0, 0.0, 0.0)
    assert found.accuracy.value == found.accuracy.high == 1.0
    assert found.accuracy.low == pytest.approx(40 / (40 + 1.959964**2))


def test_the_intervals_contain_the_truth_as_often_as_they_should() -> None:
    """Of 60 samples of 400 rows, 95% intervals miss the value of 100,000 rows in 3; 8 or more are 1 in 100."""
    truth = estimated(*random_rows(100_000, seed=99))
    missed = {"accuracy": 0, "macro_f1": 0, "calibration_error": 0, "f1": 0}
    for seed in range(60):
        found = estimated(*random_rows(400, seed))
        pairs = {name: (getattr(found, name), getattr(truth, name)) for name in missed if name != "f1"}
        pairs["f1"] = found.classes["Sports"]["f1"], truth.classes["Sports"]["f1"]
        for name, (each, true) in pairs.items():
            assert each.low <= each.value <= each.high
            missed[name] += not each.low <= true.value <= each.high
    assert max(missed.values()) < 9, missed
