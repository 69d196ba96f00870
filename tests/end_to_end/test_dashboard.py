"""optuna-dashboard reads the storage of a study."""

import json
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from tests.commands import run_python

START = "from optuna_dashboard._cli import main; main()"


def answer(address: str) -> Any:
    """The JSON at an address of a server that may still be starting."""
    until = time.monotonic() + 120
    while True:
        try:
            with urlopen(address, timeout=10) as found:
                return json.load(found)
        except URLError:
            if time.monotonic() > until:
                raise
            time.sleep(0.2)


@pytest.mark.slow
@pytest.mark.parametrize("journal", [False, True])
def test_it_shows_the_trials_and_the_pareto_front_of_a_study(
    short_run: list[str], tmp_path: Path, journal: bool
) -> None:
    pytest.importorskip("optuna_dashboard", reason='pip install -e ".[dashboard]"')
    storage = str(tmp_path / "study.journal") if journal else f"sqlite:///{tmp_path}/study/study.db"
    line = ["study=smoke", f"dir={tmp_path}/study", "seeds=[0]", "minimize_parameters=true", *short_run]
    done = run_python("sweep.py", *line, *([f"storage=journal:{storage}"] if journal else []), limit=600)
    assert done.returncode == 0, done.stderr
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = subprocess.Popen([sys.executable, "-c", START, "--quiet", "--port", str(port), storage])
    try:
        (study,) = answer(f"http://127.0.0.1:{port}/api/studies")["study_summaries"]
        assert (study["study_name"], study["directions"]) == ("smoke", ["maximize", "minimize"])
        found = answer(f"http://127.0.0.1:{port}/api/studies/{study['study_id']}?after=0")
    finally:
        server.terminate()
        server.wait(timeout=20)
    trials = [
        (trial["state"], trial["values"], {each["name"]: each["param_external_value"] for each in trial["params"]})
        for trial in found["trials"]
    ]
    assert [(state, parameters) for state, _, parameters in trials] == [
        ("Complete", {"lora.r": "1"}),
        ("Complete", {"lora.r": "4"}),
    ]
    (first, fewer), (second, more) = (values for _, values, _ in trials)
    assert fewer < more
    front = [0, 1] if second > first else [0]  # the second point has more parameters
    assert [trial["number"] for trial in found["best_trials"]] == front
