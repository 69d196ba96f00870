"""An export gives the run's own answers, says what it is, and replaces nothing without being asked."""

import json
import math
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from lora_agnews import load_run
from lora_agnews.inference import export as exporting
from lora_agnews.inference.calibration import save_temperature
from lora_agnews.inference.classifier import open_run
from tests.commands import command, run_python
from tests.files_of_rows import TEST_TEXTS

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # peft 0.21


HEADLINES = TEST_TEXTS[:12]


@pytest.fixture(scope="module")
def expected(run_dir: Path) -> np.ndarray:
    return load_run(run_dir).probabilities(HEADLINES)


@pytest.fixture(scope="module")
def merged(run_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exports") / "merged"
    done = command("export", run_dir, "-o", folder)
    assert done.exit_code == 0, done.output
    assert re.search(r"merged, logits within \d\.\de-\d\d of the run's", done.stdout.replace("\n", " "))
    return folder


def code_of(folder: Path) -> str:
    """The model card's own example, as a user would paste it."""
    (code,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    return str(code).replace("this folder", str(folder))


@pytest.fixture(scope="module")
def without_peft(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The installed packages, all but peft and ours."""
    folder = tmp_path_factory.mktemp("packages")
    for place in filter(os.path.isdir, sys.path):
        for path in Path(place).iterdir():
            ours = path.name.startswith(("peft", "lora_agnews", "__editable__"))
            if "site-packages" in place and not ours and not (folder / path.name).exists():
                (folder / path.name).symlink_to(path)
    return {"PYTHONPATH": str(folder)}


def test_a_merged_export_needs_only_transformers(
    merged: Path, expected: np.ndarray, without_peft: dict[str, str]
) -> None:
    code = f"""
import importlib.util, json
assert importlib.util.find_spec("peft") is None and importlib.util.find_spec("lora_agnews") is None
{code_of(merged)}
print(json.dumps(classify({HEADLINES!r}, top_k=None)))
"""
    done = run_python("-S", "-P", "-c", code, **without_peft)  # nor the working directory
    assert done.returncode == 0, done.stderr[-2000:]
    for row, found in zip(expected, json.loads(done.stdout.splitlines()[-1]), strict=True):
        scores = {each["label"]: each["score"] for each in found}
        assert list(scores) == sorted(scores, key=lambda label: -scores[label])
        assert [scores[name] for name in ("World", "Sports", "Business", "Sci/Tech")] == pytest.approx(row, abs=1e-4)


def test_the_card_says_what_was_done(merged: Path, run_dir: Path) -> None:
    result = json.loads((run_dir / "result.json").read_text())
    _, meta, text = (merged / "README.md").read_text().split("---\n", 2)
    assert yaml.safe_load(meta) == {
        "library_name": "transformers",
        "pipeline_tag": "text-classification",
        "tags": ["lora", "ag_news"],
    }
    for fact in (
        "85,252 of 5,408,260 parameters; the limit is 1,000,000",
        f"{result['metrics']['test/accuracy']:.4f} (1,000 rows)",
        "3,600 training rows, seed 0",
        result["environment"]["git_commit"] or "not known",
    ):
        assert fact in text
    assert json.loads((merged / "export.json").read_text())["result"] == result
    assert result["config_hash"] in text
    config = json.loads((merged / "config.json").read_text())
    assert config["id2label"] == {"0": "World", "1": "Sports", "2": "Business", "3": "Sci/Tech"}
    assert config["dtype"] == "float32"


def test_the_card_does_not_name_the_folder_of_a_base_model(run_dir: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(run_dir, tmp_path / "run"))
    result = json.loads((copy / "result.json").read_text())
    result["data"]["model"] = "folder:/home/somebody/encoder"
    (copy / "result.json").write_text(json.dumps(result))
    config = yaml.safe_load((copy / "config.yaml").read_text())
    config["model"]["name"] = "/home/somebody/encoder"
    (copy / "config.yaml").write_text(yaml.safe_dump(config))
    assert command("export", copy, "-o", tmp_path / "out", "--base", "tiny").exit_code == 0
    card = (tmp_path / "out" / "README.md").read_text()
    assert "encoder with LoRA" in card
    assert "| base | encoder |" in card
    assert "/home/somebody" not in card


def test_an_adapter_export_answers_in_plain_peft(run_dir: Path, expected: np.ndarray, tmp_path: Path) -> None:
    done = command("export", run_dir, "-o", tmp_path / "adapter", "--format", "adapter")
    assert done.exit_code == 0, done.output
    values: dict[str, Any] = {}
    exec(code_of(tmp_path / "adapter"), values)
    tokenizer = load_run(run_dir).models[0].tokenizer
    batch = tokenizer(HEADLINES, padding=True, truncation=True, max_length=16, return_tensors="pt")
    with torch.no_grad():
        found = values["model"](input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits.softmax(1)
    assert np.abs(found.numpy() - expected).max() < 1e-5


def test_an_onnx_export_answers_in_onnxruntime(run_dir: Path, expected: np.ndarray, tmp_path: Path) -> None:
    """For several numbers of rows, with the code of the model card."""
    pytest.importorskip("onnxruntime", reason='pip install -e ".[onnx]"')
    done = command("export", run_dir, "-o", tmp_path / "onnx", "--format", "onnx")
    assert done.exit_code == 0, done.output
    assert done.stderr == ""
    for rows in (1, 3, 12):
        values: dict[str, Any] = {}
        exec(code_of(tmp_path / "onnx").replace('["Oil prices rise"]', repr(HEADLINES[:rows])), values)
        found = torch.from_numpy(values["logits"]).softmax(1).numpy()
        assert np.abs(found - expected[:rows]).max() < 1e-4


def test_an_export_replaces_only_an_export_and_only_with_force(merged: Path, run_dir: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(merged, tmp_path / "merged"))
    (folder / "README.md").write_text("mine")
    done = command("export", run_dir, "-o", folder)
    assert done.exit_code == 2
    assert "holds an export already; to replace it: --force" in done.stderr
    assert (folder / "README.md").read_text() == "mine"
    assert command("export", run_dir, "-o", folder, "--force", "--format", "adapter").exit_code == 0
    assert (folder / "adapter_config.json").exists()
    assert not (folder / "model.safetensors").exists(), "nothing of the old one is left"
    (tmp_path / "link").symlink_to(folder)
    assert command("export", run_dir, "-o", tmp_path / "link", "--force", "--format", "adapter").exit_code == 0
    assert (tmp_path / "link").is_symlink()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_text("cat")
    done = command("export", run_dir, "-o", tmp_path / "photos", "--force")
    assert done.exit_code == 2
    assert "holds other files than an export and is left alone" in done.stderr
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["cat.jpg"]
    assert {path.name for path in tmp_path.iterdir()} == {"merged", "photos", "link"}


@pytest.mark.parametrize("value", [0.0, math.nan])
def test_an_export_with_other_logits_is_not_kept(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    other = exporting.Export(lambda: lambda ids, mask: torch.full((len(ids), 4), value), "", "peft")
    monkeypatch.setitem(exporting.WRITERS, "adapter", lambda run, folder: other)
    done = command("export", run_dir, "-o", tmp_path / "out", "--format", "adapter")
    assert done.exit_code == 1
    assert "the export's logits differ from the run's by" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_int8_weights_may_change_logits_but_few_labels(run_dir: Path) -> None:
    run = open_run(run_dir)
    same = exporting.Agreement(0.5, exporting.CHECKED_ROWS)
    same.check(quantized=True)
    with pytest.raises(RuntimeError, match="logits differ"):
        same.check(quantized=False)
    with pytest.raises(RuntimeError, match="only 60 of 64 labels of the int8 model are the run's"):
        exporting.Agreement(0.0, 60).check(quantized=True)
    unknown = exporting.compare(run, lambda ids, mask: torch.full((len(ids), 4), math.nan), calibrated=True)
    assert math.isnan(unknown.difference)


@pytest.fixture
def calibrated(run_copy: Path) -> Path:
    """A run with the temperature 2."""
    save_temperature(run_copy, 2.0, 400)
    return run_copy


def test_a_merged_export_of_a_calibrated_run_has_its_probabilities(calibrated: Path, tmp_path: Path) -> None:
    done = command("export", calibrated, "-o", tmp_path / "merged")
    assert done.exit_code == 0, done.output
    values: dict[str, Any] = {}
    exec(code_of(tmp_path / "merged"), values)
    for row, found in zip(load_run(calibrated)(HEADLINES), values["classify"](HEADLINES, top_k=None), strict=True):
        assert {each["label"]: each["score"] for each in found} == pytest.approx(row.probabilities, abs=1e-5)
    assert "calibrated: the last layer is divided by the temperature 2" in (tmp_path / "merged/README.md").read_text()
    assert json.loads((tmp_path / "merged/export.json").read_text())["temperature"] == 2.0


def test_an_adapter_export_of_a_calibrated_run_says_that_it_is_not(calibrated: Path, tmp_path: Path) -> None:
    done = command("export", calibrated, "-o", tmp_path / "adapter", "--format", "adapter")
    assert done.exit_code == 0, done.output
    assert "note: the adapter's probabilities are not calibrated" in done.stderr
    assert "divide the logits by 2" in (tmp_path / "adapter" / "README.md").read_text()


@pytest.mark.slow
def test_int8_weights_are_small_and_give_the_labels_of_the_calibrated_run(calibrated: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason='pip install -e ".[onnx]"')
    done = command("export", calibrated, "-o", tmp_path / "int8", "--format", "onnx", "--quantize")
    assert done.exit_code == 0, done.output
    assert done.stderr == ""
    assert "onnx in int8, logits within" in done.stdout.replace("\n", " ")
    assert "quantized to int8" in (tmp_path / "int8" / "README.md").read_text()
    assert (tmp_path / "int8" / "model.onnx").stat().st_size < 8e6, "5.4 million parameters"
    assert not (tmp_path / "int8" / "float32.onnx").exists()
    values: dict[str, Any] = {}
    exec(code_of(tmp_path / "int8").replace('["Oil prices rise"]', repr(HEADLINES)), values)
    expected = np.array([list(row.probabilities.values()) for row in load_run(calibrated)(HEADLINES)])
    found = torch.from_numpy(values["logits"]).softmax(1).numpy()
    assert np.abs(found - expected).max() < 0.05
    assert (found.argmax(1) == expected.argmax(1)).mean() > 0.9
