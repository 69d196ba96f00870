"""Several devices give the result of one."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from lora_agnews.results.predictions import load_predictions, same_rows
from lora_agnews.results.record import RunResult
from tests.commands import CACHE, ROOT, run_python
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
    assert [two.data[split] for split in ("train", "val", "test")] == [TRAIN, VAL, TEST]
    assert (two.status, shown) == ("finished", 1)
    assert two.metrics == pytest.approx(one.metrics, abs=2e-5)
    torch.testing.assert_close(adapter, expected, rtol=1e-4, atol=1e-5)
    assert two.confusion == one.confusion


NOTE_OPENED_ROWS = """
import os, sys

def note(event, values):
    if event == "open" and str(values[0]).endswith("few.csv"):
        with open(os.environ["OPENED"], "a") as stream:
            stream.write(os.environ.get("LOCAL_RANK", "0"))

sys.addaudithook(note)
"""


@pytest.mark.slow
def test_only_the_first_process_opens_the_file_of_rows(tmp_path: Path) -> None:
    """Python runs a module of this name at its start, in every process that Lightning starts."""
    (tmp_path / "sitecustomize.py").write_text(NOTE_OPENED_ROWS)
    write_labelled(tmp_path / "few.csv", 53)
    values = [f"data.train_file={tmp_path}/few.csv", "model=tiny", "data.max_length=12", "trainer.max_epochs=1"]
    values += ["trainer.precision=32-true", "trainer.accelerator=cpu", "logger.wandb=disabled", "trainer.devices=2"]
    values += [f"data.cache_dir={tmp_path}/cache", f"hydra.run.dir={tmp_path}/run"]
    places = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}", "OPENED": str(tmp_path / "opened")}
    done = run_python("train.py", *values, **places)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "opened").read_text() == "0"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "nodes"), [("srun", 1), ("srun", 2), ("torchrun", 1), ("torchrun", 2), ("hand", 2)]
)
def test_processes_that_a_launcher_starts_share_one_run(tmp_path: Path, launcher: str, nodes: int) -> None:
    """Two processes at the same time, on one node or two, with the variables that srun or torchrun sets for them.

    Two nodes that are started by hand have one process each here. On one node Lightning starts the second one itself.
    """
    per_node = 2 // nodes
    write_labelled(tmp_path / "few.csv", 53)
    values = [f"data.train_file={tmp_path}/few.csv", "model=tiny", "data.max_length=12", "trainer.max_epochs=1"]
    values += ["trainer.precision=32-true", "trainer.accelerator=cpu", "logger.wandb=disabled"]
    values += [f"trainer.devices={per_node}", f"trainer.num_nodes={nodes}"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": CACHE, "PYTHONPATH": str(ROOT)}
    if launcher == "torchrun":
        values += ["hydra.run.dir=runs/mine"]
        environment |= {"TORCHELASTIC_RUN_ID": "none", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29555"}
        environment |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": str(per_node)}
        ranks = [{"RANK": str(r), "LOCAL_RANK": str(r % per_node), "GROUP_RANK": str(r // per_node)} for r in range(2)]
    elif launcher == "hand":
        values += ["hydra.run.dir=runs/mine"]
        environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29557"}
        ranks = [{"NODE_RANK": str(r)} for r in range(2)]
    else:
        environment |= {"SLURM_JOB_ID": "29556", "SLURM_STEP_ID": "0", "SLURM_NTASKS": "2", "SLURM_JOB_NAME": "train"}
        environment |= {"SLURM_NTASKS_PER_NODE": str(per_node), "SLURM_NNODES": str(nodes)}
        environment |= {"SLURM_NODELIST": "127.0.0.1"}
        ranks = [
            {"SLURM_PROCID": str(r), "SLURM_LOCALID": str(r % per_node), "SLURM_NODEID": str(r // per_node)}
            for r in range(2)
        ]
    command = [sys.executable, str(ROOT / "train.py"), *values]
    processes = [
        subprocess.Popen(command, cwd=tmp_path, env=environment | rank, stdout=subprocess.PIPE, text=True)
        for rank in ranks
    ]
    outputs = [process.communicate(timeout=200)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert ["Trainable parameters of" in output for output in outputs] == [True, False]
    (run_dir,) = (tmp_path / "runs").iterdir()
    assert run_dir.name.endswith("-slurm29556.0" if launcher == "srun" else "mine")
    assert RunResult.load(run_dir).status == "finished"
