"""Commands that know no hub but a local one and no cache but a given one."""

import socket
import subprocess
from pathlib import Path

import pyarrow
import pyarrow.parquet
from transformers import RobertaConfig, RobertaForMaskedLM

from lora_agnews.data.source import HUB_NAME, read_file
from tests.commands import ROOT, run_python
from tools.pretrain_tiny import train_tokenizer

MODEL = "FacebookAI/roberta-base"


NO_WEIGHTS = "somebody/pickled"


NOWHERE = "nobody/nothing"


SAMPLE = ROOT / "lora_agnews" / "data" / "sample"


WAYS_OUT = ["experiment=quickstart", "model.name=/local/dir data.train_file="]


Done = subprocess.CompletedProcess[str]


def run(home: Path, endpoint: str, *arguments: str, **environment: str) -> Done:
    """A command that knows no hub but `endpoint` and no cache but `home`."""
    hub = {"HF_HOME": str(home), "HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_XET": "1"}
    return run_python(*arguments, without=("HF_",), **hub | environment)


def train(home: Path, endpoint: str, run_dir: Path, *overrides: str, **environment: str) -> Done:
    short = ["trainer.max_steps=3", "data.max_length=32", "logger.wandb=disabled"]
    where = [f"hydra.run.dir={run_dir}", f"hydra.sweep.dir={run_dir}"]
    return run(home, endpoint, "train.py", *overrides, *short, *where, **environment)


def fetch(home: Path, endpoint: str, repo: str, revision: str | None = None, **environment: str) -> Done:
    """The config of a model and no training: prints the commit."""
    code = f"from lora_agnews.hub import fetch; print(fetch({repo!r}, 'model', ['config.json'], {revision!r}).commit)"
    return run(home, endpoint, "-c", code, **environment)


def save_repositories(folder: Path, rows: int, **shape: int) -> None:
    """A RoBERTa with random weights and `rows` shipped rows of each split, as the hub has them."""
    model, data = folder / "models" / MODEL, folder / "datasets" / HUB_NAME / "data"
    data.mkdir(parents=True)
    for split in ("train", "test"):
        shipped = read_file(SAMPLE / f"{split}.csv.gz")
        table = pyarrow.table({"text": shipped.texts[:rows], "label": shipped.labels[:rows]})
        pyarrow.parquet.write_table(table, data / f"{split}-00000-of-00001.parquet")
    tokenizer = train_tokenizer(table["text"].to_pylist(), vocab_size=600)
    config = RobertaConfig(type_vocab_size=1, max_position_embeddings=514, layer_norm_eps=1e-5, **shape)
    RobertaForMaskedLM(config).save_pretrained(model)
    tokenizer.save_pretrained(model)
    (model / "README.md").write_text("not asked for")
    (model / "pytorch_model.bin").write_text("not asked for")


def unreachable() -> socket.socket:
    """A port that is taken and refuses every connection."""
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    return taken


def address(server: socket.socket) -> str:
    return f"http://127.0.0.1:{server.getsockname()[1]}"
