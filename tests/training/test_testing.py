"""A run that is tested later gets what it would have got at its end."""

import copy
import csv
import json
from pathlib import Path

import pytest

from lora_agnews.config.schema import TrainConfig
from lora_agnews.errors import RunLocked, UserError
from lora_agnews.files.locks import run_lock
from lora_agnews.results.predictions import TEST_PREDICTIONS_FILE
from lora_agnews.results.record import RunResult
from lora_agnews.training import testing
from lora_agnews.training.in_sweep import InSweep
from lora_agnews.training.run import run
from lora_agnews.training.testing import add_test
from tests.files_of_rows import write_labelled
from tests.wandb_runs import records

LATER = {"seconds", "environment", "throughput"}


def values(run_dir: Path) -> dict[str, object]:
    """The record, less what differs between two runs of one configuration."""
    return {key: value for key, value in json.loads((run_dir / "result.json").read_text()).items() if key not in LATER}


def logged(run_dir: Path) -> list[dict[str, str]]:
    with (run_dir / "metrics.csv").open(newline="") as stream:
        return [{key: value for key, value in row.items() if value} for row in csv.DictReader(stream)]


def untested(run_dir: Path, config: TrainConfig) -> RunResult:
    run_dir.mkdir()
    return run(copy.deepcopy(config), run_dir, InSweep(is_tested=False))


def test_a_test_later_gives_the_numbers_of_a_test_at_the_end(short_config: TrainConfig, tmp_path: Path) -> None:
    (tmp_path / "now").mkdir()
    run(copy.deepcopy(short_config), tmp_path / "now")
    before = untested(tmp_path / "later", short_config)
    assert before.awaits_test
    assert not any(key.startswith("test/") for key in before.metrics)
    assert not (tmp_path / "later" / TEST_PREDICTIONS_FILE).exists()
    add_test(tmp_path / "later")
    after = RunResult.load(tmp_path / "later")
    assert values(tmp_path / "later") == values(tmp_path / "now")
    assert after.metrics["test/accuracy"] == RunResult.load(tmp_path / "now").metrics["test/accuracy"]
    assert after.seconds["total"] > before.seconds["total"] + after.seconds["test"] > before.seconds["total"]
    *rows, last = logged(tmp_path / "later")
    assert (last.pop("step"), {key: float(value) for key, value in last.items()}) == (
        logged(tmp_path / "now")[-1]["step"],
        {key: value for key, value in after.metrics.items() if key.startswith("test/")},
    )
    assert not any(key.startswith("test/") for row in rows for key in row)
    for name in ("figures/curves.png", "figures/confusion.png", TEST_PREDICTIONS_FILE):
        assert (tmp_path / "later" / name).read_bytes() == (tmp_path / "now" / name).read_bytes()
    record = (tmp_path / "later" / "result.json").read_bytes()
    add_test(tmp_path / "later")
    assert (tmp_path / "later" / "result.json").read_bytes() == record, "it is not tested twice"


def test_a_test_later_is_added_to_the_wandb_run(short_config: TrainConfig, tmp_path: Path) -> None:
    offline = copy.deepcopy(short_config)
    offline.logger.wandb = "offline"
    untested(tmp_path / "run", offline)
    (first,) = (tmp_path / "run" / "wandb").glob("offline-run-*")
    add_test(tmp_path / "run")
    first.rename(tmp_path / first.name)  # so that the reader finds the second part alone
    (found,) = records(tmp_path / "run", "--summary")
    metrics = RunResult.load(tmp_path / "run").metrics
    assert {key: found["summary"][key] for key in metrics} == pytest.approx(metrics)
    assert found["summary"]["figures/confusion"]["format"] == "png"
    (second,) = (tmp_path / "run" / "wandb").glob("offline-run-*")
    assert second.name.rpartition("-")[2] == first.name.rpartition("-")[2], "both parts have the id of one run"


def test_a_test_on_another_device_says_so(
    short_config: TrainConfig, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    result = untested(tmp_path / "run", short_config)
    result.environment["device"] = "cuda:0"
    result.save(tmp_path / "run")
    add_test(tmp_path / "run")
    assert "note: run is tested on cpu in 32-true, unlike its validation\n" in capfd.readouterr().err
    assert RunResult.load(tmp_path / "run").environment["test"] == {"precision": "32-true", "device": "cpu"}


def test_a_run_of_other_rows_is_not_tested(short_config: TrainConfig, tmp_path: Path) -> None:
    changed = copy.deepcopy(short_config)
    write_labelled(tmp_path / "test.csv", 20)
    changed.data.test_file = str(tmp_path / "test.csv")
    untested(tmp_path / "run", changed)
    write_labelled(tmp_path / "test.csv", 21)
    with pytest.raises(UserError, match=r"best\.ckpt: was written by a run with other test rows"):
        add_test(tmp_path / "run")
    assert RunResult.load(tmp_path / "run").awaits_test


def test_a_run_without_test_rows_or_without_success_awaits_no_test(short_config: TrainConfig) -> None:
    result = RunResult.of(short_config, status="finished", data={"test": 0})
    assert not result.awaits_test
    assert not RunResult.of(short_config, status="failed", data={"test": 9}).awaits_test
    assert RunResult.of(short_config, status="stopped_early", data={"test": 9}).awaits_test


def test_a_run_on_which_another_process_works_is_not_tested(tmp_path: Path) -> None:
    with run_lock(tmp_path), pytest.raises(RunLocked):
        add_test(tmp_path)


def test_ctrl_c_during_a_test_is_ctrl_c(
    short_config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise SystemExit(1)  # as Lightning does

    values = {"metrics": {"val/accuracy": 0.5}, "budget": {"trainable": 1}, "seconds": {"total": 1.0}}
    RunResult.of(short_config, status="finished", data={"test": 9}, **values).save(tmp_path)
    monkeypatch.setattr(testing, "_add_test", interrupted)
    with pytest.raises(KeyboardInterrupt):
        add_test(tmp_path)
