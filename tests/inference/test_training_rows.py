"""The rows of a run are split again as the run did, and others are refused."""

import json
from pathlib import Path

import pytest

from lora_agnews.errors import UserError
from lora_agnews.inference.classifier import open_run
from lora_agnews.inference.training_rows import read_split, training_prior
from lora_agnews.results.predictions import load_predictions
from tests.messages import check_message
from tests.records import change_record


def test_the_validation_rows_are_those_of_the_run(run_dir: Path) -> None:
    predictions = load_predictions(run_dir)
    assert predictions is not None
    split = read_split(open_run(run_dir), "this")
    assert split.val.tolist() == predictions["row"].tolist()
    assert split.validation.labels == predictions["label"].tolist()
    assert len(split.train) == 3600
    assert set(split.train).isdisjoint(split.val)


@pytest.mark.parametrize("changed", [{"fingerprints": {"train": "0" * 16}}, {"val": 399}])
def test_rows_that_have_changed_are_refused(run_copy: Path, changed: dict[str, object]) -> None:
    change_record(run_copy, data=changed)
    with pytest.raises(UserError) as error:
        read_split(open_run(run_copy), "--calibrate")
    check_message(str(error.value), ["--calibrate needs the training file of", "have changed"])


def test_a_debug_run_is_refused(run_copy: Path) -> None:
    run = open_run(run_copy)
    run.result.config["debug"] = "fast"
    with pytest.raises(UserError, match="--calibrate needs a complete run"):
        read_split(run, "--calibrate")


def test_the_learnt_shares_are_those_of_the_training_rows_times_their_weights(run_copy: Path) -> None:
    assert training_prior(open_run(run_copy), "this").tolist() == [0.25] * 4
    change_record(run_copy, data={"train_classes": [100, 200, 300, 400]})
    run = open_run(run_copy)
    assert training_prior(run, "this") == pytest.approx([0.1, 0.2, 0.3, 0.4])
    run.config.optim.class_weights = [4.0, 2.0, 1.0, 1.0]
    assert training_prior(run, "this") == pytest.approx([4 / 15, 4 / 15, 3 / 15, 4 / 15])
    run.config.optim.class_weights = "balanced"
    assert training_prior(run, "this").tolist() == [0.25] * 4


def test_a_record_of_an_earlier_version_has_no_class_counts_and_they_are_counted(run_copy: Path) -> None:
    record = json.loads((run_copy / "result.json").read_text())
    del record["data"]["train_classes"]
    del record["data"]["fingerprints"]
    (run_copy / "result.json").write_text(json.dumps(record))
    run = open_run(run_copy)
    assert training_prior(run, "this").tolist() == [0.25] * 4
    run.config.data.source, run.config.data.train_file = "files", "gone.csv"
    with pytest.raises(UserError, match=r"--prior uniform needs the training file of .*gone\.csv: no such file"):
        training_prior(run, "--prior uniform")
