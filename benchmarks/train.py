"""Speed and accuracy beside the Hugging Face Trainer with PEFT: same rows, model, batch size, precision and steps.

    python -m benchmarks.train
    python -m benchmarks.train --model FOLDER --train-file train.csv.gz --steps 200

Each run has its own process, the contestants take turns, and each round has its own seed. Speeds and memory are medians
over the rounds, accuracies and losses means and standard deviations on the same validation rows after `steps` steps.
Speeds leave out the first steps of each run. They are in tokens without padding, because the rows of a few steps can be
longer or shorter than the average, and group_by_length begins with the longest.
"""

import argparse
import os
import statistics
from collections.abc import Iterator
from pathlib import Path

from benchmarks.contestants import CONTESTANTS, OURS, PEER, SHIPPED_ROWS, Found, Setup, measure

Round = dict[str, Found]  # contestant -> what was measured


def table(rounds: list[Round], caption: str) -> Iterator[str]:
    """Yield a table in Markdown: one line per contestant."""
    yield f"| {caption} | tokens/s | ours / theirs | accuracy | loss | memory |"
    yield "|---|---:|---:|---:|---:|---:|"
    for name in CONTESTANTS:
        speed = median(rounds, name, "tokens_per_second")
        ratio = "" if name == OURS else f"{median(rounds, OURS, 'tokens_per_second') / speed:.2f}"
        memory = median(rounds, name, "peak_memory_bytes") / 2**30
        keys = ("val_accuracy", "val_loss")
        accuracy, loss = (mean_and_deviation([each[name][key] for each in rounds]) for key in keys)
        yield f"| {name} | {speed:,.0f} | {ratio} | {accuracy} | {loss} | {memory:.2f} GiB |"


def reached(one: Round, steps: int) -> str:
    """Say when ours had the last validation loss of the peer, both at their measured speed."""
    goal, speed = one[PEER]["val_loss"], one[OURS]["steps_per_second"]
    seconds = next((f"after {step / speed:.1f} s" for step, loss in one[OURS]["curve"] if loss <= goal), "not reached")
    return f"validation loss {goal:.4f}: {PEER} after {steps / one[PEER]['steps_per_second']:.1f} s, ours {seconds}"


def peak_share(rounds: list[Round], peak_tflops: float) -> str:
    """Say how many rows per second ours trains on and, if the device's peak is known, its share of that."""
    rows, flops = (median(rounds, OURS, key) for key in ("samples_per_second", "flops_per_second"))
    share = f", {flops / peak_tflops / 1e12:.1%} of the device's matrix peak" if peak_tflops else ""
    return f"ours: {rows:,.1f} samples/s{share}"


def median(rounds: list[Round], name: str, key: str) -> float:
    return float(statistics.median(each[name][key] for each in rounds))


def mean_and_deviation(values: list[float]) -> str:
    """Return the mean and, of several values, the standard deviation."""
    deviation = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.4f}{deviation}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny", help="tiny, a local folder or a hub id")
    parser.add_argument("--targets", nargs="+", default=["query", "value"])
    parser.add_argument("--train-file", default=SHIPPED_ROWS)
    parser.add_argument("--val-fraction", type=float, default=0.1)
    parser.add_argument("--max-length", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--warm-up", type=int, default=20, help="steps that are not measured")
    parser.add_argument("--checks", type=int, default=10, help="validations of ours; a divisor of the steps")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--precision", default="32-true", choices=("32-true", "16-mixed", "bf16-mixed"))
    parser.add_argument("--compile", action="store_true", help="ours with trainer.compile=true")
    parser.add_argument("--peak-tflops", type=float, default=0, help="of the device in this precision: 989 for an H100")
    values = vars(parser.parse_args())
    number, peak_tflops = values.pop("rounds"), values.pop("peak_tflops")
    setups = [Setup(**values, seed=seed) for seed in range(number)]
    rounds = [{name: measure(name, setup) for name in CONTESTANTS} for setup in setups]
    one, compiled = setups[0], ", ours compiled" if values["compile"] else ""
    caption = f"{Path(one.model).name}, {Path(values['train_file']).name}, {one.steps} steps, {one.precision}{compiled}"
    print(*table(rounds, caption), "", f"{one.threads} threads, {rounds[0][OURS]['device']}", sep="\n")
    print(*(reached(each, one.steps) for each in rounds), peak_share(rounds, peak_tflops), sep="\n")


if __name__ == "__main__":
    main()
