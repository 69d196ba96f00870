"""Fixtures that several test modules share."""

import csv
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedTokenizerBase

from lora_agnews.config.compose import compose_config
from lora_agnews.config.schema import TrainConfig
from lora_agnews.model.architecture import Architecture, read_architecture
from lora_agnews.model.build import load_tokenizer
from lora_agnews.model.encoder import find_encoder
from lora_agnews.model.lora import LoraSpec
from tests.commands import train
from tests.files_of_rows import write_labelled
from tests.hub_commands import MODEL, NO_WEIGHTS, save_repositories
from tests.hub_server import HubServer
from tests.records import change_adapter
from tests.resuming import TWELVE_STEPS, remains
from tests.resuming import train as train_here

torch.set_num_threads(1)  # two workers share two cores: pyproject.toml


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A finished run and the output of its command. Tests that change it take `run_copy`."""
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


@pytest.fixture(scope="session")
def run_dir(finished: tuple[Path, subprocess.CompletedProcess[str]]) -> Path:
    """The directory of a finished run. Tests that write into it take `run_copy`."""
    return finished[0]


@pytest.fixture
def run_copy(run_dir: Path, tmp_path: Path) -> Path:
    """A copy of a finished run, to be changed."""
    return Path(shutil.copytree(run_dir, tmp_path / "run"))


@pytest.fixture
def other_run(run_dir: Path, tmp_path: Path) -> Path:
    """A second run, with another head."""
    folder = tmp_path / "other"
    shutil.copytree(run_dir, folder)
    change_adapter(folder, lambda name, value: -value if "out_proj" in name else value)
    return folder


@pytest.fixture(scope="session")
def model_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubServer]:
    """The reference's repositories with a narrow model, and one whose weights are a pickle."""
    folder = tmp_path_factory.mktemp("hub")
    save_repositories(
        folder, 400, vocab_size=600, hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128
    )
    models = folder / "models"
    shutil.copytree(models / MODEL, models / NO_WEIGHTS, ignore=shutil.ignore_patterns("*.safetensors"))
    with HubServer(folder) as server:
        yield server


@pytest.fixture(scope="session")
def short_run(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Overrides of runs that take a second: 72 rows to train on, 8 to validate."""
    path = tmp_path_factory.mktemp("rows") / "few.csv"
    with path.open("w", newline="") as stream:
        file = csv.writer(stream)
        file.writerow(["text", "label"])
        for label, word in enumerate(("war", "goal", "shares", "chips")):
            file.writerows([f"{word} {i}", label] for i in range(20))
    values = ["model=tiny", f"data.train_file={path}", "data.max_length=8", "data.batch_size=24"]
    return [*values, "trainer.max_epochs=1", "trainer.precision=32-true", "logger.wandb=disabled"]


@pytest.fixture(scope="session")
def short_config(tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    """192 training rows in 12 batches, validated in the middle and at the end of 2 epochs."""
    folder = tmp_path_factory.mktemp("rows")
    write_labelled(folder / "few.csv", 53)
    files = [f"data.train_file={folder}/few.csv", f"data.test_file={folder}/few.csv", f"data.cache_dir={folder}"]
    return compose_config([*TWELVE_STEPS, *files])


@pytest.fixture(scope="session")
def uninterrupted(
    short_config: TrainConfig, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, float], dict[str, Any]]:
    """Metrics and files of the run that was not interrupted."""
    run_dir = tmp_path_factory.mktemp("whole") / "run"
    return train_here(run_dir, short_config).metrics, remains(run_dir)


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerBase:
    """The tokenizer of the shipped encoder."""
    return load_tokenizer(find_encoder("tiny", None), 256)
