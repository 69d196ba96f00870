"""Fixtures that several test modules share."""

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from lora_agnews.model.architecture import Architecture, read_architecture
from lora_agnews.model.lora import LoraSpec

ROOT = Path(__file__).resolve().parent.parent
SHORT = ["experiment=quickstart", "trainer.max_steps=6", "data.max_length=16", "logger.wandb=disabled"]
torch.set_num_threads(1)  # two workers share two cores: pyproject.toml
CACHE = tempfile.mkdtemp(prefix="lora_agnews-")  # of the commands that the tests run
atexit.register(shutil.rmtree, CACHE, ignore_errors=True)


def run_python(*arguments: str, without: tuple[str, ...] = (), **environment: str) -> subprocess.CompletedProcess[str]:
    """`python ARGUMENTS` in the repository, with no terminal, less the variables whose names begin with `without`."""
    kept = {name: value for name, value in os.environ.items() if not (without and name.startswith(without))}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env=kept | {"COLUMNS": "100", "XDG_CACHE_HOME": CACHE, "OMP_NUM_THREADS": "1"} | environment,
        timeout=200,
    )


def train(run_dir: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    """Six steps on short texts."""
    return run_python("train.py", *SHORT, *overrides, f"hydra.run.dir={run_dir}")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A run that came to its end, and what the command said. Tests that write into it take a copy."""
    run_dir = tmp_path_factory.mktemp("runs") / "finished"
    done = train(run_dir)
    assert done.returncode == 0, done.stderr
    return run_dir, done


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def roberta_base() -> Architecture:
    return read_architecture("FacebookAI/roberta-base")


@pytest.fixture
def roberta_large() -> Architecture:
    return read_architecture("FacebookAI/roberta-large")


@pytest.fixture
def lora() -> Callable[..., LoraSpec]:
    """The reference's adapters, with changes."""
    reference = LoraSpec(
        r=1,
        alpha=2,
        dropout=0.5,
        target_modules=["query", "value", "classifier.dense"],
        layers="all",
        bias="none",
        use_rslora=False,
        use_dora=False,
        init="default",
        head="full",
    )
    return partial(replace, reference)
