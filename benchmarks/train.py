"""Training speed beside the Hugging Face Trainer with PEFT: same rows, model, batch size, precision, steps and threads.

    python -m benchmarks.train
    python -m benchmarks.train --model FOLDER --train-file train.csv.gz --steps 200 --rounds 5

Every run is a process of its own, the contestants take turns, and the table holds medians over the rounds.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.resources import files
from pathlib import Path
from typing import Any

PEER = "transformers.Trainer"
CONTESTANTS = ("ours", PEER, f"{PEER}, group_by_length")
SHIPPED_ROWS = str(files("lora_agnews.data") / "sample" / "train.csv.gz")


def ours(args: argparse.Namespace) -> dict[str, float]:
    """The reference recipe as `train.py` runs it; its stopwatch leaves validation out."""
    from lora_agnews.experiment import run_experiment
    from lora_agnews.launch import check_overrides

    where = "model=tiny" if args.model == "tiny" else f"model.name={args.model}"
    values = [f"lora.target_modules=[{','.join(args.targets)}]", f"data.batch_size={args.batch_size}"]
    values += [f"data.max_length={args.max_length}", f"trainer.max_steps={args.steps}", f"seed={args.seed}"]
    values += [f"trainer.precision={args.precision}", "trainer.max_epochs=1000", "logger.wandb=disabled"]
    config = check_overrides("train", [where, f"data.train_file={args.train_file}", *values])
    with tempfile.TemporaryDirectory() as folder:
        result = run_experiment(config, None, Path(folder))
    return {"samples_per_second": result.throughput["samples_per_second"]}


def peer(args: argparse.Namespace, grouped: bool) -> dict[str, float]:
    """What most projects on this task do: Trainer, DataCollatorWithPadding, PEFT's SEQ_CLS. Rows lie in memory."""
    import peft
    import torch
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainerCallback,
        TrainingArguments,
    )

    from lora_agnews.data.source import read_file
    from lora_agnews.data.split import stratified_split
    from lora_agnews.model.encoder import locate

    folder = locate(args.model, None).folder
    rows, tokenizer = read_file(Path(args.train_file)), AutoTokenizer.from_pretrained(folder)
    chosen, _ = stratified_split(rows.labels, 0.1, args.seed)
    encoded = tokenizer([rows.texts[i] for i in chosen], truncation=True, max_length=args.max_length)
    data = [
        {"input_ids": ids, "attention_mask": mask, "labels": rows.labels[i]}
        for ids, mask, i in zip(encoded["input_ids"], encoded["attention_mask"], chosen, strict=True)
    ]
    torch.manual_seed(args.seed)
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=4, dtype=torch.float32)
    lora = peft.LoraConfig(task_type="SEQ_CLS", r=1, lora_alpha=2, lora_dropout=0.5, target_modules=args.targets)
    seconds = 0.0

    class Clock(TrainerCallback):
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            nonlocal seconds
            seconds = time.perf_counter()

        def on_train_end(self, *_: Any, **__: Any) -> None:
            nonlocal seconds
            seconds = time.perf_counter() - seconds

    with tempfile.TemporaryDirectory() as out:
        arguments = TrainingArguments(
            output_dir=out,
            per_device_train_batch_size=args.batch_size,
            max_steps=args.steps,
            learning_rate=7e-4,
            weight_decay=0.003,
            lr_scheduler_type="constant",
            logging_steps=50,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            seed=args.seed,
            fp16=args.precision == "16-mixed",
            bf16=args.precision == "bf16-mixed",
            use_cpu=not torch.cuda.is_available(),
            train_sampling_strategy="group_by_length" if grouped else "random",
        )
        collate = DataCollatorWithPadding(tokenizer)
        Trainer(
            model=peft.get_peft_model(model, lora),
            args=arguments,
            train_dataset=data,  # type: ignore[arg-type]
            data_collator=collate,
            callbacks=[Clock()],
        ).train()
    return {"samples_per_second": args.steps * args.batch_size / seconds}


def measure(args: argparse.Namespace, contestant: str) -> dict[str, float]:
    """One contestant in a process of its own."""
    line = [
        f"--{name.replace('_', '-')}={value}" for name, value in vars(args).items() if name not in ("one", "targets")
    ]
    command = [sys.executable, "-m", "benchmarks.train", *line, "--targets", *args.targets, "--one", contestant]
    threads = {"OMP_NUM_THREADS": str(args.threads), "MKL_NUM_THREADS": str(args.threads)}
    done = subprocess.run(command, env=os.environ | threads, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{contestant} failed:\n{done.stderr[-3000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny", help="tiny, a local folder or a hub id")
    parser.add_argument("--targets", nargs="+", default=["query", "value"])
    parser.add_argument("--train-file", default=SHIPPED_ROWS)
    parser.add_argument("--max-length", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--precision", default="32-true", choices=("32-true", "16-mixed", "bf16-mixed"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--one", choices=CONTESTANTS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        found = ours(args) if args.one == "ours" else peer(args, grouped=args.one != PEER)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        print(json.dumps(found | {"peak_memory_bytes": memory}))
        return
    rounds = [{name: measure(args, name) for name in CONTESTANTS} for _ in range(args.rounds)]
    medians = {
        name: {key: statistics.median(each[name][key] for each in rounds) for key in rounds[0][name]}
        for name in CONTESTANTS
    }
    print(f"{args.model}, batch {args.batch_size}, {args.steps} steps, {args.precision}, {args.threads} threads, "
          f"median of {args.rounds} rounds")  # fmt: skip
    print(f"{'':40}{'samples/s':>10}{'ours/it':>9}{'memory':>10}")
    for name, found in medians.items():
        ratio = medians["ours"]["samples_per_second"] / found["samples_per_second"]
        memory = found["peak_memory_bytes"] / 2**30
        print(f"{name:40}{found['samples_per_second']:>10.1f}{ratio:>8.2f}x{memory:>6.2f} GiB")


if __name__ == "__main__":
    main()
