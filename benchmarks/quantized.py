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

import numpy as np

from lora_agnews.data.source import Source, load_test_rows

BATCH = 32


def main() -> None:
    import onnxruntime
    import transformers

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    rows = load_test_rows(Source("sample"))
    assert rows is not None
    labels = np.asarray(rows.labels[: args.rows])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    sessions, sizes = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for name, more in (("float32", []), ("int8", ["--quantize"])):
            line = [sys.executable, "-m", "lora_agnews", "export", str(args.run), "--format", "onnx"]
            subprocess.run([*line, "-o", f"{folder}/{name}", *more], check=True)
            path = Path(folder, name, "model.onnx")
            sizes[name] = path.stat().st_size
            sessions[name] = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        tokenizer = transformers.AutoTokenizer.from_pretrained(f"{folder}/float32")
    texts = rows.texts[: args.rows]
    order = np.argsort([-len(text) for text in texts], kind="stable")
    batches = [order[start : start + BATCH] for start in range(0, len(order), BATCH)]
    inputs = [
        dict(tokenizer([texts[i] for i in batch], padding=True, truncation=True, return_tensors="np"))
        for batch in batches
    ]
    inputs = [{name: each[name] for name in ("input_ids", "attention_mask")} for each in inputs]
    logits = {name: np.zeros((len(texts), 4), np.float32) for name in sessions}
    seconds: dict[str, list[float]] = {name: [] for name in sessions}
    for _ in range(args.rounds):
        for name, session in sessions.items():
            began = time.process_time()
            for batch, each in zip(batches, inputs, strict=True):
                (logits[name][batch],) = session.run(["logits"], each)
            seconds[name].append(time.process_time() - began)
    print("| weights | size | rows per CPU second | accuracy | labels as float32 | largest difference of a logit |")
    print("|---|---:|---:|---:|---:|---:|")
    for name, found in logits.items():
        speed = len(texts) / statistics.median(seconds[name])
        same = (found.argmax(1) == logits["float32"].argmax(1)).mean()
        largest = np.abs(found - logits["float32"]).max()
        accuracy = (found.argmax(1) == labels).mean()
        size = f"{sizes[name] / 1e6:.1f} MB"
        print(f"| {name} | {size} | {speed:,.0f} | {accuracy:.4f} | {same:.1%} | {largest:.3f} |")


if __name__ == "__main__":
    main()
