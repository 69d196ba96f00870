"""The temperature is where the loss of the validation rows is smallest, and belongs to one adapter."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from lora_agnews import load_run
from lora_agnews.errors import UserError
from lora_agnews.inference.calibration import CALIBRATION_FILE, fit_temperature, load_temperature, save_temperature
from tests.commands import command
from tests.files_of_rows import TEST_TEXTS, read_csv, write_labelled, write_lines
from tests.messages import check_message
from tests.records import change_adapter


def drawn(temperature: float, rows: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are `temperature` times too large for their labels."""
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(rows, 4)) * 2
    labels = (scores + rng.gumbel(size=scores.shape)).argmax(1)
    return (scores * temperature).astype(np.float32), labels


@pytest.mark.parametrize("temperature", [0.2, 1.0, 3.0])
def test_logits_that_are_too_large_get_the_factor_back(temperature: float) -> None:
    logits, labels = drawn(temperature)
    assert fit_temperature(logits, labels) == pytest.approx(temperature, rel=0.06)


def test_no_other_temperature_has_a_smaller_loss() -> None:
    logits, labels = drawn(2.5)
    found = fit_temperature(logits, labels)
    loss = [
        float(torch.nn.functional.cross_entropy(torch.tensor(logits) / each, torch.tensor(labels)))
        for each in (found, 0.999 * found, 1.001 * found)
    ]
    assert min(loss) == loss[0]


def test_rows_without_an_optimum_are_refused() -> None:
    labels = np.arange(40) % 4
    with pytest.raises(UserError) as error:
        fit_temperature(np.eye(4, dtype=np.float32)[labels], labels)
    check_message(str(error.value), ["--calibrate", "all 40 validation rows are correct"])
    with pytest.raises(UserError, match="the run has not learnt"):
        fit_temperature(-np.eye(4, dtype=np.float32)[labels], labels)


def test_a_temperature_is_kept_for_its_adapter_only(run_copy: Path) -> None:
    assert load_temperature(run_copy) is None
    save_temperature(run_copy, 1.5, 400)
    assert load_temperature(run_copy) == 1.5
    assert json.loads((run_copy / CALIBRATION_FILE).read_text())["validation_rows"] == 400
    change_adapter(run_copy, lambda name, value: value * 1.01)
    with pytest.raises(UserError) as error:
        load_temperature(run_copy)
    check_message(str(error.value), [CALIBRATION_FILE, "belongs to another adapter", "--calibrate", "delete the file"])


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"temperature": "x", "adapter": ""}', "[" * 100_000])
def test_a_damaged_file_is_named(run_copy: Path, content: str) -> None:
    (run_copy / CALIBRATION_FILE).write_text(content)
    done = command("predict", run_copy, write_lines(run_copy / "news.txt", ["a"]))
    assert done.exit_code == 2
    assert f"{CALIBRATION_FILE}: is damaged" in done.stderr
    for temperature in ("NaN", "0", "-1"):
        (run_copy / CALIBRATION_FILE).write_text(f'{{"temperature": {temperature}, "adapter": ""}}')
        with pytest.raises(UserError, match="is damaged"):
            load_temperature(run_copy)


def test_probabilities_are_calibrated_wherever_a_run_predicts(run_copy: Path, other_run: Path, tmp_path: Path) -> None:
    """Each of several runs has its own temperature."""
    texts = TEST_TEXTS[:20]
    logits = [np.log(load_run(folder).probabilities(texts)) for folder in (run_copy, other_run)]
    save_temperature(run_copy, 0.5, 400)
    save_temperature(other_run, 2.0, 400)
    expected = [
        torch.tensor(each / temperature).softmax(1).numpy()
        for each, temperature in zip(logits, (0.5, 2.0), strict=True)
    ]
    assert np.abs(load_run(run_copy).probabilities(texts) - expected[0]).max() < 1e-5
    assert np.abs(load_run(run_copy, other_run).probabilities(texts) - np.mean(expected, axis=0)).max() < 1e-5
    news = write_lines(tmp_path / "news.txt", texts)
    assert command("predict", run_copy, news, "--full", "-o", tmp_path / "out.csv").exit_code == 0
    found = [float(row["p_world"]) for row in read_csv(tmp_path / "out.csv")]
    assert found == pytest.approx(expected[0][:, 0].tolist(), abs=1e-5)


def test_evaluate_calibrates_a_run_and_reports_both_errors(run_copy: Path, tmp_path: Path) -> None:
    labelled = tmp_path / "labelled.csv"
    write_labelled(labelled, 5)
    before = json.loads(command("evaluate", run_copy, labelled, "--json").stdout)
    assert before.pop("calibrated") is None
    done = command("evaluate", run_copy, labelled, "--calibrate", "--json")
    assert done.exit_code == 0, done.output
    assert done.stderr == "", "the metrics of the validation rows are those of result.json"
    after = json.loads(done.stdout)
    calibrated = after.pop("calibrated")
    assert after == before, "all else is as it was"
    assert calibrated["temperature"] == load_temperature(run_copy) != 1.0
    assert calibrated["loss"] != after["metrics"]["test/loss"]
    assert calibrated["calibration_error"]["value"] != after["calibration_error"]["value"]


def test_a_run_without_its_training_file_is_not_calibrated(run_dir: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(run_dir, tmp_path / "run"))
    text = (copy / "config.yaml").read_text()
    (copy / "config.yaml").write_text(
        text.replace("source: sample", "source: files").replace("train_file: null", "train_file: gone.csv")
    )
    (tmp_path / "labelled.csv").write_text("text,label\nOil prices rise,2\n")
    done = command("evaluate", copy, tmp_path / "labelled.csv", "--calibrate")
    assert done.exit_code == 2
    assert "--calibrate needs the training file" in done.stderr
    assert "gone.csv: no such file" in done.stderr
    assert not (copy / CALIBRATION_FILE).exists()
