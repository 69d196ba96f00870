"""Sweeps that finish: multiruns and studies skip, record, resume and rank, alone and with others."""

import csv
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import optuna
import pytest

from lora_agnews.config.compose import compose_config, compose_study
from lora_agnews.config.points import name_run
from lora_agnews.errors import RunPruned, UserError
from lora_agnews.results.ranking import find_runs
from lora_agnews.results.record import RunResult
from lora_agnews.sweeps import study
from lora_agnews.sweeps.progress import SweepProgress, conclude
from lora_agnews.sweeps.run_study import run_study
from lora_agnews.sweeps.space import grid_points, parse_space, random_points
from lora_agnews.sweeps.study import Study
from tests.commands import CACHE, ROOT, run_python

CONDITIONAL = {
    "model.head": ["full", "out_proj"],
    "lora.r": {"low": 1, "high": 64, "log": True},
    "optim.lr": {"low": 1e-4, "high": 1e-2, "log": True, "when": {"model.head": "out_proj"}},
}


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Overrides of runs that take a second: 72 rows to train on, 8 to validate."""
    path = tmp_path_factory.mktemp("rows") / "few.csv"
    with path.open("w", newline="") as stream:
        file = csv.writer(stream)
        file.writerow(["text", "label"])
        for label, word in enumerate(("war", "goal", "shares", "chips")):
            file.writerows([f"{word} {i}", label] for i in range(20))
    values = ["model=tiny", f"data.train_file={path}", "data.max_length=8", "data.batch_size=24", "data.cache_dir=null"]
    values += ["trainer.max_epochs=1", "trainer.precision=32-true", "logger.wandb=disabled"]
    return [value for value in values if not value.endswith("cache_dir=null")]


def study_of(folder: Path, *lines: str) -> Any:
    return compose_study(["study=smoke", f"dir={folder}", *lines])


def statuses(folder: Path) -> dict[str, str]:
    return {path.name.rpartition("-")[0]: result.status for path, result in find_runs([folder])}


def test_a_grid_holds_every_combination_and_only_what_its_condition_lets_in() -> None:
    axes = parse_space({"model.head": ["full", "lora"], "lora.r": {"choices": [1, 2], "when": {"model.head": "lora"}}})
    assert list(grid_points(axes)) == [
        {"model.head": "full"},
        {"model.head": "lora", "lora.r": 1},
        {"model.head": "lora", "lora.r": 2},
    ]


def test_random_points_are_in_their_ranges_and_the_same_for_the_same_seed() -> None:
    axes = parse_space(CONDITIONAL)
    points = list(islice(random_points(axes, 7), 300))
    assert points == list(islice(random_points(axes, 7), 300)) != list(islice(random_points(axes, 8), 300))
    assert {1, 2, 64} <= {point["lora.r"] for point in points} <= set(range(1, 65))
    assert sum(point["lora.r"] <= 8 for point in points) > 120, "half of them, where the logarithm is uniform"
    assert all(("optim.lr" in point) == (point["model.head"] == "out_proj") for point in points)
    assert all(1e-4 <= point["optim.lr"] <= 1e-2 for point in points if "optim.lr" in point)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"lora.r": 3}, "space.lora.r=3: must be a list of values, or"),
        ({"lora.r": []}, "must be a list of values"),
        ({"lora.r": {"low": 4, "high": 1}}, "low below high"),
        ({"lora.r": {"low": 0, "high": 1, "log": True}}, "log needs low above 0"),
        ({"lora.r": {"low": 1, "hihg": 2}}, "must be a list"),
        ({"lora.r": {"choices": [1], "low": 1, "high": 2}}, "must be a list"),
        ({"lora.r": {"choices": [1], "when": {"model.head": "lora"}}}, "when names model.head, which"),
    ],
    ids=str,
)
def test_a_space_that_cannot_be_read_is_told(space: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_space(space)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["study=smok"], r"study=smok: must be one of .* \(did you mean smoke\?\)"),
        (["workers=0"], "workers=0: must be a whole number at least 1"),
        (["workers=two"], "workers=two: must be a whole number"),
        (["sampler=sobol"], "sampler=sobol: must be one of grid, random, tpe"),
        (["sampler=tpe"], "trials=null: sampler=tpe goes on for ever; add trials=NUMBER"),
        (["seeds=[]"], "space and seeds need at least one value each"),
        (["seeds=[1,1]"], "no seed twice"),
        (["seed=1"], r"seed=1: a study has seeds="),
        (["minimize_parameters=true", "pruner=median"], "pruner with minimize_parameters=true"),
        (["lora.rr=1"], r"there is no key lora\.rr \(did you mean lora\.r\?\)"),
        (["dir="], "dir=''"),
    ],
    ids=str,
)
def test_a_bad_line_of_a_study_is_told_before_anything_is_created(lines: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        compose_study(["study=smoke", *lines])


STUDIES = sorted(path.stem for path in (ROOT / "conf" / "study").glob("*.yaml"))
LARGE = ("heads", "reference")  # seconds


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in LARGE else []) for name in STUDIES]
)
def test_the_shipped_studies_can_be_built(name: str) -> None:
    shipped = Study(compose_study([f"study={name}"]))
    assert shipped.num_runs
    assert all(not isinstance(budget, Exception) for _, budget in shipped.budgets)


def test_points_over_the_budget_are_no_trials(rows: list[str], tmp_path: Path) -> None:
    found = Study(study_of(tmp_path, "budget.max_trainable=80000", *rows))
    assert [(point["lora.r"], budget.fits) for point, budget in found.budgets] == [(1, True), (4, False)]
    assert found.points == [{"lora.r": 1}]
    random = study_of(tmp_path, "budget.max_trainable=80000", "sampler=random", "trials=2", *rows)
    with pytest.raises(UserError, match="200 random points gave 1 that fit the budget"):
        Study(random)


def test_the_name_of_a_run_says_what_varies_and_tells_configurations_apart() -> None:
    config, other = (compose_config(["model=tiny", f"optim.lr={lr}"]) for lr in ("1e-3", "2e-3"))
    name = name_run(config, {"model.lora.r": 1, "data.train_file": "a/b c.csv"})
    assert name.startswith("r=1,train_file=a_b_c.csv-")
    assert name != name_run(other, {"model.lora.r": 1, "data.train_file": "a/b c.csv"})
    assert name_run(config, {}).startswith("run-")


def test_a_multirun_records_every_point(rows: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "my sweep"
    command = ["train.py", "-m", *rows, "lora.r=1,203", "trainer.accelerator=cpu,cuda", f"hydra.sweep.dir='{folder}'"]
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
def test_the_same_multirun_again_runs_what_is_missing(rows: list[str], tmp_path: Path) -> None:
    command = ["train.py", "-m", *rows, "lora.r=1,203", "trainer.accelerator=cpu,cuda", f"hydra.sweep.dir={tmp_path}"]
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


def test_a_point_that_cannot_run_is_recorded_with_the_remedy_and_tried_again(rows: list[str], tmp_path: Path) -> None:
    board = SweepProgress(tmp_path, 2)
    for _ in range(2):
        config = compose_config([*rows, "lora.target_modules=[quary]"])
        result = board.run(config, tmp_path / "point")
        assert result.status == RunResult.load(tmp_path / "point").status == "failed"
        assert "quary" in (result.error or "")
    assert conclude(tmp_path)[1] == 1


def test_a_study_runs_its_points_once_and_ranks_them(rows: list[str], tmp_path: Path, capfd: Any) -> None:
    config = study_of(tmp_path, *rows)
    assert run_study(config, []) == 0
    assert set(statuses(tmp_path)) == {f"r={r},seed={seed}" for r in (1, 4) for seed in (0, 1)}
    assert set(statuses(tmp_path).values()) == {"finished"}
    assert "4/4 done" in capfd.readouterr().out
    assert (tmp_path / "leaderboard.csv").exists()
    assert (tmp_path / "report.html").exists()
    times = {path: (path / "result.json").stat().st_mtime_ns for path, _ in find_runs([tmp_path])}
    assert run_study(study_of(tmp_path, *rows), []) == 0
    assert times == {path: (path / "result.json").stat().st_mtime_ns for path, _ in find_runs([tmp_path])}
    with pytest.raises(UserError, match="has other overrides"):
        run_study(study_of(tmp_path, *rows, "optim.lr=1e-3"), [])
    values = [trial.value for trial in study_in(tmp_path).trials]
    means = [[r.metrics["val/accuracy"] for _, r in find_runs([tmp_path]) if r.config["model"]["lora"]["r"] == each]
             for each in (1, 4)]  # fmt: skip
    assert values == [pytest.approx(sum(each) / 2) for each in means]


def study_in(folder: Path) -> optuna.Study:
    return optuna.load_study(study_name=None, storage=f"sqlite:///{folder}/study.db")


@pytest.mark.slow
def test_a_study_of_tpe_draws_as_many_as_are_wanted_and_counts_none_over_the_budget(
    rows: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = ["sampler=tpe", "trials=3", "seeds=[0]", "minimize_parameters=true", "budget.max_trainable=90000"]
    config = study_of(tmp_path, *lines, *rows)
    config.space = {"lora.r": {"low": 1, "high": 5}, "optim.lr": {"low": 1e-4, "high": 1e-2, "log": True}}
    assert run_study(config, []) == 0
    trials = study_in(tmp_path).trials
    done = [trial for trial in trials if trial.values]
    over = [trial for trial in trials if "over" in trial.user_attrs]
    assert (len(done), len(done) + len(over)) == (3, len(trials))
    assert all(trial.values[1] <= 90_000 for trial in done)
    assert len(find_runs([tmp_path])) == 3
    assert len({tuple(trial.params.values()) for trial in trials}) == len(trials), "a seed for each trial"
    odd = study_of(tmp_path / "odd", "sampler=tpe", "trials=4", "seeds=[0]", "lora.init=orthogonal", *rows)
    odd.space = {"lora.r": [1, 2]}
    assert run_study(odd, []) == 0
    states = {trial.params["lora.r"]: trial.state.name for trial in study_in(tmp_path / "odd").trials}
    assert states == {1: "FAIL", 2: "COMPLETE"}, "orthogonal needs an even r: told, and the study goes on"
    monkeypatch.setattr(study, "DRAWS_PER_POINT", 3)
    hopeless = study_of(tmp_path / "hopeless", *lines, *rows)
    hopeless.space = {"lora.r": {"low": 50, "high": 60}}
    with pytest.raises(UserError, match="3 points in a row are over the budget"):
        run_study(hopeless, [])


@pytest.mark.slow
def test_a_point_that_falls_behind_is_given_up(rows: list[str], tmp_path: Path) -> None:
    config = study_of(tmp_path, "pruner=median", "seeds=[0]", *rows)
    config.space = {"optim.lr": [5e-3, 4e-3, 3e-3, 2e-3, 1e-3, 6e-3, 1e-9]}  # five to compare with, and a hopeless one
    assert run_study(config, []) == 0
    states = [trial.state.name for trial in study_in(tmp_path).trials]
    assert states[-1] == "PRUNED"
    (given_up,) = [result for _, result in find_runs([tmp_path]) if result.status == "interrupted" and
                   result.config["optim"]["lr"] == 1e-9]  # fmt: skip
    assert given_up.error == RunPruned.MESSAGE
    assert "test/accuracy" not in given_up.metrics


@pytest.mark.slow
def test_ctrl_c_keeps_the_trial_for_the_next_start(
    rows: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, calls = SweepProgress.run, iter(range(9))

    def interrupted(*arguments: Any) -> RunResult:
        if next(calls) == 1:
            raise KeyboardInterrupt
        return run(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(SweepProgress, "run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_study(study_of(tmp_path, *rows), [])
    assert run_study(study_of(tmp_path, *rows), []) == 0
    assert set(statuses(tmp_path)) == {f"r={r},seed={seed}" for r in (1, 4) for seed in (0, 1)}


@pytest.mark.slow
def test_three_processes_share_a_study_and_one_may_be_killed(rows: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "study"
    lines = [
        "study=smoke",
        f"dir={folder}",
        *rows,
        "trainer.max_epochs=12",
        "data.batch_size=8",
        "trainer.checkpoint_every=3",
    ]
    environment = os.environ | {"XDG_CACHE_HOME": CACHE, "OMP_NUM_THREADS": "1"}

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "sweep.py", *lines], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL
        )

    workers = [start()]
    until = time.monotonic() + 120
    while not list(folder.glob("*/checkpoints/last.ckpt")) and time.monotonic() < until:
        time.sleep(0.1)
    workers[0].kill()
    workers[0].wait()
    assert list(statuses(folder).values()) == ["interrupted"], "killed in the middle of the first run"
    workers += [start(), start()]
    assert [worker.wait(300) for worker in workers[1:]] == [0, 0]
    assert len(statuses(folder)) == 4
    assert set(statuses(folder).values()) == {"finished"}
    states = [trial.state.name for trial in study_in(folder).trials]
    assert states.count("FAIL") == 1, "the one of the killed process, taken over by another"
    complete = [trial.params["lora.r"] for trial in study_in(folder).trials if trial.state.name == "COMPLETE"]
    assert sorted(complete) == [1, 4], "no trial is done twice"


@pytest.mark.slow
def test_workers_are_processes_that_the_command_starts(rows: list[str], tmp_path: Path) -> None:
    done = run_python("sweep.py", "study=smoke", f"dir={tmp_path}", "workers=2", *rows)
    assert done.returncode == 0, done.stderr
    assert "4/4 done" in done.stdout
    logs = [path.read_text() for path in sorted(tmp_path.glob("worker-*.log"))]
    assert ["done before" in log for log in logs] == [False, False], "each took a trial of its own"
    assert [log.count("  finished, ") for log in logs] == [2, 2]
    assert done.stderr.count("a worker ended") == 0


@pytest.mark.slow
def test_memory_does_not_grow_over_thirty_points(rows: list[str], tmp_path: Path) -> None:
    board, resident = SweepProgress(tmp_path, 34), []
    for seed in range(34):
        config = compose_config([*rows, f"seed={seed}"])
        board.run(config, tmp_path / str(seed))
        resident.append(int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
    assert resident[-1] - resident[3] < 30 * 2**20, [round(each / 2**20) for each in resident]


@pytest.fixture
def postgresql(tmp_path: Path) -> Iterator[str]:
    """The address of a server of its own."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))
    assert found, "this test needs PostgreSQL: apt-get install postgresql"
    folder = Path(tempfile.mkdtemp(prefix="postgresql-"))
    as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    if as_user:
        shutil.chown(folder, "postgres")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    control = [*as_user, str(found[-1]), "-D", str(folder / "data")]
    quiet = {"check": True, "stdout": subprocess.DEVNULL, "cwd": folder}
    subprocess.run([*control, "initdb", "-o", "-A trust -U postgres"], **quiet)
    options = f"-k {folder} -p {port} -c listen_addresses=127.0.0.1"
    subprocess.run([*control, "-o", options, "-l", str(folder / "log"), "-w", "start"], **quiet)
    yield f"postgresql+psycopg://postgres@127.0.0.1:{port}/postgres"
    subprocess.run([*control, "-m", "immediate", "stop"], **quiet)
    shutil.rmtree(folder)


