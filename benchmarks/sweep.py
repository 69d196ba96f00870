"""What a sweep costs with a cached prefix, in single runs with adapters in all layers, and beside transformers.Trainer.

    python -m benchmarks.sweep                                    # tiny, the top layer
    python -m benchmarks.sweep --model FOLDER --layers 2 4 --precision bf16-mixed --steps 30

Each speed is measured in a process of its own over some steps, after a warm-up, and the time of whole runs follows from
it: rows times epochs divided by the speed. The prefix is computed once, for all rows. Validation is left out
everywhere. The runs of transformers.Trainer, one after another, are not shared in any way, so theirs is the time of
one, multiplied.
"""

import argparse
import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from benchmarks.contestants import OURS, PEER, SHIPPED_ROWS, Found, Setup, measure
from lora_agnews.data.source import read_file

GIB = 1 << 30


def measurements(base: Setup, layers: list[int], folder: Path) -> Iterator[tuple[str, str, Found]]:
    """Yield contestant, layers with adapters and what was measured."""
    yield OURS, "all", measure(OURS, base)
    for number in layers:
        yield OURS, f"top {number}", measure(OURS, replace(base, layers=f"-{number}:"))
        cached = replace(base, layers=f"-{number}:", prefix="cached", cache_dir=str(folder / str(number)))
        found = measure(OURS, cached)
        found["cache_bytes"] = sum(path.stat().st_size for path in (folder / str(number)).rglob("part-*.npy"))
        yield f"{OURS}, cached", f"top {number}", found
    yield PEER, "all", measure(PEER, base)
    for number in layers:
        yield PEER, f"top {number}", measure(PEER, replace(base, layers=f"-{number}:"))


def table(found: list[tuple[str, str, Found]], configurations: int, epochs: int, rows: int, trained: int) -> list[str]:
    """Return a table in Markdown. `trained` of the `rows` are training rows."""
    single = trained * epochs / found[0][2]["samples_per_second"]
    lines = [
        f"| {configurations} configurations, {epochs} epochs of {trained:,} rows | samples/s | prefix | sweep "
        "| in single runs | memory |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, layers, each in found:
        prefix = each.get("prefix_seconds", 0.0)
        seconds = prefix + configurations * trained * epochs / each["samples_per_second"]
        disk = f" ({each['cache_bytes'] / rows / 1000:,.0f} kB a row)" if "cache_bytes" in each else ""
        lines.append(
            f"| {name}, adapters in {layers} | {each['samples_per_second']:,.1f} | {prefix:,.0f} s{disk} "
            f"| {seconds:,.0f} s | {seconds / single:.2f} | {each['peak_memory_bytes'] / GIB:.2f} GiB |"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny", help="tiny, a local folder or a hub id")
    parser.add_argument("--targets", nargs="+", default=["query", "value"])
    parser.add_argument("--layers", nargs="+", type=int, default=[1], help="numbers of top layers with adapters")
    parser.add_argument("--configurations", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--train-file", default=SHIPPED_ROWS)
    parser.add_argument("--steps", type=int, default=60, help="steps whose speed is measured")
    parser.add_argument("--warm-up", type=int, default=10, help="of these steps, not measured")
    parser.add_argument("--precision", default="32-true", choices=("32-true", "16-mixed", "bf16-mixed"))
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    values = vars(parser.parse_args())
    layers, configurations, epochs = (values.pop(name) for name in ("layers", "configurations", "epochs"))
    common = {"val_fraction": 0.1, "max_length": 256, "batch_size": 32, "checks": 1, "compile": False, "seed": 0}
    base, rows = Setup(**values, **common), len(read_file(Path(values["train_file"])))  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as folder:
        found = list(measurements(base, layers, Path(folder)))
    print(f"{Path(base.model).name}, {base.steps} steps, {base.precision}, {base.threads} threads")
    print("\n".join(table(found, configurations, epochs, rows, round(rows * 0.9))))


if __name__ == "__main__":
    main()
