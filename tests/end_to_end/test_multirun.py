"""python train.py -m: every point is recorded, and the same command runs what is missing."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lora_agnews.results.ranking import find_runs
from lora_agnews.results.row import TEST
from tests.commands import run_python
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
