"""One run: which runs are started, continued, left unchanged or refused."""

import copy
from pathlib import Path

import pytest

from lora_agnews.config.compose import compose_config
from lora_agnews.config.schema import TrainConfig
from lora_agnews.errors import RunLocked
from lora_agnews.files.locks import LOCK_FILE, run_lock
from lora_agnews.results.record import RunResult
from lora_agnews.training.run import run
from tests.resuming import train

BEGAN = ["experiment=quickstart", "lora.r=2", "seed=5"]


def test_an_early_stop_is_a_success(short_config: TrainConfig, tmp_path: Path) -> None:
    never_better = copy.deepcopy(short_config)
    never_better.optim.lr, never_better.trainer.early_stopping_patience = 1e-12, 1
    result = train(tmp_path, never_better)
    assert (result.status, result.succeeded) == ("stopped_early", True)


@pytest.mark.parametrize("status", ["finished", "stopped_early"])
def test_a_finished_run_is_not_changed(tmp_path: Path, capfd: pytest.CaptureFixture[str], status: str) -> None:
    short_config = compose_config([*BEGAN, f"resume={tmp_path}"])
    RunResult(short_config.to_dict(), 5, "", status=status, metrics={"val/accuracy": 0.5}).save(tmp_path)
    before = (tmp_path / "result.json").read_bytes()
    assert run(short_config, tmp_path).metrics == {"val/accuracy": 0.5}
    assert (tmp_path / "result.json").read_bytes() == before
    assert "nothing to continue" in capfd.readouterr().err


def test_two_processes_do_not_work_on_one_run(tmp_path: Path) -> None:
    with run_lock(tmp_path), pytest.raises(RunLocked, match="another process is working on this run"):
        run(compose_config(BEGAN), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [LOCK_FILE]
