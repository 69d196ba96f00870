"""Rows per second of predictions beside `transformers.pipeline`: same run, same rows, same labels, float32.

    python -m benchmarks.predict                                   # tiny, the shipped rows: minutes
    python -m benchmarks.predict --file train.csv.gz [--run RUN_DIR] [--half]

Without a run, the reference recipe is trained on tiny for 20 steps (texts up to 256 tokens). Both read the texts before
the clock starts and return labels. The pipeline uses the merged export of the run at batch size 64. Each contestant has
its own process, they take turns, and speeds are medians over the rounds.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import Any

OURS, PEER = "ours", "transformers.pipeline"
REFERENCE = ["experiment=seed", "model=tiny", "data.source=sample", "trainer.max_steps=20", "logger.wandb=disabled"]
REFERENCE += ["trainer.precision=32-true"]


def ours(args: argparse.Namespace, texts: list[str]) -> tuple[float, list[int]]:
    """Do what `python -m lora_agnews predict` does between reading and writing."""
    from lora_agnews.inference.classifier import load_classifier, open_run

    classifier = load_classifier([open_run(args.run)], half=args.half)
    began = time.perf_counter()
    labels = [int(label) for _, found in classifier.stream(texts) for label in found.argmax(1)]
    return time.perf_counter() - began, labels


def peer(args: argparse.Namespace, texts: list[str]) -> tuple[float, list[int]]:
    """Do what the documentation of transformers recommends for many texts."""
    import torch
    import transformers

    classify = transformers.pipeline(
        "text-classification",
        str(args.merged),
        batch_size=64,
        truncation=True,
        device=0 if torch.cuda.is_available() else -1,
        dtype=torch.float16 if args.half else torch.float32,
    )
    numbers = classify.model.config.label2id
    began = time.perf_counter()
    labels = [numbers[found["label"]] for found in classify(texts)]
    return time.perf_counter() - began, labels


def measure(args: argparse.Namespace) -> None:
    """Measure one contestant in this process."""
    from lora_agnews.data.source import read_texts

    texts = list(islice(read_texts(args.file), args.rows))
    seconds, labels = (ours if args.contestant == OURS else peer)(args, texts)
    print(json.dumps({"seconds": seconds, "labels": labels}))


def main() -> None:
    """Run the contestants and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--file", type=Path, default=Path(str(files("lora_agnews.data") / "sample" / "train.csv.gz")))
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--half", action="store_true", help="both in half precision")
    parser.add_argument("--contestant", choices=(OURS, PEER), help=argparse.SUPPRESS)
    parser.add_argument("--merged", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.contestant:
        return measure(args)
    found: dict[str, list[dict[str, Any]]] = {OURS: [], PEER: []}
    with tempfile.TemporaryDirectory() as folder:
        run, merged = args.run or f"{folder}/run", f"{folder}/merged"
        if not args.run:
            subprocess.run([sys.executable, "train.py", *REFERENCE, f"hydra.run.dir={run}"], check=True)
        subprocess.run([sys.executable, "-m", "lora_agnews", "export", run, "-o", merged], check=True)
        for _ in range(args.rounds):
            for contestant, rounds in found.items():
                line = [sys.executable, "-m", "benchmarks.predict", *sys.argv[1:]]
                line += ["--run", run, "--contestant", contestant, "--merged", merged]
                done = subprocess.run(line, check=True, stdout=subprocess.PIPE, text=True)
                rounds.append(json.loads(done.stdout.splitlines()[-1]))
    number = len(found[OURS][0]["labels"])
    speed = {name: number / statistics.median(each["seconds"] for each in rounds) for name, rounds in found.items()}
    differ = sum(a != b for a, b in zip(found[OURS][0]["labels"], found[PEER][0]["labels"], strict=True))
    for name, rounds in found.items():
        print(f"{name:24}{speed[name]:10,.1f} rows/s   {[round(each['seconds'], 1) for each in rounds]} s")
    print(f"ratio {speed[OURS] / speed[PEER]:.2f}, {differ} of {number:,} labels differ")


if __name__ == "__main__":
    main()
