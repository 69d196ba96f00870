"""The page of many runs: complete, safe, readable without a network, and drawn by a browser without an error."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from lora_agnews.__main__ import app
from lora_agnews.config.compose import compose_config
from lora_agnews.results.ranking import Row
from lora_agnews.results.record import RunResult, config_hash
from lora_agnews.results.report import command_of, write_report
from tests.records import ranked, save_record

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def rows(tmp_path: Path) -> list[Row]:
    """Five configurations of two seeds with curves, one of them failed, with text that a page must not obey."""
    for r in (1, 2, 4, 8, 16):
        for seed in (0, 1):
            folder = tmp_path / "runs" / f"{HOSTILE.replace('/', '')}-{r}-{seed}"
            status = "failed" if r == 16 else "finished"
            name = f'model.name="{HOSTILE}"' if r == 2 else "model=tiny"
            more = [f"lora.r={r}", f"seed={seed}", f"optim.lr={r}e-4", name]
            save_record(folder, 0.8 + r / 100 + seed / 200, *more, status=status, trainable=40_000 * r)
            lines = ["step,train/loss,val/accuracy,val/loss", "9,1.2,,", f"19,,0.{60 + r},0.9", f"39,,0.{80 + r},0.5"]
            (folder / "metrics.csv").write_text("\n".join(lines) + "\n")
            result = RunResult.load(folder)
            result.confusion = [[90, 5, 3, 2], [1, 97, 1, 1], [9, 1, 80, 10], [5, 2, 11, 82]]
            result.save(folder)
    return ranked(tmp_path / "runs")


def test_a_page_holds_every_configuration_and_nothing_from_elsewhere(rows: list[Row], tmp_path: Path) -> None:
    write_report(rows, tmp_path / "report.html", f"Study {HOSTILE}")
    page = (tmp_path / "report.html").read_text()
    own = re.sub(r"<script>/\*.*?</script>", "", page, flags=re.DOTALL)  # without plotly.js
    assert HOSTILE not in own
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in own
    assert not re.findall(r"(?:src|href)=[\"']?(?:https?:)?//", own)
    for text in ("2 failed", "Pareto front", "1,000,000", "Confusion matrix of the best run", "0.8825 ± 0.0035"):
        assert text in own, text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "runs"]


def test_runs_of_which_none_succeeded_have_a_page_too(tmp_path: Path) -> None:
    save_record(tmp_path / "runs" / "a", 0.0, status="failed")
    write_report(ranked(tmp_path / "runs"), tmp_path / "report.html", "it")
    assert "No run has finished." in (tmp_path / "report.html").read_text()


def test_a_page_that_cannot_be_written_is_refused(rows: list[Row], tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["report", str(tmp_path / "runs"), "-o", str(tmp_path)])
    assert done.exit_code == 2
    assert f"{tmp_path} cannot be written (Is a directory)" in done.stderr


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["experiment=quickstart", "seed=3", "lora.r=2"],
        ["model=tiny", 'data.train_file="my rows, (1).csv"', "lora.target_modules={query:4,value:8}"],
        ["experiment=lean", "trainer.max_steps=7", "model.lora.layers=-2:", "logger.tags=[a,b]", "lora.layers=[0,-1]"][
            :4
        ],
    ],
    ids=str,
)
def test_the_command_of_a_run_gives_its_configuration(overrides: list[str]) -> None:
    values = compose_config(overrides).to_dict()
    command = command_of(RunResult(values, values["seed"], config_hash(values)))
    program, name, *words = shlex.split(command)
    assert (program, name) == ("python", "train.py")
    assert compose_config(words).to_dict() == values


@pytest.mark.slow
@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (390, "dark")])
def test_a_browser_draws_every_figure_without_an_error(
    rows: list[Row], tmp_path: Path, width: int, scheme: str
) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    assert browser, "this test needs Chromium: apt-get install chromium"
    page = tmp_path / "report.html"
    write_report(rows, page, "Study")
    quiet = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    quiet += ["--no-first-run", "--disable-sync", "--disable-quic", f"--user-data-dir={tmp_path}/profile"]
    shown = [f"--window-size={width},2000", "--virtual-time-budget=8000", "--enable-logging=stderr", "--dump-dom"]
    shown += ["--force-dark-mode"] if scheme == "dark" else []
    done: Any = subprocess.run(
        [browser, "--headless", *quiet, *shown, f"file://{page}"], capture_output=True, text=True, timeout=120
    )
    messages = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert not [line for line in messages if "WebGL" not in line and "GL Driver" not in line]  # no GPU here
    # against parameters, parallel axes, effects of three keys, curves, confusion
    assert done.stdout.count('class="main-svg"') >= 7
    assert len(re.findall(r"js-plotly-plot", done.stdout.split("</head>")[1])) >= 7
    assert "NaN" not in re.sub(r"<script.*?</script>", "", done.stdout.split("</head>")[1], flags=re.DOTALL)
