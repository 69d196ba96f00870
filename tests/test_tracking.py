"""Where metrics go: W&B when somebody is logged in and it answers, else a file to upload later; never a wait."""

import csv
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import wandb
import yaml
from wandb.sdk.lib import wbauth

from lora_agnews.config.schema import LoggerConfig
from lora_agnews.results.record import RunResult
from lora_agnews.training.tracking import open_tracking
from tests.commands import run_python

KEY = "0123456789" * 4
WITHOUT_WANDB = """
import sys
from importlib.machinery import PathFinder

class WithoutWandb(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.split(".")[0] == "wandb" else super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = WithoutWandb
"""
DISABLED = """
import sys
from pathlib import Path

import lora_agnews.training.run
from lora_agnews.config.schema import LoggerConfig
from lora_agnews.training.tracking import open_tracking

with open_tracking(Path(sys.argv[1]), LoggerConfig("disabled", "project", None, []), {}):
    print("imported" if "wandb" in sys.modules else "left alone")
"""
Done = subprocess.CompletedProcess[str]


def run(home: Path, *arguments: str, **environment: str) -> Done:
    """A command of somebody who never used W&B, without a terminal to be asked on."""
    return run_python(*arguments, without=("WANDB_", "NETRC", "XDG_"), **{"HOME": str(home)} | environment)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Done]]:
    """Run directory and command of three, side by side: as it comes, without wandb, and no training but W&B off."""
    folder, home, no_wandb = (tmp_path_factory.mktemp(name) for name in ("runs", "home", "no_wandb"))
    (no_wandb / "sitecustomize.py").write_text(WITHOUT_WANDB)
    short = ["train.py", "experiment=quickstart", "trainer.max_steps=2", "data.max_length=16"]
    plain = [*short, "logger.group=pair", "logger.tags=[one,two]", f"hydra.run.dir={folder / 'plain'}"]
    without = [*short, f"hydra.run.dir={folder / 'without'}"]
    with ThreadPoolExecutor(2) as pool:
        started = {
            "plain": pool.submit(run, home, *plain),
            "without": pool.submit(run, home, *without, PYTHONPATH=str(no_wandb)),
            "disabled": pool.submit(run, home, "-c", DISABLED, str(folder / "disabled")),
        }
        return {name: (folder / name, done.result()) for name, done in started.items()}


def records(run_dir: Path, *options: str) -> list[dict[str, Any]]:
    """What W&B's own reader finds in the file of the one run that was logged offline."""
    (folder,) = run_dir.glob("wandb/offline-run-*")
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", *options, str(folder)]
    read = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return (
        [json.loads(read.stdout)] if "--summary" in options else [json.loads(line) for line in read.stdout.splitlines()]
    )


@pytest.fixture(scope="module")
def logged(runs: dict[str, tuple[Path, Done]]) -> dict[str, Any]:
    return records(runs["plain"][0], "--summary")[0]


def test_where_nobody_is_logged_in_a_run_logs_offline_and_asks_nothing(runs: dict[str, tuple[Path, Done]]) -> None:
    run_dir, done = runs["plain"]
    assert done.returncode == 0, done.stderr
    assert "wandb" not in done.stderr.lower()
    assert "wandb sync" in done.stdout
    assert len(list(run_dir.glob("wandb/offline-run-*/*.wandb"))) == 1


def test_the_offline_file_holds_the_config(runs: dict[str, tuple[Path, Done]], logged: dict[str, Any]) -> None:
    assert logged["config"] == yaml.safe_load((runs["plain"][0] / "config.yaml").read_text())


def test_the_offline_file_holds_what_the_record_says(
    runs: dict[str, tuple[Path, Done]], logged: dict[str, Any]
) -> None:
    result, summary = RunResult.load(runs["plain"][0]), logged["summary"]
    assert {"val/accuracy", "test/accuracy"} <= set(result.metrics)
    assert {key: summary[key] for key in result.metrics} == pytest.approx(result.metrics)
    assert summary["budget/trainable"] == result.budget["trainable"]
    assert summary["status"] == result.status == "finished"
    assert summary["figures/curves"]["format"] == summary["figures/confusion"]["format"] == "png"
    assert (logged["state"], logged["exit_code"]) == ("finished", 0)


