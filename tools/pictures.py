"""Draw the pictures of the shipped model into docs/pictures: python tools/pictures.py

They show a study on the shipped model and rows: three heads, three ranks, three seeds. It is kept in runs/pictures. The
first call takes about half an hour on two cores; a later one finishes what was stopped and draws again. Needs Chromium.
"""

import io
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from rich.console import Console

from lora_agnews.results.figures import draw_run
from lora_agnews.results.plots import accuracy_by_parameters, to_html
from lora_agnews.results.ranking import find_runs, rank
from lora_agnews.results.report import fill_page
from lora_agnews.results.row import Row
from lora_agnews.terminal import console, tables

ROOT = Path(__file__).resolve().parent.parent
PICTURES, STUDY = ROOT / "docs" / "pictures", ROOT / "runs" / "pictures"
OVERRIDES = ["study=heads", "experiment=quickstart", "test=all"]
COLUMNS = 88  # of the terminal that is shown
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--virtual-time-budget=10000")


def main() -> None:
    """Run what is left of the study, and draw."""
    with console.exit_on_error():
        browser = find_browser()
        run_study()
        rows = rank(find_runs([STUDY]))
        PICTURES.mkdir(parents=True, exist_ok=True)
        draw_leaderboard(rows)
        draw_best_run(rows[0])
        draw_front(browser, rows)
        take_screenshot(browser, STUDY / "report.html", (1120, 2170), PICTURES / "report.png")
        for path in sorted(PICTURES.iterdir()):
            console.print_line(f"{path.relative_to(ROOT)}  {path.stat().st_size / 1000:,.0f} kB")


def find_browser() -> str:
    """Return the path of Chromium or Chrome. Raises: RuntimeError, if there is neither."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        raise RuntimeError("pictures of pages need Chromium: apt-get install chromium, or brew install chromium")
    return found


def run_study() -> None:
    """Run the points that are missing; the last thing sweep.py does is to write report.html anew."""
    words = [*OVERRIDES, "logger.wandb=disabled", f"dir={STUDY.relative_to(ROOT)}"]
    done = subprocess.run([sys.executable, "sweep.py", *words], cwd=ROOT)
    if done.returncode:
        raise SystemExit(done.returncode)


def draw_leaderboard(rows: list[Row]) -> None:
    """Draw what the terminal shows at the end of the study."""
    console.out = Console(record=True, width=COLUMNS, file=io.StringIO(), markup=False)
    console.print_line(f"$ python sweep.py {' '.join(OVERRIDES)}", style="bold")
    console.print_line("")
    tables.show_ranking(rows)
    console.out.save_svg(str(PICTURES / "leaderboard.svg"), title="lora_agnews")
    console.out = Console(markup=False)


def draw_best_run(row: Row) -> None:
    """Draw the figures of the best seed of a configuration."""
    for path in draw_run(*row.best):
        save_small(path, PICTURES / path.name)


def draw_front(browser: str, rows: list[Row]) -> None:
    """Draw the report's figure of accuracy against parameters on a page of its own."""
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page.html"
        figure = to_html(accuracy_by_parameters(rows))
        page.write_text(fill_page("", figure), encoding="utf-8")
        take_screenshot(browser, page, (900, 490), PICTURES / "pareto.png")


def take_screenshot(browser: str, page: Path, size: tuple[int, int], path: Path) -> None:
    """Save the top of a page, `size` CSS pixels wide and high, at 1.5 pixels for each of them."""
    with tempfile.TemporaryDirectory() as folder:
        taken = Path(folder) / "taken.png"
        shown = ["--window-size={},{}".format(*size), "--force-device-scale-factor=1.5", f"--screenshot={taken}"]
        command = [browser, *FLAGS, *shown, f"--user-data-dir={folder}/profile", page.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        if not taken.exists():
            raise RuntimeError(f"{browser} took no picture of {page}: {done.stderr[-1000:]}")
        save_small(taken, path)


def save_small(source: Path, target: Path) -> None:
    """Save a PNG with 256 colours: a third of the size, and the same to the eye."""
    with Image.open(source) as image:
        image.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(target, optimize=True)


if __name__ == "__main__":
    main()
