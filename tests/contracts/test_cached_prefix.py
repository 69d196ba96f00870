"""The cache of a prefix in real processes: a kill while it is computed, and two processes of one run."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from lora_agnews.results.record import RunResult
from tests.commands import CACHE, ROOT, run_python
from tests.files_of_rows import write_labelled

VALUES = ["model=tiny", "data=sample", "model.prefix=cached", "lora.layers=-1:", "trainer.max_steps=8"]
VALUES += ["trainer.precision=32-true", "trainer.accelerator=cpu", "logger.wandb=disabled"]


@pytest.mark.slow
def test_a_run_that_is_killed_while_it_computes_the_prefix_goes_on_with_the_next_part(tmp_path: Path) -> None:
    cache, run_dir = tmp_path / "cache", tmp_path / "run"
    command = [sys.executable, "train.py", *VALUES, f"data.cache_dir={cache}", f"hydra.run.dir={run_dir}"]
    environment = os.environ | {"XDG_CACHE_HOME": CACHE, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL) as running:
        while not (parts := list(cache.rglob("part-*.npy"))) and running.poll() is None:
            time.sleep(0.01)
        running.send_signal(signal.SIGKILL)
    written = {path: path.stat().st_mtime_ns for path in parts}
    assert 0 < len(written) < 10, "some parts of 5,000 rows"
    done = run_python("train.py", f"resume={run_dir}")
    assert done.returncode == 0, done.stderr
    assert len(list(cache.rglob("part-*.npy"))) == 8 + 2
    assert {path: path.stat().st_mtime_ns for path in written} == written
    assert not list(cache.rglob(".making-*"))


@pytest.mark.slow
def test_two_processes_train_from_one_cache_as_one_does(tmp_path: Path) -> None:
    write_labelled(tmp_path / "few.csv", 53)
    values = [*VALUES, f"data.train_file={tmp_path}/few.csv", "lora.dropout=0", f"data.cache_dir={tmp_path}/cache"]
    values.remove("data=sample")
    results, adapters = [], []
    for devices in (1, 2):
        run_dir = tmp_path / str(devices)
        done = run_python("train.py", *values, f"trainer.devices={devices}", f"hydra.run.dir={run_dir}")
        assert done.returncode == 0, done.stderr
        results.append(RunResult.load(run_dir).metrics)
        adapters.append(load_file(run_dir / "adapter" / "adapter_model.safetensors"))
    assert results[1] == pytest.approx(results[0], abs=2e-5)
    torch.testing.assert_close(adapters[1], adapters[0], rtol=1e-4, atol=1e-5)
