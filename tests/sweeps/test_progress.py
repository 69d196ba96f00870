"""One line per finished run, the state of the sweep, and the leaderboard at the end."""

import csv
from pathlib import Path

import pytest

from lora_agnews.config.compose import compose_config
from lora_agnews.config.schema import TrainConfig
from lora_agnews.errors import RunLocked, RunPruned
from lora_agnews.files.locks import run_lock
from lora_agnews.results.record import RunResult, Status
from lora_agnews.sweeps import progress as progress_module
from lora_agnews.sweeps.progress import SweepProgress, conclude
from tests.records import save_record

CONFIG = compose_config(["model=tiny", "logger.wandb=disabled"])


@pytest.fixture
def outcomes(monkeypatch: pytest.MonkeyPatch) -> dict[str, RunResult]:
    """Name of a run -> the record that it leaves instead of being trained."""
    found: dict[str, RunResult] = {}

    def run_point(config: TrainConfig, run_dir: Path, group: str, in_sweep: object) -> RunResult:
        run_dir.mkdir(exist_ok=True)
        if not (run_dir / "result.json").exists():
            found[run_dir.name].save(run_dir)
        return RunResult.load(run_dir)

    monkeypatch.setattr(progress_module, "run_point", run_point)
    return found


def outcome(
    status: Status, accuracy: float | None = None, seconds: float = 10.0, error: str | None = None
) -> RunResult:
    metrics = {"val/accuracy": accuracy, "test/accuracy": accuracy} if accuracy is not None else {}
    result = RunResult.of(CONFIG, status=status, metrics=metrics, error=error, seconds={"total": seconds})
    result.budget = {"trainable": 1000}
    return result


def test_each_finished_run_is_one_line_with_its_outcome_and_the_state(
    tmp_path: Path, outcomes: dict[str, RunResult], capfd: pytest.CaptureFixture[str]
) -> None:
    outcomes |= {
        "r=1-aaaaaa": outcome(Status.FINISHED, 0.75, seconds=8.4),
        "r=2-bbbbbb": outcome(Status.STOPPED_EARLY, 0.5),
        "r=4-cccccc": outcome(Status.FAILED, error="no weights\nsecond line"),
        "r=8-dddddd": outcome(Status.OVER_BUDGET, error="12 too many"),
    }
    progress, failed = SweepProgress(tmp_path, 5), tmp_path / "r=4-cccccc" / "train.log"
    failed.parent.mkdir(exist_ok=True)
    failed.write_text("a traceback")
    for name in outcomes:
        progress.run(CONFIG, tmp_path / name)
    best = "best 0.7500 r=1"
    assert capfd.readouterr().out.splitlines() == [
        f"[1/5] r=1-aaaaaa  finished, val accuracy 0.7500, 8 s | 1/5 done | {best} | about 34 s left",
        f"[2/5] r=2-bbbbbb  stopped early, val accuracy 0.5000, 10 s | 2/5 done | {best} | about 28 s left",
        f"[3/5] r=4-cccccc  failed: no weights (more in {failed}) | 2/5 done | 1 failed | {best} | about 18 s left",
        f"[4/5] r=8-dddddd  over budget: 12 too many | 2/5 done | 1 over budget | 1 failed | {best} | about 9 s left",
    ]


def test_a_run_that_was_done_before_is_counted_as_skipped(
    tmp_path: Path, outcomes: dict[str, RunResult], capfd: pytest.CaptureFixture[str]
) -> None:
    outcomes["r=1"] = outcome(Status.FINISHED, 0.75)
    SweepProgress(tmp_path, 1).run(CONFIG, tmp_path / "r=1")
    capfd.readouterr()
    SweepProgress(tmp_path, 1).run(CONFIG, tmp_path / "r=1")
    line = "[1/1] r=1  done before: finished, val accuracy 0.7500, 10 s | 1/1 done | 1 skipped | best 0.7500 r=1"
    assert capfd.readouterr().out == f"{line}\n"


def test_a_run_on_which_another_process_works_is_not_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    progress = SweepProgress(tmp_path, 2)
    (tmp_path / "r=1").mkdir()
    with run_lock(tmp_path / "r=1"), pytest.raises(RunLocked):
        progress.run(CONFIG, tmp_path / "r=1")
    assert capfd.readouterr().out == "r=1: another process is working on it\n"
    assert progress.started == []


