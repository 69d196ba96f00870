"""One run: which runs are started, continued, left unchanged or refused."""

import copy
import csv
import zlib
from pathlib import Path

import pytest

from lora_agnews.config.compose import compose_config
from lora_agnews.config.schema import TrainConfig
from lora_agnews.errors import RunLocked, UserError
from lora_agnews.files.locks import LOCK_FILE, run_lock
from lora_agnews.results.predictions import PREDICTIONS_FILE, TEST_PREDICTIONS_FILE, is_correct, load_predictions
from lora_agnews.results.record import RunResult
from lora_agnews.training.run import run
from tests.resuming import train

BEGAN = ["experiment=quickstart", "lora.r=2", "seed=5"]


def test_an_early_stop_is_a_success(short_config: TrainConfig, tmp_path: Path) -> None:
    never_better = copy.deepcopy(short_config)
    never_better.optim.lr, never_better.trainer.early_stopping_patience = 1e-12, 1
    result = train(tmp_path, never_better)
    assert (result.status, result.succeeded) == ("stopped_early", True)


def test_a_run_stores_its_predictions_of_the_best_validation_and_of_the_test(
    short_config: TrainConfig, tmp_path: Path
) -> None:
    result = train(tmp_path, short_config)
    assert short_config.data.train_file == short_config.data.test_file
    with Path(str(short_config.data.train_file)).open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    for split, name in (("val", PREDICTIONS_FILE), ("test", TEST_PREDICTIONS_FILE)):
        found = load_predictions(tmp_path, name)
        assert found is not None
        assert len(found) == result.data[split]
        assert is_correct(found).mean() == pytest.approx(result.metrics[f"{split}/accuracy"], abs=1e-6)
        assert [zlib.crc32(rows[number]["text"].encode()) for number in found["row"]] == found["text"].tolist()
    assert sum(result.data["train_classes"]) == result.data["train"]


@pytest.mark.parametrize("status", ["finished", "stopped_early"])
def test_a_finished_run_is_not_changed(tmp_path: Path, capfd: pytest.CaptureFixture[str], status: str) -> None:
    short_config = compose_config([*BEGAN, f"resume={tmp_path}"])
    about = {"metrics": {"val/accuracy": 0.5}, "seconds": {"total": 1.0}}
    RunResult(short_config.to_dict(), 5, "", status=status, **about).save(tmp_path)
    before = (tmp_path / "result.json").read_bytes()
    assert run(short_config, tmp_path).metrics == {"val/accuracy": 0.5}
    assert (tmp_path / "result.json").read_bytes() == before
    assert "nothing to continue" in capfd.readouterr().err


def test_a_run_whose_curves_are_damaged_is_not_continued_and_keeps_its_record(
    short_config: TrainConfig, tmp_path: Path
) -> None:
    config = copy.deepcopy(short_config)
    config.trainer.early_stopping_patience = 0
    assert run(config, tmp_path).succeeded
    before, curves = (tmp_path / "result.json").read_bytes(), tmp_path / "metrics.csv"
    curves.write_bytes(curves.read_bytes()[:20])
    config.resume, config.trainer.max_epochs = str(tmp_path), config.trainer.max_epochs + 1
    with pytest.raises(UserError, match=r"metrics\.csv: damaged; delete it"):
        run(config, tmp_path)
    assert (tmp_path / "result.json").read_bytes() == before


def test_two_processes_do_not_work_on_one_run(tmp_path: Path) -> None:
    with run_lock(tmp_path), pytest.raises(RunLocked, match="another process is working on this run"):
        run(compose_config(BEGAN), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [LOCK_FILE]


def test_a_directory_with_a_run_is_never_overwritten(tmp_path: Path) -> None:
    config = compose_config(BEGAN)
    RunResult.of(config, status="failed").save(tmp_path)
    before = (tmp_path / "result.json").read_bytes()
    with pytest.raises(UserError, match=f"already contains a run, which is not overwritten.*resume={tmp_path}"):
        run(config, tmp_path)
    assert (tmp_path / "result.json").read_bytes() == before


def test_a_run_over_the_budget_ends_before_anything_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lora_agnews.training.run.find_encoder", None)
    result = run(compose_config(["model=roberta_large"]), tmp_path)
    assert (result.status, result.budget["room"]) == ("over_budget", -154_052)
    assert "Use model.head=lora" in str(result.error)
    assert {path.name for path in tmp_path.iterdir()} == {LOCK_FILE, "config.yaml", "result.json"}


@pytest.mark.parametrize("status", ["finished", "stopped_early"])
def test_a_worker_rank_of_a_finished_run_ends_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    config = compose_config([*BEGAN, "trainer.devices=2", f"resume={tmp_path}"])
    RunResult.of(config, status=status, metrics={"val/accuracy": 0.5}, seconds={"total": 1.0}).save(tmp_path)
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr("lora_agnews.training.run._run", None)
    assert run(config, tmp_path).status == status


def test_a_worker_rank_leaves_no_files_and_logs_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def inner(config: TrainConfig, run_dir: Path, *_: object) -> RunResult:
        seen.append((config.logger.wandb, run_dir, (run_dir / "checkpoints").resolve()))
        (run_dir / "result.json").write_text("{}")
        return RunResult.of(config)

    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr("lora_agnews.training.run._run", inner)
    monkeypatch.setattr("lora_agnews.terminal.console.silence", lambda: None)
    run(compose_config([*BEGAN, "trainer.devices=2"]), tmp_path)
    ((wandb, folder, checkpoints),) = seen
    assert wandb == "disabled"
    assert folder != tmp_path
    assert not folder.exists()
    assert checkpoints == tmp_path / "checkpoints", "it reads the checkpoints of the first process"
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoints"]


@pytest.mark.parametrize(
    ("override", "note"),
    [
        ("model.head=out_proj", "model.head=out_proj: no adapter on classifier.dense"),
        (
            "trainer.extra={gradient_clip_algorithm:value}",
            "trainer.extra.gradient_clip_algorithm has no effect while trainer.gradient_clip=0",
        ),
    ],
)
def test_a_choice_without_effect_gives_a_note(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], override: str, note: str
) -> None:
    with pytest.raises(UserError, match=r"none\.csv: no such file"):
        run(compose_config(["model=tiny", override, "data.train_file=none.csv"]), tmp_path)
    assert f"note: {note}\n" in capfd.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == [LOCK_FILE]
