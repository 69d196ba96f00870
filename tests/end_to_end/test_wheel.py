"""The commands of a wheel that is installed into an environment of its own and used from an empty directory."""

import csv
import json
import os
import subprocess
import sys
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from lora_agnews import __version__
from tests.commands import ROOT
from tests.test_documentation import module_of

pytestmark = pytest.mark.slow
QUICK = ["experiment=quickstart", "trainer.max_steps=6", "data.max_length=16", "logger.wandb=disabled"]
Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("hatchling", reason='pip install -e ".[slow]"')
    folder = tmp_path_factory.mktemp("dist")
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "-w", folder, ROOT], check=True)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Command:
    """Run a program of the environment, in an empty directory of a git repository that is somebody else's.

    The environment has the wheel, and all libraries of the one that runs the tests, but not its editable install.
    """
    home = tmp_path_factory.mktemp("wheel")
    venv.create(home / "venv")
    pip = [sys.executable, "-m", "pip", "--python", str(home / "venv" / "bin" / "python")]
    subprocess.run([*pip, "install", "-q", "--no-deps", "--no-index", wheel], check=True)
    (site,) = (home / "venv" / "lib").glob("python*/site-packages")
    libraries = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (site / "libraries.pth").write_text("\n".join(libraries))  # the .pth files in them are not read
    for line in (["init", "-q"], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-mx"]):
        subprocess.run(["git", *line], cwd=home, check=True)
    (home / "empty").mkdir()
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "HYDRA_FULL_ERROR")}

    def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [home / "venv" / "bin" / program, *arguments],
            cwd=home / "empty",
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            env=environment | {"XDG_CACHE_HOME": str(home / "cache"), "OMP_NUM_THREADS": "1", "COLUMNS": "100"},
            timeout=600,
        )

    return run


@pytest.fixture(scope="module")
def here(installed: Command) -> Path:
    """The empty directory, in which a run `runs/one` was trained."""
    done = installed("lora-agnews", "train", *QUICK, "hydra.run.dir=runs/one")
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert "run         runs/one" in done.stdout
    return Path(str(done.args[0])).parents[2] / "empty"


def test_a_wheel_has_the_files_of_the_package_the_scripts_and_conf_and_nothing_else(wheel: Path) -> None:
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    tracked = {path for path in done.stdout.split() if path.startswith("lora_agnews/")}
    scripts = {path for path in done.stdout.split() if path.startswith("conf/")} | {"train.py", "sweep.py"}
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert packed == tracked | {f"lora_agnews/scripts/{path}" for path in scripts}


def test_an_editable_install_copies_nothing() -> None:
    pytest.importorskip("hatchling", reason='pip install -e ".[slow]"')
    data = {"force_include": dict[str, str]()}
    module_of("hatch_build.py").ScriptsHook.initialize(SimpleNamespace(), "editable", data)
    assert data == {"force_include": {}}


def test_the_package_is_that_of_the_wheel(installed: Command, here: Path) -> None:
    done = installed("python", "-c", "import lora_agnews; print(lora_agnews.__file__)")
    assert done.stdout.strip().endswith("site-packages/lora_agnews/__init__.py")
    assert done.stdout.startswith(str(here.parent))
    for line in (["lora-agnews", "--version"], ["python", "-m", "lora_agnews", "--version"]):
        assert installed(*line).stdout == f"lora_agnews {__version__}\n"


def test_a_run_has_its_version_and_no_commit_of_another_repository(here: Path) -> None:
    environment = json.loads((here / "runs" / "one" / "result.json").read_text())["environment"]
    assert environment["versions"]["lora_agnews"] == __version__
    assert (environment["git_commit"], environment["git_dirty"]) == (None, False)


def test_help_and_messages_name_the_commands_of_the_wheel(installed: Command, here: Path) -> None:
    for command in ("train", "sweep"):
        done = installed("lora-agnews", command, "--help")
        assert done.returncode == 0
        assert "lora-agnews train" in done.stdout
        assert "python train.py" not in done.stdout
    done = installed("lora-agnews", "train", "lora.rr=1")
    expected = "error: lora.rr=1: there is no key lora.rr (did you mean lora.r?). All keys: lora-agnews train --help\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", expected)
    done = installed("lora-agnews", "train", "experiment=lean", "lora.r=3", "--cfg", "job", "--resolve")
    assert yaml.safe_load(done.stdout)["model"]["lora"]["r"] == 3
    assert {path.name for path in here.iterdir()} <= {"runs", "news.txt", "out.csv", "report.html", "exported"}


def test_a_finished_run_is_evaluated_used_and_exported(installed: Command, here: Path) -> None:
    (here / "news.txt").write_text("Oil prices rise\nThe champions draw\n")
    for line in (
        ["evaluate", "runs/one"],
        ["predict", "runs/one", "news.txt", "-o", "out.csv"],
        ["export", "runs/one", "-o", "exported"],
        ["budget", "model=tiny", "lora.r=1,2"],
        ["compare", "runs"],
        ["report", "runs"],
    ):
        done = installed("lora-agnews", *line)
        assert done.returncode == 0, (line, done.stderr)
    with (here / "out.csv").open(newline="") as stream:
        assert [row["ID"] for row in csv.DictReader(stream)] == ["0", "1"]
    assert "lora-agnews train" in (here / "report.html").read_text()
    used = "from lora_agnews import load_run; print(load_run('runs/one')(['Oil prices rise'])[0][0])"
    done = installed("python", "-c", used)
    assert done.stdout.strip() in {"World", "Sports", "Business", "Sci/Tech"}, done.stderr


def test_a_run_can_be_continued(installed: Command, here: Path) -> None:
    done = installed("lora-agnews", "train", "resume=runs/one", "trainer.max_epochs=3")
    assert done.returncode == 0, done.stderr
    trained = "import lora_agnews; print(lora_agnews.train({}).status)".format([*QUICK, "hydra.run.dir=runs/two"])
    assert installed("python", "-c", trained).stdout.endswith("finished\n")


def test_a_multirun_ends_with_a_leaderboard(installed: Command, here: Path) -> None:
    done = installed("lora-agnews", "train", "-m", *QUICK, "lora.r=1,2", "hydra.sweep.dir=runs/several")
    assert done.returncode == 0, done.stderr
    assert "[2/2]" in done.stdout
    assert (here / "runs" / "several" / "leaderboard.csv").is_file()


def test_a_study_runs_in_two_workers(installed: Command, here: Path) -> None:
    line = ["study=smoke", *QUICK[1:], "seeds=[0]", "workers=2", "test=none", "dir=runs/study"]
    planned = installed("lora-agnews", "sweep", "--plan", *line)
    assert "points: 2, within the budget: 2, seeds: 1, runs: 2" in planned.stdout, planned.stderr
    done = installed("lora-agnews", "sweep", *line)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {"report.html", "leaderboard.csv", "study.db"} <= {path.name for path in (here / "runs" / "study").iterdir()}
