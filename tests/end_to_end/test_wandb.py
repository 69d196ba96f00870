"""What a run and a sweep log to W&B, with and without the package."""

import csv
import json
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from lora_agnews.results.ranking import find_runs
from lora_agnews.results.record import RunResult
from tests.commands import ROOT, run_python
from tests.wandb_runs import records


@pytest.mark.slow
def test_in_wandb_a_sweep_is_a_group_of_runs_and_one_table(short_run: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    line = ["train.py", "-m", *short_run, "logger.wandb=offline", "lora.r=1,2", f"hydra.sweep.dir={folder}"]
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
from lora_agnews.config.sections import LoggerConfig
from lora_agnews.training.tracking import open_tracking

with open_tracking(Path(sys.argv[1]), LoggerConfig("disabled", "project", None, [], None, None, False), {}):
    print("imported" if "wandb" in sys.modules else "left alone")
"""


Done = subprocess.CompletedProcess[str]


def run(home: Path, *arguments: str, **environment: str) -> Done:
    """Run a command as a user who never used W&B, without a terminal."""
    return run_python(*arguments, without=("WANDB_", "NETRC", "XDG_"), **{"HOME": str(home)} | environment)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Done]]:
    """Three runs side by side: with the defaults, without the package wandb, and with W&B disabled."""
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


@pytest.fixture(scope="module")
def logged(runs: dict[str, tuple[Path, Done]]) -> dict[str, Any]:
    return records(runs["plain"][0], "--summary")[0]


def test_without_a_login_a_run_logs_offline_and_asks_nothing(runs: dict[str, tuple[Path, Done]]) -> None:
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


def test_the_keys_of_the_documentation_are_logged(runs: dict[str, tuple[Path, Done]], logged: dict[str, Any]) -> None:
    page = (ROOT / "docs" / "wandb.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:train|val|test|trainer|figures|budget|throughput|seconds)/\w+)`", page))
    history = [record["history"]["item"] for record in records(runs["plain"][0]) if record["type"] == "history"]
    keys = {key.split(".")[0] for item in history for key in item} | set(logged["summary"])
    assert len(named) > 20
    assert named - keys == set()


def test_project_group_and_tags_are_logged(runs: dict[str, tuple[Path, Done]]) -> None:
    (run,) = (record["run"] for record in records(runs["plain"][0]) if record["type"] == "run")
    assert (run["project"], run["run_group"], run["tags"]) == ("lora-agnews", "pair", ["one", "two"])
    assert run["display_name"] == "plain"


def test_without_the_package_wandb_a_run_says_so_and_trains(runs: dict[str, tuple[Path, Done]]) -> None:
    run_dir, done = runs["without"]
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("note: wandb is not installed") == 1
    assert not (run_dir / "wandb").exists()


def test_disabled_does_not_import_wandb(runs: dict[str, tuple[Path, Done]]) -> None:
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


CONTINUED = """
import sys
import time
from pathlib import Path

from lora_agnews.config.sections import LoggerConfig
from lora_agnews.training.tracking import open_tracking

for rows, steps in ((None, (1, 2, 3)), (2, (3, 4))):
    config = LoggerConfig("offline", "project", None, [], None, None, False)
    with open_tracking(Path(sys.argv[1]), config, {}, rows) as tracking:
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
