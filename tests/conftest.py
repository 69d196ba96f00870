"""Fixtures that several test modules share."""

import subprocess
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from lora_agnews.model.architecture import Architecture, read_architecture
from lora_agnews.model.lora import LoraSpec
from tests.commands import train

torch.set_num_threads(1)  # two workers share two cores: pyproject.toml


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
