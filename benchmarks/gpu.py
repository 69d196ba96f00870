"""Everything that README.md would claim about a GPU, measured by one command.

    python -m benchmarks.gpu                                   # roberta-base and AG News from the hub
    python -m benchmarks.gpu --model FOLDER --train-file train.csv.gz --test-file test.csv.gz   # without a network
    python -m benchmarks.gpu --toy -o FOLDER                   # does it work? The shipped model and rows, a few steps

It measures the reference recipe to its end, the first steps beside the Hugging Face Trainer, batch sizes, and each of
ours compiled too. FOLDER gets gpu.md, the tables; gpu.json, every number; and runs/, the runs of the recipe. If the
command was stopped, the same one continues: it repeats only what is missing or has failed.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.contestants import CONTESTANTS, OURS, SHIPPED_ROWS, Found, Setup, measure, one_gpu
from benchmarks.gpu_tables import page
from lora_agnews.files.atomic import write_atomically
from lora_agnews.results.record import RunResult, environment

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ["experiment=seed", "logger.wandb=disabled"]


@dataclass(frozen=True)
class Plan:
    """What is measured."""

    recipe: list[str]  # overrides of train.py
    setup: Setup
    seeds: int
    batch_sizes: list[int]


def full_plan(args: argparse.Namespace) -> Plan:
    recipe = [*REFERENCE, f"model.name={args.model}", f"trainer.precision={args.precision}"]
    recipe += [f"data.train_file={args.train_file}"] if args.train_file else []
    recipe += [f"data.test_file={args.test_file}"] if args.test_file else []
    setup = Setup(
        model=args.model,
        targets=["query", "value"],
        train_file=args.train_file,
        val_fraction=0.1,
        max_length=256,
        batch_size=32,
        steps=200,
        warm_up=20,
        checks=10,
        precision=args.precision,
        compile=False,
        threads=os.cpu_count() or 1,
        seed=0,
    )
    return Plan(recipe, setup, args.seeds, [32, 64, 128, 256])


def toy_plan(args: argparse.Namespace) -> Plan:
    recipe = [*REFERENCE, "model=tiny", "data=sample", "data.max_length=16", "trainer.max_steps=4"]
    small = {"model": "tiny", "train_file": SHIPPED_ROWS, "max_length": 16, "steps": 4, "warm_up": 2, "checks": 2}
    return Plan([*recipe, f"trainer.precision={args.precision}"], replace(full_plan(args).setup, **small), 1, [16])


def measurements(plan: Plan, folder: Path) -> Iterator[tuple[str, Callable[[], Found]]]:
    """Yield name and function of each measurement, those that are compared next to each other."""
    for seed in range(plan.seeds):
        yield f"recipe, seed {seed}", partial(run_recipe, plan.recipe, seed, folder / "runs" / f"seed-{seed}")
    compiled = [*plan.recipe, "trainer.compile=true"]
    yield "recipe, compiled, seed 0", partial(run_recipe, compiled, 0, folder / "runs" / "compiled-seed-0")
    for seed in range(plan.seeds):
        for name in CONTESTANTS:
            yield f"{name}, seed {seed}", partial(measure, name, replace(plan.setup, seed=seed))
    for size in plan.batch_sizes:
        one = replace(plan.setup, batch_size=size, checks=1)
        yield f"batch size {size}", partial(measure, OURS, one)
        yield f"batch size {size}, compiled", partial(measure, OURS, replace(one, compile=True))


def run_recipe(overrides: list[str], seed: int, run_dir: Path) -> Found:
    """Run train.py to its end, or continue a run that was stopped. Raises: RuntimeError, if it fails."""
    begun = (run_dir / "result.json").exists()
    values = [f"resume={run_dir}"] if begun else [*overrides, f"seed={seed}", f"hydra.run.dir={run_dir}"]
    command = [sys.executable, str(ROOT / "train.py"), *values]
    done = subprocess.run(command, env=os.environ | one_gpu(), capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"train.py failed:\n{done.stderr[-3000:]}")
    found = asdict(RunResult.load(run_dir))
    return {key: found[key] for key in ("metrics", "budget", "throughput", "seconds", "data", "environment")}


def open_record(path: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Read gpu.json, or begin it. Raises: SystemExit, if it was measured with other settings or another commit."""
    record: dict[str, Any] = {"settings": settings, "date": str(date.today()), "environment": environment()}
    record["measured"] = {}
    if path.exists():
        record = json.loads(path.read_text(encoding="utf-8"))
    if record["settings"] != settings:
        raise SystemExit(f"{path} was measured with other settings or another commit: choose another folder with -o")
    save(record, path)
    return record


def save(record: dict[str, Any], path: Path) -> None:
    write_atomically(path, json.dumps(record, indent=2) + "\n")


def main() -> None:
    """Measure what is missing and write the tables."""
    args = arguments()
    plan, folder = (toy_plan if args.toy else full_plan)(args), args.output.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    settings = json.loads(json.dumps(asdict(plan))) | {"commit": environment()["git_commit"]}
    record = open_record(folder / "gpu.json", settings)
    failed = []
    for name, function in measurements(plan, folder):
        if name in record["measured"]:
            continue
        print(name, flush=True)
        try:
            record["measured"][name] = function()
        except RuntimeError as error:
            print(f"  {error}", flush=True)
            failed.append(name)
        save(record, folder / "gpu.json")
    write_atomically(folder / "gpu.md", page(record, failed, args.peak_tflops, args.toy))
    print(f"\n{(folder / 'gpu.md').read_text(encoding='utf-8')}")
    sys.exit(1 if failed else 0)


def arguments() -> argparse.Namespace:
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", metavar="FOLDER", type=Path, default=ROOT / "benchmarks" / "records")
    parser.add_argument("--toy", action="store_true", help="try every measurement in minutes, also on a CPU")
    parser.add_argument("--model", default="FacebookAI/roberta-base", help="a local folder or a hub id")
    parser.add_argument("--train-file", help="by default AG News from the hub")
    parser.add_argument("--test-file")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--precision", default="16-mixed", choices=("16-mixed", "bf16-mixed"))
    parser.add_argument("--peak-tflops", type=float, default=0, help="of the GPU in this precision: 989 for an H100")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        if not args.toy:
            parser.error("PyTorch finds no NVIDIA GPU; --toy tries the measurements on a CPU")
        args.precision = "32-true"
    return args


if __name__ == "__main__":
    main()