def test_metrics_are_logged_by_step(runs: dict[str, tuple[Path, Done]]) -> None:
    history = [record["history"]["item"] for record in records(runs["plain"][0]) if record["type"] == "history"]
    steps = {key: item["trainer/global_step"] for item in history for key in item if key.endswith("/accuracy")}
    assert steps == {"val/accuracy": 1, "test/accuracy": 2}


def test_project_group_and_tags_arrive(runs: dict[str, tuple[Path, Done]]) -> None:
    (run,) = (record["run"] for record in records(runs["plain"][0]) if record["type"] == "run")
    assert (run["project"], run["run_group"], run["tags"]) == ("lora-agnews", "pair", ["one", "two"])
    assert run["display_name"] == "plain"


def test_where_wandb_is_not_installed_a_run_says_so_and_trains(runs: dict[str, tuple[Path, Done]]) -> None:
    run_dir, done = runs["without"]
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("note: wandb is not installed") == 1
    assert not (run_dir / "wandb").exists()


def test_disabled_leaves_wandb_alone(runs: dict[str, tuple[Path, Done]]) -> None:
    _, done = runs["disabled"]
    assert done.stdout.strip() == "left alone", done.stderr


@pytest.mark.parametrize("name", ["plain", "without"])
def test_the_files_of_a_run_are_there_with_and_without_wandb(runs: dict[str, tuple[Path, Done]], name: str) -> None:
    run_dir, _ = runs[name]
    assert {"metrics.csv", "result.json", "config.yaml", "train.log"} <= {path.name for path in run_dir.iterdir()}
    with (run_dir / "metrics.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    for key in ("val/accuracy", "test/accuracy"):
        (value,) = (float(row[key]) for row in rows if row[key])
        assert value == pytest.approx(RunResult.load(run_dir).metrics[key])


# In this process: what `tracking` decides.


@pytest.fixture
def nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Nobody is logged in and nothing is set; gives what sets it."""
    for name in os.environ:
        if name.startswith("WANDB_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    yield monkeypatch
    wandb.teardown()
    wbauth.unauthenticate_session(update_settings=False)


class Refuses(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(401)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """No line of each request."""


@pytest.fixture
def refusing() -> Iterator[str]:
    """The address of a W&B server that knows no key."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Refuses) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def log_in(nobody: pytest.MonkeyPatch, server: str, key: str = KEY) -> None:
    nobody.setenv("WANDB_API_KEY", key)
    nobody.setenv("WANDB_BASE_URL", server)


def track(run_dir: Path, mode: str) -> dict[str, str]:
    """A run that logs nothing; gives how it may be looked at."""
    run_dir.mkdir()
    with open_tracking(run_dir, LoggerConfig(mode, "project", None, []), {}) as tracking:
        return tracking.lines


CLOSED = "http://127.0.0.1:9"  # the discard service: nobody runs it


def test_a_server_out_of_reach_means_offline_and_one_notice(
    tmp_path: Path, nobody: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    log_in(nobody, CLOSED)
    assert track(tmp_path / "run", "auto")["W&B"] == "offline"
    assert capfd.readouterr().err.splitlines() == [f"note: {CLOSED} does not answer: W&B logs offline"]


def test_a_key_that_can_not_be_one_means_offline_and_one_notice(
    tmp_path: Path, nobody: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    log_in(nobody, CLOSED, key="short")
    assert track(tmp_path / "run", "auto")["W&B"] == "offline"
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("note: WANDB_API_KEY invalid")


def test_a_server_that_opens_no_run_means_offline_and_one_notice(
    tmp_path: Path, nobody: pytest.MonkeyPatch, refusing: str, capfd: pytest.CaptureFixture[str]
) -> None:
    log_in(nobody, refusing)
    assert track(tmp_path / "run", "auto")["W&B"] == "offline"
    assert capfd.readouterr().err.count("note: W&B opened no run") == 1


@pytest.mark.parametrize("wanted", ["online", "auto"])
def test_an_environment_that_says_offline_is_heard_by_auto_alone(
    tmp_path: Path, nobody: pytest.MonkeyPatch, wanted: str
) -> None:
    nobody.setenv("WANDB_MODE", "offline")
    if wanted == "auto":
        assert track(tmp_path / "run", wanted)["W&B"] == "offline"
    else:
        with pytest.raises(RuntimeError, match=r"logger\.wandb=online"):
            track(tmp_path / "run", wanted)


def test_online_without_a_server_is_an_error_with_the_remedy(tmp_path: Path, nobody: pytest.MonkeyPatch) -> None:
    log_in(nobody, CLOSED)
    with pytest.raises(RuntimeError, match=f"logger.wandb=online: {CLOSED} does not answer.*logger.wandb=offline"):
        track(tmp_path / "run", "online")


def test_online_with_a_key_the_server_refuses_is_an_error_with_the_remedy(
    tmp_path: Path, nobody: pytest.MonkeyPatch, refusing: str
) -> None:
    log_in(nobody, refusing)
    with pytest.raises(RuntimeError, match=r"logger\.wandb=online: W&B opened no run.*wandb login"):
        track(tmp_path / "run", "online")


def test_online_with_nobody_logged_in_is_an_error_with_the_remedy(tmp_path: Path, nobody: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError, match="nobody is logged in to W&B; run `wandb login`"):
        track(tmp_path / "run", "online")


@pytest.mark.filterwarnings("ignore:Experiment logs directory .* is not empty")  # W&B's folder was made first
def test_a_run_that_raises_is_closed_and_marked_as_failed(tmp_path: Path, nobody: pytest.MonkeyPatch) -> None:
    def run_that_raises() -> None:
        with open_tracking(tmp_path, LoggerConfig("offline", "project", None, []), {"seed": 1}) as tracking:
            for logger in tracking.loggers:
                logger.log_metrics({"val/accuracy": 0.5}, step=1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_that_raises()
    assert wandb.run is None
    (read,) = records(tmp_path, "--summary")
    assert (read["state"], read["exit_code"]) == ("failed", 1)
    assert (read["config"], read["summary"]["val/accuracy"]) == ({"seed": 1}, 0.5)
    assert "val/accuracy" in (tmp_path / "metrics.csv").read_text()


def test_two_runs_of_one_process_are_two_runs(tmp_path: Path, nobody: pytest.MonkeyPatch) -> None:
    for name in ("first", "second"):
        track(tmp_path / name, "offline")
        assert len(list((tmp_path / name).glob("wandb/offline-run-*"))) == 1


CONTINUED = """
import sys
import time
from pathlib import Path

from lora_agnews.config.schema import LoggerConfig
from lora_agnews.training.tracking import open_tracking

for rows, steps in ((None, (1, 2, 3)), (2, (3, 4))):
    with open_tracking(Path(sys.argv[1]), LoggerConfig("offline", "project", None, []), {}, rows) as tracking:
        for step in steps:
            for logger in tracking.loggers:
                logger.log_metrics({"val/accuracy": step / 10}, step)
        print(tracking.wandb_run.id)
    time.sleep(1)  # W&B names its folders by the second
"""


@pytest.mark.slow
def test_a_continued_run_keeps_its_wandb_run_and_the_rows_up_to_its_checkpoint(tmp_path: Path) -> None:
    done = run(tmp_path, "-c", CONTINUED, str(tmp_path / "run"))
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.split()
    assert first == second
    assert len(list((tmp_path / "run" / "wandb").glob(f"offline-run-*-{first}"))) == 2
    with (tmp_path / "run" / "metrics.csv").open(newline="") as stream:
        assert [(row["step"], row["val/accuracy"]) for row in csv.DictReader(stream)] == [
            ("1", "0.1"),
            ("2", "0.2"),
            ("3", "0.3"),
            ("4", "0.4"),
        ]
