"""Every way in which a run can end has its status in the record, and its message on the terminal."""

import json
from pathlib import Path

import pytest

from lora_agnews.config.compose import compose_config
from lora_agnews.errors import BudgetExceeded, FetchError, RunPruned, UserError
from lora_agnews.results.record import RunResult, Status
from lora_agnews.training.recording import recorded

CONFIG = compose_config(["model=tiny"])
FULL = "the disk is full (No space left on device); free some space, then continue the run"


def end_with(error: BaseException, run_dir: Path, previous: RunResult | None = None) -> None:
    with recorded(CONFIG, run_dir, previous):
        raise error


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (BudgetExceeded("36,036 too many"), Status.OVER_BUDGET, "36,036 too many"),
        (RunPruned(), Status.INTERRUPTED, RunPruned.MESSAGE),
        (RuntimeError("no *.safetensors weights"), Status.FAILED, "no *.safetensors weights"),
        (FetchError("a/b", "model", "gone"), Status.FAILED, str(FetchError("a/b", "model", "gone"))),
        (ZeroDivisionError("by zero"), Status.FAILED, "ZeroDivisionError: by zero"),
        (OSError(28, "No space left on device"), Status.FAILED, FULL),
        (RuntimeError("Error while serializing: No space left on device (os error 28)"), Status.FAILED, FULL),
        (AssertionError("predicted 1, built 2"), Status.FAILED, "AssertionError: predicted 1, built 2"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_exception_becomes_a_status_and_a_message(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], error: Exception, status: Status, message: str
) -> None:
    end_with(error, tmp_path)
    result = RunResult.load(tmp_path)
    assert (result.status, result.error) == (status, message)
    assert result.seconds["total"] >= 0
    details = " (train.log has the details)" if status == Status.FAILED else ""
    assert capfd.readouterr().err.startswith(f"error: {message}\nrun directory: {tmp_path}{details}\n")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(1)], ids=repr)
def test_an_interrupted_run_is_recorded_before_the_interrupt_reaches_the_command(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], error: BaseException
) -> None:
    with pytest.raises(KeyboardInterrupt):
        end_with(error, tmp_path)
    result = RunResult.load(tmp_path)
    assert (result.status, result.error) == (Status.INTERRUPTED, "interrupted")
    assert capfd.readouterr().err == f"note: to continue it: python train.py resume={tmp_path}\n"


def test_what_the_user_gave_is_not_recorded(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a bad row"):
        end_with(UserError("a bad row"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_finished_run_is_recorded_without_a_message(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with recorded(CONFIG, tmp_path, None) as result:
        result.status = Status.FINISHED
        result.metrics = {"val/accuracy": 0.5}
    assert RunResult.load(tmp_path).succeeded
    assert RunResult.load(tmp_path).environment["versions"]["torch"]
    assert capfd.readouterr() == ("", "")


def test_a_continued_run_that_fails_keeps_the_metrics_that_it_had(tmp_path: Path) -> None:
    previous = RunResult.of(CONFIG, metrics={"val/accuracy": 0.75})
    end_with(RuntimeError("x"), tmp_path, previous)
    assert RunResult.load(tmp_path).metrics == {"val/accuracy": 0.75}


def test_the_traceback_is_shown_only_if_it_is_asked_for(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    end_with(ZeroDivisionError("x"), tmp_path)
    assert "Traceback" not in capfd.readouterr().err
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    end_with(ZeroDivisionError("x"), tmp_path)
    assert "Traceback" in capfd.readouterr().err
    assert json.loads((tmp_path / "result.json").read_text())["status"] == "failed"


def test_a_record_that_can_not_be_written_any_more_does_not_stay_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, recorded(CONFIG, tmp_path, None) as result:
        result.save(tmp_path)
        size = (tmp_path / "result.json").stat().st_size
        patch.setattr(RunResult, "save", full)
        result.status = Status.FINISHED
    assert (result.status, result.error) == (Status.FAILED, FULL)
    assert RunResult.load(tmp_path).status == Status.FAILED
    assert (tmp_path / "result.json").stat().st_size == size
    assert capfd.readouterr().err.startswith(f"error: {FULL}\n")
