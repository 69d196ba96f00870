"""The one command that measures a GPU: everything is measured once, what failed is repeated, and the page says so."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import gpu
from tests.commands import CACHE, ROOT, run_python

WITHOUT_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without an NVIDIA GPU")


@pytest.mark.slow
def test_every_measurement_works_at_toy_size(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.gpu", "--toy", "-o", str(tmp_path)]
    # Nothing is compiled here, which takes minutes; test_gpu.py and test_one_run.py of end_to_end compile train.py.
    environment = os.environ | {"XDG_CACHE_HOME": CACHE, "TORCH_COMPILE_DISABLE": "1"}
    first = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900)
    assert first.returncode == 0, first.stdout + first.stderr
    page, record = (tmp_path / "gpu.md").read_text(), json.loads((tmp_path / "gpu.json").read_text())
    names = ["recipe, seed 0", "recipe, compiled, seed 0", "ours, seed 0", "transformers.Trainer, seed 0"]
    names += ["transformers.Trainer, group_by_length, seed 0", "batch size 16", "batch size 16, compiled"]
    assert list(record["measured"]) == names
    for line in ("| seeds 0 |", "| compiled, seed 0 |", "| ours |", "| transformers.Trainer |", "| 16, compiled |"):
        assert line in page
    assert "3,600 training, 400 validation and 1,000 test rows" in page
    assert "toy figures" in page
    assert "ailed" not in page
    assert "ot measured" not in page
    recipe = record["measured"].pop(names[0])
    (tmp_path / "gpu.json").write_text(json.dumps(record))
    again = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert again.returncode == 0, again.stderr
    assert [line for line in again.stdout.splitlines() if line in names] == names[:1], "only what was missing"
    assert json.loads((tmp_path / "gpu.json").read_text())["measured"][names[0]] == recipe, "its run had finished"


@WITHOUT_GPU
def test_without_a_gpu_only_the_toy_size_is_measured(tmp_path: Path) -> None:
    done = run_python("-m", "benchmarks.gpu", "-o", str(tmp_path))
    assert done.returncode == 2
    assert "PyTorch finds no NVIDIA GPU; --toy" in done.stderr
    assert not list(tmp_path.iterdir())


def test_what_fails_is_named_and_measured_again_by_the_same_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measure(contestant: str, setup: gpu.Setup) -> gpu.Found:
        calls.append(contestant)
        assert (tmp_path / "gpu.json").exists(), "if it is killed now, its settings are known"
        if setup.compile and fails:
            raise RuntimeError("out of memory")
        return dict.fromkeys(("samples_per_second", "steps_per_second", "tokens_per_second"), 1.0) | {
            "val_loss": 0.5,
            "val_accuracy": 0.9,
            "curve": [[4, 0.5]],
            "flops_per_second": 1e12,
            "peak_memory_bytes": 2**30,
            "compile_seconds": 3.0,
            "device": "a GPU",
        }

    calls: list[str] = []
    monkeypatch.setattr(gpu, "measure", measure)
    monkeypatch.setattr(gpu, "run_recipe", lambda *_: calls.append("recipe") or pytest.fail("not this time"))
    monkeypatch.setattr(sys, "argv", ["gpu", "--toy", "--peak-tflops", "10", "-o", str(tmp_path)])
    measurements = gpu.measurements
    monkeypatch.setattr(gpu, "measurements", lambda *arguments: list(measurements(*arguments))[2:])
    for fails, number, status in ((True, 5, 1), (False, 1, 0)):
        calls.clear()
        with pytest.raises(SystemExit) as ended:
            gpu.main()
        assert (len(calls), ended.value.code) == (number, status)
        page = (tmp_path / "gpu.md").read_text()
        assert ("| 16, compiled | failed |" in page) == fails
        assert ("Failed: batch size 16, compiled." in page) == fails
        assert "| 16 | 1 | 1 | 10.0% | 1.00 GiB |" in page
        assert ("out of memory" in capsys.readouterr().out) == fails
    record = json.loads((tmp_path / "gpu.json").read_text())
    record["settings"]["commit"] = "another"
    (tmp_path / "gpu.json").write_text(json.dumps(record))
    with pytest.raises(SystemExit, match="other settings or another commit"):
        gpu.main()
