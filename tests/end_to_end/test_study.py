"""python sweep.py with several processes and machines."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import optuna
import pytest

from lora_agnews.sweeps.storage import open_storage
from tests.commands import CACHE, ROOT, run_python
from tests.studies import statuses


@pytest.mark.slow
@pytest.mark.parametrize("storage", ["null", "journal:FOLDER/study.journal"])
def test_three_processes_share_a_study_and_one_may_be_killed(
    short_run: list[str], tmp_path: Path, storage: str
) -> None:
    folder = tmp_path / "study"
    lines = [
        "study=smoke",
        f"storage={storage.replace('FOLDER', str(tmp_path))}",
        f"dir={folder}",
        *short_run,
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
    url = f"sqlite:///{folder}/study.db" if storage == "null" else storage.replace("FOLDER", str(tmp_path))
    trials = optuna.load_study(study_name="smoke", storage=open_storage(url)).trials
    assert [trial.state.name for trial in trials].count("FAIL") == 1, "that of the killed process"
    complete = [trial.params["lora.r"] for trial in trials if trial.state.name == "COMPLETE"]
    assert sorted(complete) == [1, 4], "no trial is done twice"


@pytest.mark.slow
def test_workers_are_processes_that_the_command_starts(short_run: list[str], tmp_path: Path) -> None:
    done = run_python("sweep.py", "study=smoke", f"dir={tmp_path}", "workers=2", *short_run)
    assert done.returncode == 0, done.stderr
    assert "4/4 done" in done.stdout
    logs = [path.read_text() for path in sorted(tmp_path.glob("worker-*.log"))]
    assert ["done before" in log for log in logs] == [False, False], "each took a trial of its own"
    assert [log.count("  finished, ") for log in logs] == [2, 2]
    assert done.stderr.count("a worker ended") == 0


@pytest.mark.slow
def test_sigterm_ends_the_workers_with_a_checkpoint(short_run: list[str], tmp_path: Path) -> None:
    line = [sys.executable, "sweep.py", "study=smoke", f"dir={tmp_path}", "workers=2", *short_run]
    line += ["trainer.max_epochs=500", "trainer.max_steps=null", "data.batch_size=8", "trainer.checkpoint_every=3"]
    environment = os.environ | {"XDG_CACHE_HOME": CACHE}
    study = subprocess.Popen(line, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, start_new_session=True)
    until = time.monotonic() + 120
    while len(list(tmp_path.glob("*/checkpoints/last.ckpt"))) < 2:
        assert time.monotonic() < until
        assert study.poll() is None
        time.sleep(0.1)
    os.killpg(study.pid, signal.SIGTERM)  # as Slurm does: it reaches the workers directly and through their parent
    assert study.wait(60) == 143
    assert list(statuses(tmp_path).values()) == ["interrupted", "interrupted"]
    for path in tmp_path.glob("worker-*.log"):
        assert "to continue it: " in path.read_text(), "it was not killed"


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
def test_two_machines_share_a_study_on_postgresql(short_run: list[str], tmp_path: Path, postgresql: str) -> None:
    folders = [tmp_path / "here", tmp_path / "there"]
    lines = ["sweep.py", "study=smoke", f"storage={postgresql}", *short_run]
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda folder: run_python(*lines, f"dir={folder}", OMP_NUM_THREADS="1"), folders))
    assert [each.returncode for each in done] == [0, 0], done[0].stderr + done[1].stderr
    found = [statuses(folder) for folder in folders if list(folder.glob("*/result.json"))]
    assert sorted(name for each in found for name in each) == [f"r={r},seed={seed}" for r in (1, 4) for seed in (0, 1)]
