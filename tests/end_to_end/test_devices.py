"""Several devices give the result of one."""

import csv
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from lora_agnews.results.record import RunResult
from tests.commands import run_python
from tests.files_of_rows import write_labelled

TRAIN, VAL, TEST = 195, 21, 5  # rows


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Overrides for training, validation and test rows that can't be divided by two."""
    for name, per_class, more in (("train.csv", 53, TRAIN + VAL - 4 * 53), ("test.csv", 1, TEST - 4)):
        with write_labelled(tmp_path / name, per_class).open("a", newline="") as stream:
            csv.writer(stream).writerows([f"war and peace {i}", 0] for i in range(more))
    return [f"data.train_file={tmp_path}/train.csv", f"data.test_file={tmp_path}/test.csv"]


@pytest.mark.slow
@pytest.mark.parametrize(("batch_size", "last"), [(16, 3), (19, 5), (97, 1)])
def test_two_processes_give_the_result_of_one(files: list[str], tmp_path: Path, batch_size: int, last: int) -> None:
    """DDP over gloo: the same rows a step, a last batch of 3, 5 or 1 rows, one process with one batch more of the test
    rows, and no dropout, of which each process draws its own.
    """
    assert TRAIN % batch_size == last
    values = [*files, f"data.batch_size={batch_size}", "data.eval_batch_size=2", "lora.dropout=0", "data.max_length=12"]
    values += ["model=tiny", "trainer.max_epochs=2", "optim.lr=5e-3", "trainer.precision=32-true"]
    values += ["trainer.accelerator=cpu", "logger.wandb=disabled"]
    found = []
    for devices in (1, 2):
        run_dir = tmp_path / str(devices)
        done = run_python("train.py", *values, f"trainer.devices={devices}", f"hydra.run.dir={run_dir}")
        assert done.returncode == 0, done.stderr
        adapter = load_file(run_dir / "adapter" / "adapter_model.safetensors")
        found.append((RunResult.load(run_dir), adapter, done.stdout.count("Trainable parameters of")))
    (one, expected, _), (two, adapter, shown) = found
    assert [two.data[split] for split in ("train", "val", "test")] == [TRAIN, VAL, TEST]
    assert (two.status, shown) == ("finished", 1)
    assert two.metrics == pytest.approx(one.metrics, abs=2e-5)
    torch.testing.assert_close(adapter, expected, rtol=1e-4, atol=1e-5)
    assert two.confusion == one.confusion
