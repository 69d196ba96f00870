"""Rows per second of `predict --engine ray` beside one process: same run, same rows, one thread per worker.

    python -m benchmarks.ray                                    # tiny, the shipped rows: minutes
    python -m benchmarks.ray --run RUN_DIR --file train.csv.gz --rows 20000 --workers 1 2 4
    python -m benchmarks.ray --run RUN_DIR --rows 200 --workers 0 --half   # only one process, in half precision

Every command is measured as a whole, with all rows and with one row per file. The second one is the start-up, and the
speed is that of the rest. The CPU time of one process does not depend on what else the machine does. Without a run, the
reference recipe is trained on tiny for 20 steps.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from importlib.resources import files
from itertools import islice
from pathlib import Path

import pyarrow
from pyarrow import parquet

from benchmarks.predict import REFERENCE
from lora_agnews.data.source import read_texts


def write_files(folder: Path, texts: list[str], number: int) -> None:
    """Write the texts as `number` files of similar size."""
    folder.mkdir()
    for i in range(number):
        parquet.write_table(pyarrow.table({"text": texts[i::number]}), folder / f"{i:03}.parquet")


def seconds(run: str, source: Path, output: Path, workers: int, half: bool) -> tuple[float, float]:
    """Return the seconds and, without workers, the CPU seconds of one command."""
    line = [sys.executable, "-m", "lora_agnews", "predict", run, *(["--half"] if half else [])]
    line += [str(source / "*.parquet"), "--engine", "ray", "--workers", str(workers)] if workers else []
    line += [] if workers else [str(source / "000.parquet")]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([*line, "-o", str(output)], check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - began, used


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run")
    parser.add_argument("--file", type=Path, default=Path(str(files("lora_agnews.data") / "sample" / "train.csv.gz")))
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--files", type=int, default=16)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2], help="0: one process without Ray")
    parser.add_argument("--half", action="store_true")
    args = parser.parse_args()
    texts = list(islice(read_texts(args.file), args.rows))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        run = args.run or f"{folder}/run"
        if not args.run:
            subprocess.run([sys.executable, "train.py", *REFERENCE, f"hydra.run.dir={run}"], check=True)
        for name, some, number in (
            ("all", texts, args.files),
            ("few", texts[: args.files], args.files),
            ("all-in-one", texts, 1),
            ("few-in-one", texts[:1], 1),
        ):
            write_files(folder / name, some, number)
        for workers in args.workers:
            kind = "" if workers else "-in-one"
            start, start_cpu = seconds(run, folder / f"few{kind}", folder / f"few{workers}", workers, args.half)
            whole, whole_cpu = seconds(run, folder / f"all{kind}", folder / f"all{workers}", workers, args.half)
            speed, load = len(texts) / (whole - start), os.getloadavg()[0]
            print(f"{workers} workers: start {start:.1f} s, all {whole:.1f} s, {speed:,.1f} rows/s, load {load:.1f}")
            if not workers:
                speed = len(texts) / (whole_cpu - start_cpu)
                print(f"  CPU time: start {start_cpu:.1f} s, all {whole_cpu:.1f} s, {speed:,.1f} rows/s")


if __name__ == "__main__":
    main()
