"""A million short rows are predicted in little memory. The model is narrower than the shipped one, to save time."""

import csv
import shutil
from importlib.resources import files
from pathlib import Path

import pytest
from transformers import AutoConfig, AutoModelForMaskedLM

from tests.commands import run_python, train
from tests.end_to_end.test_memory import PEAK

pytestmark = pytest.mark.faults
ROWS, MOST_MEGABYTES = 1_000_000, 600


def test_a_million_rows_are_predicted_in_600_megabytes(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tiny, narrow = Path(str(files("lora_agnews.model") / "tiny")), tmp_path / "narrow"
    shutil.copytree(tiny, narrow, ignore=shutil.ignore_patterns("*.safetensors"))
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    AutoModelForMaskedLM.from_config(AutoConfig.from_pretrained(tiny, **shape)).save_pretrained(narrow)
    done = train(tmp_path / "run", f"model.name={narrow}")
    assert done.returncode == 0, done.stderr
    with (tmp_path / "news.txt").open("w") as stream:
        stream.writelines(f"oil {i}\n" for i in range(ROWS))
    output = tmp_path / "out.csv"
    done = run_python(
        "-c", PEAK, "predict", str(tmp_path / "run"), str(tmp_path / "news.txt"), "-o", str(output), limit=900
    )
    megabytes = int(done.stdout.split()[-1])
    with output.open(newline="") as stream:
        numbers = [int(row["ID"]) for row in csv.DictReader(stream)]
    with capfd.disabled():
        print(f"\nmillion rows: {len(numbers):,} predicted with a model of one layer, {megabytes} MB at the peak")
    assert numbers == list(range(ROWS)), done.stderr
    assert megabytes < MOST_MEGABYTES
