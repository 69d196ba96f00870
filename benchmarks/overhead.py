"""Milliseconds per step that Lightning, metrics, progress bar and checkpoints cost: train.py beside a bare loop.

    python -m benchmarks.overhead

Both do the same steps on the same batches of few, short rows through a one-layer encoder on one thread, so that there
is hardly any arithmetic in which the cost could disappear.
"""

import argparse
import json
import shutil
import statistics
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import lightning as L
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import RobertaConfig, RobertaForMaskedLM

from benchmarks.contestants import SHIPPED_ROWS
from lora_agnews.config.compose import compose_config
from lora_agnews.data.batches import Batch
from lora_agnews.data.datamodule import AGNewsDataModule
from lora_agnews.model.architecture import read_architecture_folder
from lora_agnews.model.build import build_model, load_tokenizer, speed_up_encoder
from lora_agnews.model.encoder import find_encoder
from lora_agnews.model.lora import LoraSpec
from lora_agnews.training.callbacks import Stopwatch
from lora_agnews.training.optimizers import parameter_groups
from lora_agnews.training.run import run

SHORT = [f"data.train_file={SHIPPED_ROWS}", "data.max_length=8", "data.batch_size=4", "data.eval_batch_size=512"]
SHORT += ["trainer.precision=32-true", "logger.wandb=disabled"]


def one_layer(folder: Path) -> None:
    """Write an encoder with random weights and the tokenizer of `tiny`."""
    shutil.copytree(find_encoder("tiny", None).folder, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    config = json.loads((folder / "config.json").read_text())
    config |= {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    RobertaForMaskedLM(RobertaConfig(**config)).save_pretrained(folder)


def through_lightning(model: Path, steps: int) -> float:
    """Return the milliseconds per step of train.py, without validation."""
    config = compose_config([f"model.name={model}", *SHORT, f"trainer.max_steps={steps}"])
    with tempfile.TemporaryDirectory() as folder:
        return 1000 / run(config, Path(folder)).throughput["steps_per_second"]


def parts(model: Path) -> tuple[nn.Module, DataLoader[Batch], torch.optim.Optimizer]:
    config, encoder = compose_config([f"model.name={model}", *SHORT]), find_encoder(str(model), None)
    data = AGNewsDataModule(load_tokenizer(encoder, 8), **asdict(config.data), seed=0, processes=1)
    data.setup()
    built = build_model(encoder, LoraSpec.of(config.model), 0)
    speed_up_encoder(built, read_architecture_folder(encoder.name, encoder.folder))
    return built, data.train_dataloader(), torch.optim.Adam(parameter_groups(built, 7e-4, 1.0), weight_decay=0.003)


def loss_of(model: nn.Module, batch: Batch) -> Tensor:
    return nn.functional.cross_entropy(model(batch["input_ids"], batch.get("attention_mask")).logits, batch["labels"])


def lightning_alone(model: Path, steps: int) -> float:
    """Return the milliseconds per step of Lightning's loop without logger, checkpoints, progress bar and metrics."""
    built, batches, optimizer = parts(model)

    class Task(L.LightningModule):
        def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
            return loss_of(built, batch)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return optimizer

    off = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    stopwatch = Stopwatch(time.perf_counter(), 0.0)
    L.Trainer(accelerator="cpu", max_steps=steps, callbacks=[stopwatch], **off).fit(Task(), batches)  # type: ignore[arg-type]
    return 1000 * stopwatch.seconds / steps


def bare(model: Path, steps: int) -> float:
    """Return the milliseconds per step of a loop written by hand."""
    built, loader, optimizer = parts(model)
    batches = iter(loader)
    began = time.perf_counter()
    for _ in range(steps):
        loss = loss_of(built, next(batches))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return 1000 * (time.perf_counter() - began) / steps


CONTESTANTS = {"bare loop": bare, "Lightning alone": lightning_alone, "train.py": through_lightning}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "one-layer"
        one_layer(model)
        rounds = [[measure(model, args.steps) for measure in CONTESTANTS.values()] for _ in range(args.rounds)]
    print(f"milliseconds per step, {args.steps} steps, {args.rounds} rounds: median, and median and quartiles of the "
          "difference from the bare loop of the same round")  # fmt: skip
    for name, times in zip(CONTESTANTS, zip(*rounds, strict=True), strict=True):
        low, middle, high = statistics.quantiles([time - loop for time, (loop, *_) in zip(times, rounds, strict=True)])
        print(f"{name:16}{statistics.median(times):6.2f}{middle:+7.2f}  ({low:+.2f} to {high:+.2f})")


if __name__ == "__main__":
    main()