@pytest.mark.slow
def test_two_machines_share_a_study_on_postgresql(rows: list[str], tmp_path: Path, postgresql: str) -> None:
    folders = [tmp_path / "here", tmp_path / "there"]
    lines = ["sweep.py", "study=smoke", f"storage={postgresql}", *rows]
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda folder: run_python(*lines, f"dir={folder}", OMP_NUM_THREADS="1"), folders))
    assert [each.returncode for each in done] == [0, 0], done[0].stderr + done[1].stderr
    found = [statuses(folder) for folder in folders if list(folder.glob("*/result.json"))]
    assert sorted(name for each in found for name in each) == [f"r={r},seed={seed}" for r in (1, 4) for seed in (0, 1)]


@pytest.mark.slow
def test_submitit_runs_each_point_in_a_job_of_its_own(rows: list[str], tmp_path: Path) -> None:
    launcher = ["hydra/launcher=submitit_local", "hydra.launcher.timeout_min=5"]
    line = ["train.py", "-m", *rows, "lora.r=1,203,2", f"hydra.sweep.dir={tmp_path}", *launcher]
    done = run_python(*line)
    assert done.returncode == 0, done.stderr
    assert statuses(tmp_path) == {"r=1": "finished", "r=2": "finished", "r=203": "over_budget"}
    assert (tmp_path / "leaderboard.csv").exists()


