"""Fixtures that several test modules share."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import RobertaConfig

from lora_agnews.model.build import Lora
from lora_agnews.model.encoder import Encoder, locate

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ["query", "value", "classifier.dense"]


def run_python(*arguments: str, without: tuple[str, ...] = (), **environment: str) -> subprocess.CompletedProcess[str]:
    """`python ARGUMENTS` in the repository, with no terminal, less the variables whose names begin with `without`."""
    kept = {name: value for name, value in os.environ.items() if not (without and name.startswith(without))}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env=kept | {"COLUMNS": "100"} | environment,
        timeout=200,
    )


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def _shape(folder: Path, hidden: int, layers: int) -> Encoder:
    """An encoder folder with a config and nothing else: enough to predict, not to train."""
    RobertaConfig(
        vocab_size=50265,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 64,
        intermediate_size=4 * hidden,
        max_position_embeddings=514,
        type_vocab_size=1,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
    ).save_pretrained(folder)
    return locate(str(folder), None)


@pytest.fixture(scope="session")
def roberta_base(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    return _shape(tmp_path_factory.mktemp("roberta-base"), 768, 12)


@pytest.fixture(scope="session")
def roberta_large(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    return _shape(tmp_path_factory.mktemp("roberta-large"), 1024, 24)


@pytest.fixture
def lora() -> Callable[..., Lora]:
    """The reference's adapters, with changes."""

    def make(
        r: int = 1, targets: list[str] = REFERENCE, head: str = "full", dropout: float = 0.5, alpha: int = 2
    ) -> Lora:
        return Lora(r, alpha, dropout, targets, head)

    return make
