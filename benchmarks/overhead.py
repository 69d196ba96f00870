"""What Lightning, metrics, progress bar and checkpoints cost a step: the run of train.py beside a bare loop.

    python -m benchmarks.overhead

Both do the same steps on the same batches of few, short rows, so that the arithmetic hides little.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.train import SHIPPED_ROWS
from lora_agnews.data.datamodule import AGNewsDataModule
from lora_agnews.experiment import run_experiment
from lora_agnews.launch import check_overrides
from lora_agnews.model.allocation import Lora
from lora_agnews.model.build import build_model, load_tokenizer
from lora_agnews.model.encoder import locate
from lora_agnews.task import parameter_groups

SHORT = ["model=tiny", f"data.train_file={SHIPPED_ROWS}", "data.max_length=8", "data.batch_size=4"]
SHORT += ["data.eval_batch_size=512", "trainer.precision=32-true", "logger.wandb=disabled"]


def through_lightning(steps: int) -> float:
    """Milliseconds a step, validation left out."""
    config = check_overrides("train", [*SHORT, f"trainer.max_steps={steps}"])
    with tempfile.TemporaryDirectory() as folder:
        return 1000 / run_experiment(config, None, Path(folder)).throughput["steps_per_second"]


def bare(steps: int) -> float:
    """Milliseconds a step of the loop that one would write by hand."""
    config, encoder = check_overrides("train", SHORT), locate("tiny", None)
    data = AGNewsDataModule(
        load_tokenizer(encoder, 8),
        source="files",
        train_file=SHIPPED_ROWS,
        test_file=None,
        max_length=8,
        val_fraction=0.1,
        batch_size=4,
        eval_batch_size=512,
        bucket=50,
        cache_dir=None,
        seed=0,
    )
    data.setup()
    model = build_model(encoder, Lora.of(config.model), 0)
    optimizer = torch.optim.Adam(parameter_groups(model, 7e-4, 1.0), weight_decay=0.003)
    criterion, batches = torch.nn.CrossEntropyLoss(), iter(data.train_dataloader())
    began = time.perf_counter()
    for _ in range(steps):
        batch = next(batches)
        loss = criterion(model(batch["input_ids"], batch["attention_mask"]).logits, batch["labels"])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return 1000 * (time.perf_counter() - began) / steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    rounds = [(through_lightning(args.steps), bare(args.steps)) for _ in range(args.rounds)]
    ours, loop = (statistics.median(times) for times in zip(*rounds, strict=True))
    print(f"train.py {ours:.2f} ms a step, bare loop {loop:.2f}: {ours - loop:+.2f} ms, median of {args.rounds} rounds")


if __name__ == "__main__":
    main()
