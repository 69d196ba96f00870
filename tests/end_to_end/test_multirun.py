"""python train.py -m: every point is recorded, and the same command runs what is missing."""

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from importlib.metadata import distributions
from pathlib import Path

import pytest

from lora_agnews.results.ranking import find_runs
from lora_agnews.results.row import TEST
from tests.commands import ROOT, run_python
from tests.studies import statuses


def test_a_multirun_records_every_point(short_run: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "my sweep"
    command = [
        "train.py",
        "-m",
        *short_run,
        "lora.r=1,203",
        "trainer.accelerator=cpu,cuda",
        f"hydra.sweep.dir='{folder}'",
    ]
    done = run_python(*command, CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 1, done.stderr
    found = statuses(folder)
    assert found == {
        "r=1,accelerator=cpu": "finished",
        "r=1,accelerator=cuda": "failed",
        "r=203,accelerator=cpu": "over_budget",
        "r=203,accelerator=cuda": "over_budget",
    }
    runs = {path.name.rpartition("-")[0]: (path, result) for path, result in find_runs([folder])}
    failed, _ = runs["r=1,accelerator=cuda"]
    assert "Traceback" in (failed / "train.log").read_text()
    assert not list(runs["r=203,accelerator=cpu"][0].glob("checkpoints"))
    assert runs["r=1,accelerator=cpu"][1].config["logger"]["group"] == "my sweep"
    lines = (folder / "leaderboard.csv").read_text().splitlines()
    assert [line.split(",")[:3] for line in lines[:2]] == [["r", "accelerator", "n"], ["1", "cpu", "1"]]
    assert "[4/4] r=203,accelerator=cuda" in done.stdout
    assert "1/4 done | 2 over budget | 1 failed | best" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.slow
def test_the_same_multirun_again_runs_what_is_missing(short_run: list[str], tmp_path: Path) -> None:
    command = [
        "train.py",
        "-m",
        *short_run,
        "lora.r=1,203",
        "trainer.accelerator=cpu,cuda",
        f"hydra.sweep.dir={tmp_path}",
    ]
    with ThreadPoolExecutor(2) as pool:  # twice at the same time, too: each leaves the other's points alone
        both = list(pool.map(lambda _: run_python(*command, CUDA_VISIBLE_DEVICES="", OMP_NUM_THREADS="1"), range(2)))
    assert [done.returncode for done in both] == [1, 1]
    assert "Traceback" not in "".join(done.stdout + done.stderr for done in both)
    (finished,) = [path for path, result in find_runs([tmp_path]) if result.succeeded]
    before = (finished / "result.json").read_bytes()
    again = run_python(*command, CUDA_VISIBLE_DEVICES="")
    assert again.stdout.count("done before") == 3
    assert (finished / "result.json").read_bytes() == before
    assert again.returncode == 1, "the one that failed was tried again, and failed"


@pytest.mark.slow
def test_a_multirun_tests_its_winner_and_the_same_command_finds_it_tested(short_run: list[str], tmp_path: Path) -> None:
    (train_file,) = [line for line in short_run if line.startswith("data.train_file=")]
    rows = [*short_run, train_file.replace("train", "test")]
    command = ["train.py", "-m", *rows, "optim.lr=1e-9,1e-2", "seed=0,1", f"hydra.sweep.dir={tmp_path}"]

    def tested() -> dict[str, bytes]:
        found = find_runs([tmp_path])
        return {path.name[:7]: (path / "result.json").read_bytes() for path, run in found if TEST in run.metrics}

    assert run_python(*command, "test=none").returncode == 0
    assert tested() == {}
    for _ in range(2):
        done = run_python(*command)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("done before") == 4
        first = tested()
        assert set(first) == {"lr=0.01"}
        assert sum(TEST in run.metrics for _, run in find_runs([tmp_path])) == 2
    done = run_python(*command, "test=all")
    assert done.returncode == 0, done.stderr
    assert first.items() < tested().items()
    assert all(TEST in run.metrics for _, run in find_runs([tmp_path]))


@pytest.mark.slow
def test_submitit_runs_each_point_in_a_job_of_its_own(short_run: list[str], tmp_path: Path) -> None:
    launcher = ["hydra/launcher=submitit_local", "hydra.launcher.timeout_min=5"]
    line = ["train.py", "-m", *short_run, "lora.r=1,203,2", f"hydra.sweep.dir={tmp_path}", *launcher]
    done = run_python(*line)
    assert done.returncode == 0, done.stderr
    assert statuses(tmp_path) == {"r=1": "finished", "r=2": "finished", "r=203": "over_budget"}
    assert (tmp_path / "leaderboard.csv").exists()


@contextmanager
def ray_cluster(environment: dict[str, str]) -> Iterator[str]:
    """A cluster of this machine alone, which was started in another directory than the repository."""
    folder = Path(tempfile.mkdtemp(prefix="ray"))  # short, because the paths of Ray's sockets must be
    line = [
        sys.executable,
        "-m",
        "ray.scripts.scripts",
        "start",
        "--head",
        "--block",
        "--num-cpus=2",
        "--port=0",
        f"--temp-dir={folder}",
    ]
    line += ["--include-dashboard=false", "--disable-usage-stats"]
    with (folder / "said").open("w") as said:
        head = subprocess.Popen(line, cwd=folder, env=os.environ | environment, stdout=said, stderr=said)
    try:
        address = folder / "ray_current_cluster"
        until = time.monotonic() + 120
        while not address.exists():
            assert head.poll() is None, (folder / "said").read_text()
            assert time.monotonic() < until
            time.sleep(0.2)
        yield address.read_text().strip()
    finally:
        head.terminate()
        head.wait(60)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
@pytest.mark.skipif(not list(distributions(name="hydra-ray-launcher")), reason="hydra-ray-launcher is not installed")
@pytest.mark.parametrize("kind", ["local", "cluster"])
def test_ray_runs_each_point_in_a_task_of_its_own(short_run: list[str], tmp_path: Path, kind: str) -> None:
    """The winner is tested by the process that was started; with a directory that is not absolute, too."""
    (train_file,) = [line for line in short_run if line.startswith("data.train_file=")]
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    environment = token | {"HOME": str(tmp_path), "RAY_USAGE_STATS_ENABLED": "0"}
    sweep_dir = os.path.relpath(tmp_path / "sweep", ROOT)
    line = ["train.py", "-m", *short_run, train_file.replace("train", "test"), "lora.r=1,203,2"]
    line += [f"hydra.sweep.dir={sweep_dir}", "hydra/launcher=ray"]
    with ray_cluster(environment) if kind == "cluster" else nullcontext() as address:
        if address:
            line += [
                f"hydra.launcher.ray.init.address='{address}'",
                "+hydra.launcher.ray.init.object_store_memory=null",
            ]
        done = run_python(*line, limit=900, **environment)
    assert done.returncode == 0, done.stderr
    assert statuses(tmp_path / "sweep") == {"r=1": "finished", "r=2": "finished", "r=203": "over_budget"}
    assert (tmp_path / "sweep" / "leaderboard.csv").exists()
    assert sum(TEST in run.metrics for _, run in find_runs([tmp_path / "sweep"])) == 1
