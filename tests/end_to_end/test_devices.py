"""Several devices give the result of one."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from lora_agnews.results.predictions import load_predictions, same_rows
from lora_agnews.results.record import RunResult
from tests.commands import run_python
from tests.files_of_rows import write_labelled


@pytest.mark.slow
def test_two_processes_give_the_result_of_one(tmp_path: Path) -> None:
    """DDP over gloo: the same rows a step, a last batch of an odd number of them, no dropout."""
    write_labelled(tmp_path / "few.csv", 53)
    values = [f"data.train_file={tmp_path}/few.csv", f"data.test_file={tmp_path}/few.csv", "lora.dropout=0"]
    values += ["model=tiny", "data.max_length=12", "data.batch_size=15", "trainer.max_epochs=2", "optim.lr=5e-3"]
    values += ["trainer.precision=32-true", "trainer.accelerator=cpu", "logger.wandb=disabled"]
    found, predictions = [], []
    for devices in (1, 2):
        run_dir = tmp_path / str(devices)
        done = run_python("train.py", *values, f"trainer.devices={devices}", f"hydra.run.dir={run_dir}")
        assert done.returncode == 0, done.stderr
        adapter = load_file(run_dir / "adapter" / "adapter_model.safetensors")
        predictions.append(load_predictions(run_dir))
        found.append((RunResult.load(run_dir), adapter, done.stdout.count("Trainable parameters of")))
    (one, expected, _), (two, adapter, shown) = found
    assert same_rows(*predictions)
    assert predictions[1]["predicted"].tolist() == predictions[0]["predicted"].tolist()
    assert (two.status, shown) == ("finished", 1)
    assert two.metrics == pytest.approx(one.metrics, abs=2e-5)
    torch.testing.assert_close(adapter, expected, rtol=1e-4, atol=1e-5)
    assert two.confusion == one.confusion
