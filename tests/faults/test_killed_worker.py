"""Three workers of a study, of which one is killed: every run exists once and none is lost."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.commands import CACHE, ROOT
from tests.studies import statuses, study_in

pytestmark = pytest.mark.faults


def test_a_study_whose_worker_is_killed_is_complete(
    short_run: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "study"
    lines = ["study=smoke", "workers=3", "space={lora.r:[1,2,4]}", "seeds=[0,1]", f"dir={folder}", *short_run]
    lines += ["trainer.max_epochs=12", "data.batch_size=8", "trainer.checkpoint_every=3"]
    environment = os.environ | {"XDG_CACHE_HOME": CACHE, "OMP_NUM_THREADS": "1"}
    with (tmp_path / "out").open("w") as out:
        command = subprocess.Popen(
            [sys.executable, "sweep.py", *lines], cwd=ROOT, env=environment, stdout=out, stderr=out
        )
        until = time.monotonic() + 120
        while len(list(folder.glob("*/checkpoints/last.ckpt"))) < 2 and time.monotonic() < until:
            time.sleep(0.05)
        workers = psutil.Process(command.pid).children()
        at_work = [each for each in workers if any("last.ckpt" not in f.path for f in each.open_files())]
        os.kill(at_work[0].pid, signal.SIGKILL)
        status = command.wait(300)
    said = (tmp_path / "out").read_text()
    found = statuses(folder)
    complete = [trial.params["lora.r"] for trial in study_in(folder).trials if trial.state.name == "COMPLETE"]
    with capfd.disabled():
        done = sum(each == "finished" for each in found.values())
        print(f"\nkilled worker: 3 workers, 1 killed; {done} of 6 runs finished, {len(complete)} of 3 points once")
    assert len(workers) == 3
    assert found == {f"r={r},seed={seed}": "finished" for r in (1, 2, 4) for seed in (0, 1)}
    assert sorted(complete) == [1, 2, 4], "no point is lost or counted twice"
    assert status == 0, said
    assert "a worker ended with status -9" in said.replace("\n", " ")
    assert "Traceback" not in said