def test_without_a_known_number_of_runs_there_is_no_time_left(tmp_path: Path) -> None:
    assert SweepProgress(tmp_path, None).state() == "0/? done"
    save_record(tmp_path / "a", 0.5)
    assert SweepProgress(tmp_path, None).state() == "1/? done | best 0.5000 a"


def test_runs_of_another_command_in_the_same_directory_are_not_counted_against_the_total(tmp_path: Path) -> None:
    save_record(tmp_path / "a", 0.5)
    save_record(tmp_path / "b", 0.25)
    assert SweepProgress(tmp_path, 1).state() == "2 done in this directory | best 0.5000 a"


def test_workers_share_the_time_that_is_left_and_long_times_are_in_minutes(tmp_path: Path) -> None:
    save_record(tmp_path / "a", 0.5)  # 10 seconds
    assert SweepProgress(tmp_path, 41).state().endswith("about 7 min left")
    assert SweepProgress(tmp_path, 17, workers=2).state().endswith("about 80 s left")


def test_running_and_interrupted_runs_are_not_taken_for_ended_ones(tmp_path: Path) -> None:
    save_record(tmp_path / "a", 0.5)
    save_record(tmp_path / "b", 0.5, status="running")
    save_record(tmp_path / "c", 0.5, status="interrupted")
    with run_lock(tmp_path / "b"):
        state = SweepProgress(tmp_path, 3).state()
    assert state == "1/3 done | 1 running | 1 interrupted | best 0.5000 a | about 20 s left"


def test_a_pruned_run_stands_for_all_seeds_of_its_point(tmp_path: Path) -> None:
    save_record(tmp_path / "a", 0.5)  # 10 seconds
    (tmp_path / "b").mkdir()
    outcome(Status.INTERRUPTED, error=RunPruned.MESSAGE).save(tmp_path / "b")
    assert SweepProgress(tmp_path, 6, seeds=3).state().endswith("1 interrupted | best 0.5000 a | about 20 s left")


@pytest.mark.parametrize(("status", "expected"), [("over_budget", 0), ("interrupted", 0), ("failed", 1)])
def test_the_leaderboard_is_written_and_only_a_failed_run_fails_the_sweep(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], status: str, expected: int
) -> None:
    save_record(tmp_path / "a", 0.5, "lora.r=1", "logger.wandb=disabled")
    save_record(tmp_path / "b", 0.75, "lora.r=2", "logger.wandb=disabled")
    save_record(tmp_path / "c", 0.0, "lora.r=4", "logger.wandb=disabled", status=status)
    rows, found = conclude(tmp_path)
    assert found == expected
    assert [row.values["r"] for row in rows] == [2, 1, 4]
    with (tmp_path / "leaderboard.csv").open(newline="") as stream:
        assert [row["r"] for row in csv.DictReader(stream)] == ["2", "1", "4"]
    assert capfd.readouterr().out.splitlines()[-1] == f"leaderboard  {tmp_path / 'leaderboard.csv'}"


def test_a_sweep_without_a_run_has_no_leaderboard(tmp_path: Path) -> None:
    assert conclude(tmp_path) == ([], 0)
    assert list(tmp_path.iterdir()) == []


def test_a_leaderboard_that_wandb_refuses_gives_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("nobody is logged in")

    save_record(tmp_path / "a", 0.5, "logger.wandb=online")
    monkeypatch.setattr("lora_agnews.training.wandb_run.log_leaderboard", refuse)
    assert conclude(tmp_path)[1] == 0
    assert "note: the leaderboard is not in W&B: nobody is logged in\n" in capfd.readouterr().err


def test_a_leaderboard_for_which_the_disk_has_no_space_gives_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    save_record(tmp_path / "a", 0.5, "logger.wandb=disabled")
    monkeypatch.setattr("lora_agnews.sweeps.progress.write_atomically", full)
    assert conclude(tmp_path)[1] == 0
    out, err = capfd.readouterr()
    assert "0.5000" in out
    assert err == f"note: {tmp_path / 'leaderboard.csv'} can't be written (No space left on device)\n"
