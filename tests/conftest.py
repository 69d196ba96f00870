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

from lora_agnews.model.allocation import Lora
from lora_agnews.model.shape import Shape, read_shape

ROOT = Path(__file__).resolve().parent.parent
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
        env=kept | {"COLUMNS": "100", "XDG_CACHE_HOME": CACHE} | environment,
        timeout=200,
    )


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def roberta_base() -> Shape:
    return read_shape("FacebookAI/roberta-base")


@pytest.fixture
def roberta_large() -> Shape:
    return read_shape("FacebookAI/roberta-large")


@pytest.fixture
def lora() -> Callable[..., Lora]:
    """The reference's adapters, with changes."""
    reference = Lora(
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
