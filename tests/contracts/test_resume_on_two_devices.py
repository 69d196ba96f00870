"""A run on two devices that is stopped in the middle of an epoch and resumed is the uninterrupted one, with dropout."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from lora_agnews.results.record import RunResult, Status
from tests.commands import CACHE, ROOT, run_python
from tests.files_of_rows import write_labelled

STEPS_PER_EPOCH, EPOCHS = 13, 6


@pytest.fixture(scope="module")
def overrides(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    few = write_labelled(tmp_path_factory.mktemp("rows") / "few.csv", 53)
    values = [f"data.train_file={few}", f"data.test_file={few}", "data.max_length=12", "data.batch_size=15"]
    values += ["model=tiny", "lora.dropout=0.4", "optim.lr=5e-3", f"trainer.max_epochs={EPOCHS}"]
    values += ["trainer.precision=32-true", "trainer.accelerator=cpu", "trainer.devices=2", "logger.wandb=disabled"]
    return [*values, "trainer.checkpoint_every=1", "trainer.early_stopping_patience=0"]


@pytest.fixture(scope="module")
def whole(overrides: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that is not stopped."""
    run_dir = tmp_path_factory.mktemp("whole") / "run"
    done = run_python("train.py", *overrides, f"hydra.run.dir={run_dir}")
    assert done.returncode == 0, done.stderr
    return run_dir


def start(overrides: list[str], run_dir: Path, until: str) -> subprocess.Popen[bytes]:
    """Start a run in a process group of its own, and return when it has written this checkpoint."""
    command = [sys.executable, "train.py", *overrides, f"hydra.run.dir={run_dir}"]
    environment = os.environ | {"XDG_CACHE_HOME": CACHE, "OMP_NUM_THREADS": "1"}
    running = subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True)
    while not (run_dir / "checkpoints" / until).exists() and running.poll() is None:
        time.sleep(0.01)
    assert running.poll() is None
    return running


def last_checkpoint(run_dir: Path) -> dict[str, Any]:
    saved: dict[str, Any] = torch.load(run_dir / "checkpoints" / "last.ckpt", weights_only=True)
    return saved


def check_that_it_continues_as_the_whole_run(stopped: Path, whole: Path) -> None:
    assert len(last_checkpoint(stopped)["random"]) == 2, "a random state per process"
    done = run_python("train.py", f"resume={stopped}")
    assert done.returncode == 0, done.stderr
    assert RunResult.load(stopped).metrics == RunResult.load(whole).metrics
    found, expected = (last_checkpoint(run_dir)["state_dict"] for run_dir in (stopped, whole))
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.slow
def test_a_killed_and_resumed_run_is_the_uninterrupted_one(overrides: list[str], whole: Path, tmp_path: Path) -> None:
    with start(overrides, tmp_path / "run", "previous.ckpt") as running:
        os.killpg(running.pid, signal.SIGKILL)
    assert 0 < last_checkpoint(tmp_path / "run")["global_step"] < STEPS_PER_EPOCH, "in the middle of the first epoch"
    check_that_it_continues_as_the_whole_run(tmp_path / "run", whole)


@pytest.mark.slow
@pytest.mark.parametrize("receiver", ["first process", "both processes"])
def test_after_sigterm_both_processes_stop_with_a_checkpoint_to_resume_from(
    overrides: list[str], whole: Path, tmp_path: Path, receiver: str
) -> None:
    """Slurm sends the signal to both processes, `kill` to the first one."""
    with start(overrides, tmp_path / "run", "last.ckpt") as running:
        processes = psutil.Process(running.pid).children(recursive=True)
        (os.killpg if receiver == "both processes" else os.kill)(running.pid, signal.SIGTERM)
        assert running.wait(timeout=60) == 130
    assert len(processes) == 1, "the second device"
    _, alive = psutil.wait_procs(processes, timeout=20)
    assert [each for each in alive if each.status() != psutil.STATUS_ZOMBIE] == []
    result = RunResult.load(tmp_path / "run")
    assert (result.status, result.error) == (Status.INTERRUPTED, "interrupted")
    assert 0 < last_checkpoint(tmp_path / "run")["global_step"] < STEPS_PER_EPOCH * EPOCHS
    check_that_it_continues_as_the_whole_run(tmp_path / "run", whole)
