"""A run on two devices that is killed in the middle of an epoch and resumed is the uninterrupted one, with dropout."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from lora_agnews.results.record import RunResult
from tests.commands import CACHE, ROOT, run_python
from tests.files_of_rows import write_labelled


@pytest.mark.slow
def test_a_killed_and_resumed_run_on_two_devices_is_the_uninterrupted_one(tmp_path: Path) -> None:
    write_labelled(tmp_path / "few.csv", 53)
    values = [f"data.train_file={tmp_path}/few.csv", f"data.test_file={tmp_path}/few.csv", "lora.dropout=0.4"]
    values += ["model=tiny", "data.max_length=12", "data.batch_size=15", "trainer.max_epochs=2", "optim.lr=5e-3"]
    values += ["trainer.precision=32-true", "trainer.accelerator=cpu", "trainer.devices=2", "logger.wandb=disabled"]
    values += ["trainer.checkpoint_every=1"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    done = run_python("train.py", *values, f"hydra.run.dir={whole}")
    assert done.returncode == 0, done.stderr
    command = [sys.executable, "train.py", *values, f"hydra.run.dir={killed}"]
    environment = os.environ | {"XDG_CACHE_HOME": CACHE, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True) as running:
        while not (killed / "checkpoints" / "previous.ckpt").exists() and running.poll() is None:
            time.sleep(0.01)
        os.killpg(running.pid, signal.SIGKILL)
    saved = torch.load(killed / "checkpoints" / "last.ckpt", weights_only=True)
    assert 0 < saved["global_step"] < 13, "in the middle of the first epoch"
    assert len(saved["random"]) == 2, "a random state per process"
    done = run_python("train.py", f"resume={killed}")
    assert done.returncode == 0, done.stderr
    assert RunResult.load(killed).metrics == RunResult.load(whole).metrics
    last = [torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True) for folder in (killed, whole)]
    torch.testing.assert_close(last[0]["state_dict"], last[1]["state_dict"], rtol=0, atol=0)
