"""Size, speed and agreement of a run's ONNX export in float32 and with int8 weights.

    python -m benchmarks.quantized RUN_DIR [--rows 1000]

The rows are those of the shipped test split, in batches of 32 of similar length. The speed is rows per second of
processor time with one thread, the median over the rounds, in which the two take turns.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
import transformers

from lora_agnews.data.source import Source, load_test_rows
from lora_agnews.inference.onnx_file import FILE, load_onnx

BATCH = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    rows = load_test_rows(Source("sample"))
    assert rows is not None
    texts, labels = rows.texts[: args.rows], torch.tensor(rows.labels[: args.rows])
    networks, sizes = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for name, more in (("float32", []), ("int8", ["--quantize"])):
            line = [sys.executable, "-m", "lora_agnews", "export", str(args.run), "--format", "onnx"]
            subprocess.run([*line, "-o", f"{folder}/{name}", *more], check=True)
            sizes[name] = Path(folder, name, FILE).stat().st_size
            networks[name] = load_onnx(Path(folder, name), threads=1)
        tokenizer = transformers.AutoTokenizer.from_pretrained(f"{folder}/float32")
    order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
    batches = [order[start : start + BATCH] for start in range(0, len(order), BATCH)]
    options = {"padding": True, "truncation": True, "return_tensors": "pt"}
    inputs = [tokenizer([texts[i] for i in batch], **options) for batch in batches]
    logits = {name: torch.zeros(len(texts), 4) for name in networks}
    seconds: dict[str, list[float]] = {name: [] for name in networks}
    for _ in range(args.rounds):
        for name, network in networks.items():
            began = time.process_time()
            for batch, each in zip(batches, inputs, strict=True):
                logits[name][batch] = network(each["input_ids"], each["attention_mask"])
            seconds[name].append(time.process_time() - began)
    print("| weights | size | rows per CPU second | accuracy | labels as float32 | largest difference of a logit |")
    print("|---|---:|---:|---:|---:|---:|")
    for name, found in logits.items():
        speed = len(texts) / statistics.median(seconds[name])
        same = (found.argmax(1) == logits["float32"].argmax(1)).float().mean()
        largest = (found - logits["float32"]).abs().max()
        accuracy = (found.argmax(1) == labels).float().mean()
        size = f"{sizes[name] / 1e6:.1f} MB"
        print(f"| {name} | {size} | {speed:,.0f} | {accuracy:.4f} | {same:.1%} | {largest:.3f} |")


if __name__ == "__main__":
    main()
