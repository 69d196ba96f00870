"""Speed and accuracy beside the Hugging Face Trainer with PEFT: same rows, model, batch size, precision and steps.

    python -m benchmarks.train
    python -m benchmarks.train --model FOLDER --train-file train.csv.gz --steps 200

Each run has its own process, the contestants take turns, and each round has its own seed. Speeds and memory are medians
over the rounds, accuracies and losses means and standard deviations on the same validation rows after `steps` steps.
Our run then continues for half as many steps, to see when its validation loss reaches the last one of the peer.
"""

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.resources import files
from pathlib import Path
from typing import Any

OURS, PEER = "ours", "transformers.Trainer"
CONTESTANTS = (OURS, PEER, f"{PEER}, group_by_length")
SHIPPED_ROWS = str(files("lora_agnews.data") / "sample" / "train.csv.gz")
CHECKS = 10  # validations in `steps` steps
Found = dict[str, Any]


def ours(args: argparse.Namespace) -> Found:
    """Run the reference recipe as `train.py` does. Its stopwatch excludes validation."""
    from lora_agnews.config.compose import compose_config
    from lora_agnews.data.source import read_file
    from lora_agnews.data.split import stratified_split
    from lora_agnews.training.run import run

    chosen, _ = stratified_split(read_file(Path(args.train_file)).labels, args.val_fraction, args.seed)
    batches, longer = -(-len(chosen) // args.batch_size), args.steps * 3 // 2
    if longer > batches:
        raise SystemExit(f"--steps={args.steps}: ours runs {longer} of at most {batches} steps, one epoch")
    where = "model=tiny" if args.model == "tiny" else f"model.name={args.model}"
    values = [f"lora.target_modules=[{','.join(args.targets)}]", f"data.batch_size={args.batch_size}"]
    values += [f"data.val_fraction={args.val_fraction}", f"data.max_length={args.max_length}", f"seed={args.seed}"]
    values += [f"trainer.max_steps={longer}", f"trainer.val_check_interval={args.steps // CHECKS / batches}"]
    values += [f"trainer.precision={args.precision}", f"trainer.compile={args.compile}", "logger.wandb=disabled"]
    values += ["trainer.early_stopping_patience=0", "trainer.max_epochs=1"]
    config = compose_config([where, f"data.train_file={args.train_file}", *values])
    with tempfile.TemporaryDirectory() as folder:
        speed = run(config, Path(folder)).throughput
        with (Path(folder) / "metrics.csv").open(newline="") as stream:
            rows = [row for row in csv.DictReader(stream) if row["val/loss"]]
    curve = {int(row["step"]) + 1: (float(row["val/loss"]), float(row["val/accuracy"])) for row in rows}
    loss, accuracy = curve[args.steps]
    reached = [[step / speed["steps_per_second"], found] for step, (found, _) in curve.items()]
    return {key: speed[key] for key in ("samples_per_second", "tokens_per_second")} | {
        "val_loss": loss,
        "val_accuracy": accuracy,
        "curve": reached,
        "seconds": args.steps / speed["steps_per_second"],
    }


def peer(args: argparse.Namespace, grouped: bool) -> Found:
    """Do what most projects on this task do: Trainer, DataCollatorWithPadding, PEFT's SEQ_CLS. Rows are in memory."""
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
    from lora_agnews.model.encoder import find_encoder

    folder = find_encoder(args.model, None).folder
    rows, tokenizer = read_file(Path(args.train_file)), AutoTokenizer.from_pretrained(folder)

    def encode(chosen: Any) -> list[dict[str, Any]]:
        found = tokenizer([rows.texts[i] for i in chosen], truncation=True, max_length=args.max_length)
        columns = zip(found["input_ids"], found["attention_mask"], chosen, strict=True)
        return [{"input_ids": ids, "attention_mask": mask, "labels": rows.labels[i]} for ids, mask, i in columns]

    train, val = map(encode, stratified_split(rows.labels, args.val_fraction, args.seed))
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
        trainer = Trainer(
            model=peft.get_peft_model(model, lora),
            args=arguments,
            train_dataset=train,  # type: ignore[arg-type]
            eval_dataset=val,  # type: ignore[arg-type]
            compute_metrics=lambda found: {"accuracy": float((found.predictions.argmax(-1) == found.label_ids).mean())},
            data_collator=collate,
            callbacks=[Clock()],
        )
        trainer.train()
        found = trainer.evaluate()
    return {
        "samples_per_second": args.steps * args.batch_size / seconds,
        "val_loss": found["eval_loss"],
        "val_accuracy": found["eval_accuracy"],
        "seconds": seconds,
    }


def measure(args: argparse.Namespace, contestant: str, seed: int) -> Found:
    """Run one contestant in a process of its own."""
    values = vars(args) | {"seed": seed, "one": contestant}
    line = [
        f"--{name.replace('_', '-')}={value}" for name, value in values.items() if name not in ("targets", "compile")
    ]
    line += ["--compile"] if args.compile else []
    threads = {"OMP_NUM_THREADS": str(args.threads), "MKL_NUM_THREADS": str(args.threads)}
    command = [sys.executable, "-m", "benchmarks.train", *line, "--targets", *args.targets]
    done = subprocess.run(command, env=os.environ | threads, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{contestant} failed:\n{done.stderr[-3000:]}")
    found: Found = json.loads(done.stdout.splitlines()[-1])
    return found


def report(args: argparse.Namespace, rounds: list[dict[str, Found]]) -> None:
    def median(name: str, key: str) -> float:
        return float(statistics.median(each[name][key] for each in rounds))

    def spread(name: str, key: str) -> str:
        values = [each[name][key] for each in rounds]
        return f"{statistics.mean(values):.4f} ± {statistics.stdev(values) if len(values) > 1 else 0:.4f}"

    print(
        f"{args.model}, {Path(args.train_file).name}, batch {args.batch_size}, {args.steps} steps, {args.precision}"
        f"{', ours compiled' if args.compile else ''}, {args.threads} threads, {len(rounds)} rounds of seeds 0, 1, ..."
    )
    print(f"{'':38}{'samples/s':>10}{'ours/it':>9}{'val accuracy':>18}{'val loss':>18}{'seconds':>9}{'memory':>10}")
    for name in CONTESTANTS:
        ratio = median(OURS, "samples_per_second") / median(name, "samples_per_second")
        print(
            f"{name:38}{median(name, 'samples_per_second'):>10.1f}{ratio:>8.2f}x{spread(name, 'val_accuracy'):>18}"
            f"{spread(name, 'val_loss'):>18}{median(name, 'seconds'):>9.1f}"
            f"{median(name, 'peak_memory_bytes') / 2**30:>6.2f} GiB"
        )
    for each in rounds:
        goal = each[PEER]["val_loss"]
        reached = next((f"{at:.1f} s" for at, loss in each[OURS]["curve"] if loss <= goal), "not reached")
        print(f"the validation loss of {PEER}, {goal:.4f} after {each[PEER]['seconds']:.1f} s: ours {reached}")
    tokens = median(OURS, "tokens_per_second")
    print(f"ours: {tokens:,.0f} real tokens/s", end="")
    if args.peak_tflops:
        from lora_agnews.model.architecture import read_architecture_folder
        from lora_agnews.model.encoder import find_encoder

        encoder = find_encoder(args.model, None)
        linears = read_architecture_folder(encoder.name, encoder.folder).linears.items()
        weights = sum(out * inputs for name, (out, inputs) in linears if ".layer." in name)
        print(f", {4 * weights * tokens / args.peak_tflops / 1e12:.1%} of the device's matrix peak", end="")
    print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny", help="tiny, a local folder or a hub id")
    parser.add_argument("--targets", nargs="+", default=["query", "value"])
    parser.add_argument("--train-file", default=SHIPPED_ROWS)
    parser.add_argument("--val-fraction", type=float, default=0.1)
    parser.add_argument("--max-length", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=70, help=f"a multiple of {CHECKS}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--precision", default="32-true", choices=("32-true", "16-mixed", "bf16-mixed"))
    parser.add_argument("--compile", action="store_true", help="ours with trainer.compile=true")
    parser.add_argument("--peak-tflops", type=float, default=0, help="of the device in this precision: 989 for an H100")
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--one", default="", choices=("", *CONTESTANTS), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.steps % CHECKS:
        parser.error(f"--steps={args.steps}: a multiple of {CHECKS} is needed")
    if args.one:
        found = ours(args) if args.one == OURS else peer(args, grouped=args.one != PEER)
        import torch

        from lora_agnews.training.callbacks import peak_memory

        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        print(json.dumps(found | {"peak_memory_bytes": peak_memory(device)}))
        return
    report(args, [{name: measure(args, name, seed) for name in CONTESTANTS} for seed in range(args.rounds)])


if __name__ == "__main__":
    main()
