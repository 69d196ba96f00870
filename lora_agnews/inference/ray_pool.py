"""Classify many Parquet files in a pool of Ray actors, each of which loads the runs once."""

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lora_agnews.config.scripts import install_extra
from lora_agnews.errors import UserError
from lora_agnews.inference.classifier import load_classifier, open_run
from lora_agnews.inference.many_files import Part, plan_parts, predict_part
from lora_agnews.terminal import console

RETRIES = 3  # of a file whose worker died: one that kills each worker, for want of memory, must come to an end
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DATA_LOG_LEVEL": "ERROR", "RAY_BACKEND_LOG_LEVEL": "fatal"}
SHOWN = 10  # problems of files in one message


def predict_files(
    run_dirs: Sequence[Path],
    pattern: str,
    folder: Path,
    text_column: str,
    full: bool,
    half: bool,
    base: str | None,
    workers: int | None,
) -> tuple[int, int, int]:
    """Classify the Parquet files that match the pattern, and write one file for each into the folder.

    Returns the numbers of rows and files that were written, and of files that were there. Uses the cluster that
    RAY_ADDRESS names, otherwise this machine.

    Raises: UserError, as `plan_parts`, for too many workers and, at the end, for files with bad rows; RuntimeError,
    without Ray or if workers die again and again.
    """
    parts, there = plan_parts(
        [open_run(run_dir, base) for run_dir in run_dirs], pattern, folder, text_column, full, half
    )
    if not parts:
        return 0, 0, there
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise RuntimeError(f"--engine ray needs one more package: {install_extra('ray')}") from error
    local = Path(base).expanduser().absolute() if base else None
    loading = [run_dir.absolute() for run_dir in run_dirs], str(local) if local and local.exists() else base, half
    address = os.environ.get("RAY_ADDRESS", "local")
    try:
        ray.init(address, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    except Exception as error:  # ValueError, ConnectionError and, if this machine is too slow, Exception itself
        raise RuntimeError(f"Ray can't be started or reached (RAY_ADDRESS={address}): {error}") from error
    try:
        number, reserved = share_of([node["Resources"] for node in ray.nodes() if node["Alive"]], workers)
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = context.print_on_execution_start = False
        with warnings.catch_warnings():
            # Ray 2.60 has no other way to limit the retries.
            warnings.filterwarnings("ignore", ".*ray_remote_args", DeprecationWarning)
            found = ray.data.from_items(list(range(len(parts))), override_num_blocks=len(parts)).map_batches(
                Worker,
                fn_constructor_args=(*loading, parts),
                batch_size=1,
                compute=ray.data.ActorPoolStrategy(size=number, max_tasks_in_flight_per_actor=1),
                ray_remote_args_fn=lambda: {"max_task_retries": RETRIES},
                **reserved,
            )
        problems, rows = [], 0
        with console.progress_bar("predicting", sum(part.rows for part in parts)) as done:
            for result in found.iter_rows():
                done(result["rows"])
                rows += result["rows"]
                problems += [result["problem"]] if result["problem"] else []
    except ray.exceptions.RayError as error:
        raise RuntimeError(f"Ray: {error}\nThe same command classifies the files that are missing") from error
    finally:
        ray.shutdown()
    if problems:
        more = f"\nand {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise UserError(
            "\n".join(problems[:SHOWN])
            + f"{more}\nThe other files are classified: {len(parts) - len(problems)}. The same "
            "command classifies those that are missing"
        )
    return rows, len(parts), there


class Worker:
    """An actor of the pool."""

    def __init__(self, run_dirs: Sequence[Path], base: str | None, half: bool, parts: Sequence[Part]) -> None:
        self.parts = parts
        self.classifier = load_classifier([open_run(run_dir, base) for run_dir in run_dirs], half)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, list[Any]]:
        """Classify the part whose number is the only item; report a bad row instead of raising, for the other parts."""
        part = self.parts[int(batch["item"][0])]
        try:
            predict_part(self.classifier, part)
        except UserError as error:
            return {"rows": [0], "problem": [str(error)]}
        return {"rows": [part.rows], "problem": [""]}


def share_of(nodes: Sequence[Mapping[str, float]], workers: int | None) -> tuple[int, dict[str, int]]:
    """Return the number of workers and what each of them reserves, from the resources of the nodes.

    Each worker has one GPU or, if there is none, as many cores as all of them can have.
    Raises: UserError, if there are too few.
    """
    gpus = sum(int(node.get("GPU", 0)) for node in nodes)
    if gpus:
        if workers and workers > gpus:
            raise UserError(f"--workers={workers}: each takes a GPU, and Ray has {gpus}")
        return workers or gpus, {"num_gpus": 1, "num_cpus": 1}
    workers, cores = workers or 1, [int(node.get("CPU", 0)) for node in nodes]
    for share in range(max(cores, default=0), 0, -1):
        if sum(each // share for each in cores) >= workers:
            return workers, {"num_cpus": share}
    raise UserError(f"--workers={workers}: each takes a core, and Ray has {sum(cores)}")
