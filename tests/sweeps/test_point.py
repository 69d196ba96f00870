"""One run of a sweep: skipped, continued or started, and never raising."""

import logging
from pathlib import Path

import pytest

from lora_agnews.config.compose import compose_config
from lora_agnews.config.schema import TrainConfig
from lora_agnews.errors import RunLocked, UserError
from lora_agnews.files.locks import LOCK_FILE, run_lock
from lora_agnews.results.record import RunResult
from lora_agnews.sweeps import point
from lora_agnews.sweeps.point import run_point
from lora_agnews.sweeps.progress import SweepProgress, conclude
from lora_agnews.terminal import console
from lora_agnews.training.in_process import log_file
from lora_agnews.training.in_sweep import InSweep
from tests.records import save_record


def test_a_point_that_cannot_run_is_recorded_with_the_remedy_and_tried_again(
    short_run: list[str], tmp_path: Path
) -> None:
    board = SweepProgress(tmp_path, 2)
    for _ in range(2):
        config = compose_config([*short_run, "lora.target_modules=[quary]"])
        result = board.run(config, tmp_path / "point")
        assert result.status == RunResult.load(tmp_path / "point").status == "failed"
        assert "quary" in (result.error or "")
    assert conclude(tmp_path)[1] == 1


@pytest.mark.parametrize("status", ["finished", "stopped_early", "over_budget"])
def test_a_point_that_is_done_is_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: str) -> None:
    monkeypatch.setattr(point, "run", None)
    config = compose_config(["model=tiny"])
    RunResult.of(config, status=status, metrics={"val/accuracy": 0.5}, seconds={"total": 1.0}).save(tmp_path)
    assert run_point(config, tmp_path, "group", InSweep()).status == status


def test_a_point_with_a_damaged_record_is_left_as_it_is_and_fails_the_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(point, "run", None)
    path = tmp_path / "r=1" / "result.json"
    path.parent.mkdir()
    path.write_text("{")
    SweepProgress(tmp_path, 2).run(compose_config(["model=tiny"]), path.parent)
    assert path.read_text() == "{"
    assert conclude(tmp_path)[1] == 1
    out, err = capfd.readouterr()
    assert f"[1/2] r=1  damaged: {path}: not a record of this version: " in out
    assert "0/2 done | 1 damaged" in out
    assert f"note: {path}: not a record" in err


@pytest.mark.parametrize("status", [None, "interrupted", "failed", "running"])
def test_any_other_point_is_started_or_continued_in_the_group_of_its_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: str | None
) -> None:
    config = compose_config(["model=tiny"])
    if status:
        RunResult.of(config, status=status).save(tmp_path)
    given: list[tuple[str | None, str | None]] = []

    def run(config: TrainConfig, run_dir: Path, in_sweep: InSweep) -> RunResult:
        assert not in_sweep.is_tested, "the sweep tests its winner"
        given.append((config.resume, config.logger.group))
        return RunResult.of(config, status="finished")

    monkeypatch.setattr(point, "run", run)
    assert run_point(config, tmp_path, "my sweep", InSweep()).succeeded
    assert given == [(str(tmp_path) if status else None, "my sweep")]


def test_a_run_that_another_process_has_just_finished_keeps_its_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = compose_config(["model=tiny"])

    def run(config: TrainConfig, run_dir: Path, _: InSweep) -> RunResult:
        RunResult.of(config, status="finished", metrics={"val/accuracy": 0.5}, seconds={"total": 1.0}).save(run_dir)
        raise UserError("already contains a run")

    monkeypatch.setattr(point, "run", run)
    assert run_point(config, tmp_path, "group", InSweep()).status == "finished"
    assert RunResult.load(tmp_path).status == "finished"


def test_a_group_that_was_given_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = compose_config(["model=tiny", "logger.group=mine"])
    monkeypatch.setattr(point, "run", lambda config, *_, **__: RunResult.of(config, status="finished"))
    assert run_point(config, tmp_path, "my sweep", InSweep()).config["logger"]["group"] == "mine"


def test_a_point_is_tested_at_its_end_if_all_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[bool] = []

    def run(config: TrainConfig, run_dir: Path, in_sweep: InSweep) -> RunResult:
        given.append(in_sweep.is_tested)
        return RunResult.of(config, status="finished")

    monkeypatch.setattr(point, "run", run)
    for which in ("winner", "tied", "all", "none"):
        run_point(compose_config(["model=tiny", f"test={which}"]), tmp_path / which, "group", InSweep())
    assert given == [False, False, True, False]


def test_a_run_on_several_devices_is_no_point_of_a_sweep(tmp_path: Path) -> None:
    result = run_point(compose_config(["model=tiny", "trainer.devices=2"]), tmp_path, "group", InSweep())
    assert result.status == "failed"
    assert "workers=N" in str(result.error)


def test_a_point_on_which_another_process_works_is_left_to_it(tmp_path: Path) -> None:
    with run_lock(tmp_path), pytest.raises(RunLocked):
        run_point(compose_config(["model=tiny"]), tmp_path, "group", InSweep())
    assert list(tmp_path.iterdir()) == [tmp_path / LOCK_FILE]


def test_the_output_of_a_run_is_suppressed_and_that_of_the_sweep_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def run(config: TrainConfig, *_: object, **__: object) -> RunResult:
        console.print_line("a table")
        return RunResult.of(config, status="finished")

    monkeypatch.setattr(point, "run", run)
    run_point(compose_config(["model=tiny"]), tmp_path, "group", InSweep())
    console.print_line("a line of the sweep")
    assert capfd.readouterr().out == "a line of the sweep\n"


def test_the_messages_of_libraries_are_in_the_log_of_their_run(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log = logging.getLogger("a library")
    with log_file(tmp_path / "first"):
        log.info("one")
        with log_file(tmp_path / "second"):
            log.warning("two")
        log.info("three")
    texts = [(tmp_path / name / "train.log").read_text().splitlines() for name in ("first", "second")]
    assert [[line.rpartition(" - ")[2] for line in lines] for lines in texts] == [["one", "three"], ["two"]]
    assert capfd.readouterr() == ("", "")


def test_the_run_of_another_configuration_is_not_taken_for_this_point(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    save_record(run_dir, 0.9, "model=tiny", "lora.r=4")
    with pytest.raises(UserError, match=r"has a run of another configuration.*Give the sweep a new directory"):
        run_point(compose_config(["model=tiny"]), run_dir, "group", InSweep())
    assert RunResult.load(run_dir).config["model"]["lora"]["r"] == 4
