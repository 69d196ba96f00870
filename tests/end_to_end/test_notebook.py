"""The notebook of docs/ runs from its first cell to its last, and what it shows can be read there."""

import csv
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.commands import CACHE, ROOT

NOTEBOOK = ROOT / "docs" / "colab.ipynb"
SHORT = ["trainer.max_steps=6", "data.max_length=16", "data.train_rows=200", "logger.wandb=disabled"]


def text_of(cell: dict[str, Any]) -> str:
    """All that a cell has printed or displayed as text."""
    texts = [output.get("text") or output.get("data", {}).get("text/plain", "") for output in cell["outputs"]]
    return "".join("".join(text) for text in texts)


def test_the_notebook_is_stored_without_outputs() -> None:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert len(code) > 5
    assert [cell["outputs"] for cell in code if cell["outputs"] or cell["execution_count"]] == []


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of Jupyter
def test_every_cell_runs_and_its_output_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbclient = pytest.importorskip("nbclient", reason='pip install -e ".[slow]"')
    nbformat = pytest.importorskip("nbformat", reason='pip install -e ".[slow]"')
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    for name, value in {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": CACHE, "OMP_NUM_THREADS": "1"}.items():
        monkeypatch.setenv(name, value)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    settings = notebook.cells[1]
    assert 'EXPERIMENT = "quickstart"' in settings.source
    settings.source = settings.source.replace("OVERRIDES = []", f"OVERRIDES = {SHORT}")
    client = nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()

    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    shown = {cell.source: text_of(cell) for cell in code}
    (trained,) = (text for source, text in shown.items() if "lora_agnews.train(" in source)
    assert "Trainable parameters of tiny" in trained
    assert "test accuracy" in " ".join(trained.replace("\x1b[0m", "").split())
    (swept,) = (text for source, text in shown.items() if "train -m" in source)
    assert "[4/4]" in swept
    assert "leaderboard  runs/sweep/leaderboard.csv" in swept
    assert not any(moves in text for text in shown.values() for moves in ("\x1b[1A", "\x1b[?25l")), "as bars do"
    drawn = [output for widget in client.widget_state.values() for output in widget.get("outputs", [])]
    bars = [output["data"]["text/html"] for output in drawn]
    assert any("Epoch" in bar and "6/6" in bar for bar in bars)
    data = [output["data"] for cell in code for output in cell.outputs if "data" in output]
    assert len([each for each in data if "image/png" in each]) == 2
    assert any("<iframe srcdoc=" in each.get("text/html", "") for each in data)
    with (tmp_path / "submission.csv").open(newline="") as stream:
        assert [row["ID"] for row in csv.DictReader(stream)] == ["0", "1", "2"]
