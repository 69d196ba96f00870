"""Commands that know no hub but a local one and no cache but a given one."""

import socket
import subprocess
from pathlib import Path

import pyarrow
import pyarrow.parquet
from transformers import RobertaConfig, RobertaForMaskedLM

from lora_agnews.data.source import read_file
from lora_agnews.labels import AG_NEWS
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
    code = f"from lora_agnews.hub import fetch; print(fetch({repo!r}, ['config.json'], {revision!r}).commit)"
    return run(home, endpoint, "-c", code, **environment)


OTHER_DATA = "somebody/news"


README = """\
---
dataset_info:
  features:
  - name: topic
    dtype:
      class_label:
        names:
          '0': sci_tech
          '1': business
          '2': SPORTS
          '3': world
  - name: content
    dtype: string
---
"""


def save_repositories(folder: Path, rows: int, **shape: int) -> None:
    """A RoBERTa with random weights and `rows` shipped rows of each split, as the hub has them."""
    model, data = folder / "models" / MODEL, folder / "datasets" / AG_NEWS / "data"
    data.mkdir(parents=True)
    for split in ("train", "test"):
        shipped = read_file(SAMPLE / f"{split}.csv.gz")
        table = pyarrow.table({"text": shipped.texts[:rows], "label": shipped.labels[:rows]})
        pyarrow.parquet.write_table(table, data / f"{split}-00000-of-00001.parquet")
        if split == "train":
            save_other_data(folder / "datasets" / OTHER_DATA, shipped.texts[:rows], shipped.labels[:rows])
    tokenizer = train_tokenizer(table["text"].to_pylist(), vocab_size=600)
    config = RobertaConfig(type_vocab_size=1, max_position_embeddings=514, layer_norm_eps=1e-5, **shape)
    RobertaForMaskedLM(config).save_pretrained(model)
    tokenizer.save_pretrained(model)
    (model / "README.md").write_text("not asked for")
    (model / "pytorch_model.bin").write_text("not asked for")


def save_other_data(folder: Path, texts: list[str], labels: list[int]) -> None:
    """Save training rows with other names of columns and classes, these in the opposite order, and no test rows."""
    folder.mkdir(parents=True)
    table = pyarrow.table({"topic": [3 - label for label in labels], "content": texts})
    pyarrow.parquet.write_table(table, folder / "train.parquet")
    (folder / "README.md").write_text(README)


def unreachable() -> socket.socket:
    """A port that is taken and refuses every connection."""
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    return taken


def address(server: socket.socket) -> str:
    return f"http://127.0.0.1:{server.getsockname()[1]}"
