"""A finished run as a classifier: the run directory is all it needs."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from lora_agnews import load_run
from lora_agnews.errors import UserError
from lora_agnews.inference import classifier as inference
from lora_agnews.inference.classifier import Classifier
from lora_agnews.labels import LABELS
from lora_agnews.model.adapter import save_adapter
from lora_agnews.model.build import build_model
from lora_agnews.model.encoder import find_encoder
from lora_agnews.model.lora import LoraSpec
from tests.commands import command
from tests.files_of_rows import (
    TEST_TEXTS,
    read_csv,
    write_lines,
)
from tests.records import change_adapter

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # peft 0.21


def test_a_rows_probabilities_do_not_depend_on_its_neighbours(classify: Classifier) -> None:
    together = classify.probabilities(["", "x" * 5000, *TEST_TEXTS[:100]])
    backwards = classify.probabilities([*TEST_TEXTS[:100]][::-1])[::-1]
    alone = np.concatenate([classify.probabilities([text]) for text in TEST_TEXTS[:20]])
    assert np.abs(together[2:] - backwards).max() < 1e-5
    assert np.abs(together[2:22] - alone).max() < 1e-5


@pytest.mark.parametrize(("rows", "characters"), [(7, 1 << 24), (4096, 500)])
def test_windows_are_small_and_keep_the_order(
    classify: Classifier, expected: np.ndarray, monkeypatch: pytest.MonkeyPatch, rows: int, characters: int
) -> None:
    monkeypatch.setattr(inference, "WINDOW_ROWS", rows)
    monkeypatch.setattr(inference, "WINDOW_CHARACTERS", characters)
    read = 0

    def reading() -> Iterator[str]:
        nonlocal read
        for text in TEST_TEXTS[:60]:
            read += 1
            yield text

    texts, found = list[str](), []
    for window, probabilities in classify.stream(reading()):
        assert len(window) <= rows
        assert read == len(texts) + len(window), "nothing is read before it is needed"
        assert sum(map(len, window[:-1])) <= characters
        texts += window
        found.append(probabilities)
    assert texts == TEST_TEXTS[:60]
    assert len(found) > 5
    assert np.abs(np.concatenate(found) - expected).max() < 1e-5


def test_load_run_gives_labels_and_probabilities(classify: Classifier, expected: np.ndarray) -> None:
    assert len(classify(TEST_TEXTS[:60])) == 60
    for i, (label, probabilities) in enumerate(classify(TEST_TEXTS[:60])):
        assert label == LABELS[expected[i].argmax()] == max(probabilities, key=probabilities.__getitem__)
        assert list(probabilities) == list(LABELS)
        assert list(probabilities.values()) == pytest.approx(expected[i].tolist(), abs=1e-5)
    assert classify([]) == []
    assert classify(text for text in TEST_TEXTS[:2]) == classify(TEST_TEXTS[:2])
    for wrong in ("one text", [1], [None]):
        with pytest.raises(TypeError, match="a list of texts"):
            classify(wrong)  # type: ignore[arg-type]


def test_a_run_predicts_in_float32_after_another_one_was_trained_with_faster_products(run_dir: Path) -> None:
    torch.set_float32_matmul_precision("medium")
    load_run(run_dir)
    assert torch.get_float32_matmul_precision() == "highest"


def test_numbers_that_are_not_finite_are_an_error_and_no_label(run_dir: Path) -> None:
    classify = load_run(run_dir)
    with torch.no_grad():
        next(classify.models[0].network.parameters()).fill_(float("nan"))
    with pytest.raises(RuntimeError, match="not finite; if you used --half, leave it out"):
        classify(TEST_TEXTS[:2])


def test_several_runs_are_the_mean_of_their_probabilities(run_dir: Path, other_run: Path, tmp_path: Path) -> None:
    single = [load_run(folder).probabilities(TEST_TEXTS[:40]) for folder in (run_dir, other_run)]
    assert np.abs(single[0] - single[1]).max() > 0.01
    assert (
        np.abs(load_run(run_dir, other_run).probabilities(TEST_TEXTS[:40]) - (single[0] + single[1]) / 2).max() < 1e-6
    )
    done = command(
        "predict", run_dir, other_run, write_lines(tmp_path / "news.txt", TEST_TEXTS[:40]), "-o", tmp_path / "out.csv"
    )
    assert done.exit_code == 0, done.output
    labels = [int(row["Label"]) for row in read_csv(tmp_path / "out.csv")]
    assert labels == np.mean(single, 0).argmax(1).tolist()


def test_runs_of_other_classes_are_refused(run_dir: Path, other_run: Path, tmp_path: Path) -> None:
    change_adapter(other_run, lambda name, value: value, labels=["Good", "Bad"])
    done = command("predict", run_dir, other_run, write_lines(tmp_path / "news.txt", TEST_TEXTS[:4]))
    assert done.exit_code == 2
    assert "its classes are Good, Bad, not World, Sports, Business, Sci/Tech" in done.stderr


def test_a_run_made_on_a_gpu_answers_on_a_cpu(run_dir: Path, expected: np.ndarray, tmp_path: Path) -> None:
    copy = shutil.copytree(run_dir, tmp_path / "gpu")
    result = json.loads((copy / "result.json").read_text())
    result["environment"] |= {"device": "cuda:0", "precision": "16-mixed"}
    (copy / "result.json").write_text(json.dumps(result))
    assert np.abs(load_run(copy).probabilities(TEST_TEXTS[:60]) - expected).max() < 1e-5
    if not torch.cuda.is_available():
        done = command("evaluate", copy)
        assert done.exit_code == 0, done.output
        assert "the run used cuda:0 in 16-mixed, which is not available here" in done.stderr.replace("\n", " ")


def test_a_base_model_that_was_moved_is_named_found_and_checked(
    run_dir: Path, lora: Callable[..., LoraSpec], tmp_path: Path
) -> None:
    base, moved = tmp_path / "base", tmp_path / "moved"
    shutil.copytree(find_encoder("tiny", None).folder, base)
    copy = shutil.copytree(run_dir, tmp_path / "run")
    config = yaml.safe_load((copy / "config.yaml").read_text())
    config["model"]["name"] = str(base)
    (copy / "config.yaml").write_text(yaml.safe_dump(config))
    encoder = find_encoder(str(base), None)
    save_adapter(build_model(encoder, lora(r=2), seed=0), encoder, copy / "adapter")
    before = load_run(copy).probabilities(TEST_TEXTS[:8])
    base.rename(moved)
    news = write_lines(tmp_path / "news.txt", TEST_TEXTS[:8])
    done = command("predict", copy, news)
    assert done.exit_code == 2
    assert f"needs its base model: model.name={base}: no such folder.\nWith a copy of it" in done.stderr
    assert "--base FOLDER" in done.stderr
    assert np.array_equal(load_run(copy, base=str(moved)).probabilities(TEST_TEXTS[:8]), before)
    assert command("predict", copy, news, "--base", moved).exit_code == 0
    weights = load_file(moved / "model.safetensors")
    save_file({name: value + 1 for name, value in weights.items()}, moved / "model.safetensors", {"format": "pt"})
    done = command("predict", copy, news, "--base", moved)
    assert done.exit_code == 2
    assert f"was trained on other weights than those in {moved}" in done.stderr


def test_a_finished_run_without_its_adapter_says_what_is_missing(run_copy: Path) -> None:
    shutil.rmtree(run_copy / "adapter")
    with pytest.raises(UserError, match=r"its folder adapter is missing; copy it from where the run was trained"):
        load_run(run_copy)