@pytest.mark.slow
def test_in_wandb_a_sweep_is_a_group_of_runs_and_one_table(rows: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    line = ["train.py", "-m", *rows, "logger.wandb=offline", "lora.r=1,2", f"hydra.sweep.dir={folder}"]
    kept = [each for each in line if each != "logger.wandb=disabled"]
    done = run_python(*kept)
    assert done.returncode == 0, done.stderr
    names = sorted(path.name for path, _ in find_runs([folder]))
    logged = {}
    for file in folder.rglob("offline-run-*/*.wandb"):
        shown = run_python("-m", "wandb", "leet", "inspect", "--json", "--summary", str(file.parent))
        logged[json.loads(shown.stdout)["name"]] = json.loads(shown.stdout)
    assert sorted(logged) == sorted([*names, "leaderboard"])
    assert [logged[name]["config"]["logger"]["group"] for name in names] == ["mine", "mine"]
    assert [logged[name]["config"]["model"]["lora"]["r"] for name in names] == [1, 2]
    assert all({"val/accuracy", "budget/trainable", "throughput/samples_per_second"} <= set(logged[name]["summary"])
               for name in names)  # fmt: skip
    (table,) = folder.glob("wandb/offline-run-*/files/media/table/*.json")
    found = json.loads(table.read_text())
    assert found["columns"][:3] == ["r", "n", "trainable"]
    assert sorted(row[0] for row in found["data"]) == ["1", "2"]
