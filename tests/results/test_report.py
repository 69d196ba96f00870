"""The page of many runs: complete, safe, readable without a network, and drawn by a browser without an error."""

import base64
import copy
import gzip
import hashlib
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from lora_agnews.__main__ import app
from lora_agnews.config.compose import compose_config
from lora_agnews.results.monitor import MONITOR
from lora_agnews.results.record import RunResult, Status, config_hash
from lora_agnews.results.report import command_of, write_report
from lora_agnews.results.row import Row
from tests.commands import ROOT, run_python
from tests.records import ranked, save_record

HOSTILE = "<script>alert(1)</script>"
TIMED = """
import atexit, runpy, time

atexit.register(lambda: print(time.process_time()))
runpy.run_module("lora_agnews", run_name="__main__")
"""


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
    own = page.replace(re.findall(r'<script id="plotly".*?</script>', page)[0], "")
    assert HOSTILE not in own
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in own
    assert not re.findall(r"(?:src|href)=[\"']?(?:https?:)?//", own)
    assert "Cost: 105 s for 10 runs." in own
    for text in ("2 failed", "Pareto front", "1,000,000", "Confusion matrix of the best run", "0.8825 ± 0.0035"):
        assert text in own, text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "runs"]


def test_plotly_js_in_the_page_is_the_published_file(rows: list[Row], tmp_path: Path) -> None:
    write_report(rows, tmp_path / "report.html", "it")
    (packed,) = re.findall(r'<script id="plotly"[^>]*>(.*?)</script>', (tmp_path / "report.html").read_text())
    code = gzip.decompress(base64.b64decode(packed))
    about = (ROOT / "lora_agnews" / "results" / "plotly" / "README.md").read_text()
    assert hashlib.sha256(code).hexdigest() in about


def test_a_confusion_matrix_shows_counts_and_shares_of_the_true_class(rows: list[Row], tmp_path: Path) -> None:
    for _, result in rows[0].runs:
        result.confusion = [[3, 1, 0, 0], [0, 1000, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    write_report(rows, tmp_path / "report.html", "it")
    page = (tmp_path / "report.html").read_text()
    cells = re.findall(r'<td( class="most")? style="background: rgba\(59, 111, 182, ([\d.]+)\)">(.*?)</td>', page)
    assert cells[:3] == [
        (' class="most"', "0.750", "3<br>75.0%"),
        ("", "0.250", "1<br>25.0%"),
        ("", "0.000", "0<br>0.0%"),
    ]
    assert cells[5][2] == "1,000<br>100.0%"
    assert cells[15][2] == "0<br>0.0%", "a class without rows"


def test_the_page_of_500_runs_is_small_and_quickly_made(tmp_path: Path) -> None:
    config = compose_config(["model=tiny"]).to_dict()
    curve = "step,train/loss,val/accuracy,val/loss\n" + "".join(
        f"{step},{1 / step:.6f},,\n{step},,{1 - 1 / step:.6f},{1 / step:.6f}\n" for step in range(1, 200)
    )
    for number in range(500):
        folder = tmp_path / "runs" / f"r=8,alpha=2,lr=0.0005,head=full,seed=0-{number:06}"
        folder.mkdir(parents=True)
        config["optim"] |= {"lr": 1e-4 * (1 + number), "weight_decay": number % 7}
        config["model"]["lora"]["alpha"] = 1 + number % 9
        result = RunResult(copy.deepcopy(config), 0, str(number), Status.FINISHED, {MONITOR.key: number / 500})
        result.budget, result.seconds = {"trainable": 10_000 + number}, {"total": 12.3}
        result.save(folder)
        (folder / "metrics.csv").write_text(curve)
    done = run_python("-c", TIMED, "report", str(tmp_path / "runs"), "-o", str(tmp_path / "report.html"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "report.html").stat().st_size < 2_000_000
    assert float(done.stdout.splitlines()[-1]) < 5  # measured: 0.9


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
def test_a_browser_draws_every_figure_without_an_error_or_a_request(
    rows: list[Row], tmp_path: Path, width: int, scheme: Any
) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason='pip install -e ".[slow]"')
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    assert browser, "this test needs Chromium: apt-get install chromium"
    file = tmp_path / "report.html"
    write_report(rows, file, f"Study {HOSTILE}")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        page = started.new_page(viewport={"width": width, "height": 2000}, color_scheme=scheme)
        asked, said = list[str](), list[str]()
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
        page.goto(file.as_uri())
        page.wait_for_function("document.querySelectorAll('.js-plotly-plot .main-svg').length >= 6")
        # against parameters, parallel axes, effects of three keys, curves
        drawn = page.eval_on_selector_all(
            ".js-plotly-plot", "plots => plots.map(plot => plot.querySelectorAll('.main-svg path, canvas').length)"
        )
        shown = page.inner_text("body")
        content = page.content()
        wide = page.evaluate("document.documentElement.scrollWidth")
        started.close()
    assert len(drawn) == 6
    assert min(drawn) > 0
    assert [line for line in said if "WebGL" not in line and "GL Driver" not in line] == []  # no GPU here
    assert [url for url in asked if not url.startswith(("file://", "data:", "blob:"))] == []
    assert HOSTILE in shown, "as text"
    assert wide <= width
    assert "needs JavaScript" not in shown
    assert "NaN" not in re.sub(r"<script.*?</script>", "", content, flags=re.DOTALL)
