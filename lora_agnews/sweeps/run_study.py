"""Run a study in this process or in several, and rank its runs at the end."""

import os
import subprocess
from pathlib import Path

from lora_agnews.config.study import StudyConfig
from lora_agnews.errors import UserError
from lora_agnews.results.record import usable_cores
from lora_agnews.results.report import write_report
from lora_agnews.sweeps.progress import SweepProgress, conclude
from lora_agnews.sweeps.storage import storage_errors
from lora_agnews.sweeps.study import Study
from lora_agnews.terminal import console, tables
from lora_agnews.training.reuse import check_rows


def show_plan(config: StudyConfig) -> None:
    """Show which points of a study fit the budget, and run nothing. Raises: UserError."""
    tables.show_study(config, Study(config).budgets)


def run_study(config: StudyConfig, command: list[str], is_worker: bool = False) -> int:
    """Run what is left of a study, show the outcome and return the exit status.

    `command` starts a worker process of the same study. A worker runs trials and leaves the outcome to its parent.
    Raises: UserError, also if the rows of runs in its directory have changed; RuntimeError, if the storage or a model's
    config.json can't be reached; KeyboardInterrupt.
    """
    study = Study(config)
    progress = SweepProgress(study.folder, study.num_runs, config.workers, len(config.seeds))
    tables.show_study(config, study.budgets)
    if not is_worker:
        check_rows(study.folder)
    study.folder.mkdir(parents=True, exist_ok=True)
    with storage_errors(study.url), study.claims.turn():
        study.open()
    if is_worker:
        _run_trials(study, progress)
        return 0
    failed = 0
    if config.workers == 1:
        _run_trials(study, progress)
    else:
        environments = [{}] * config.workers if study.is_on_cpu else _gpu_of_each(config.workers)
        failed = _run_workers(environments, command, progress)
    rows, status = conclude(study.folder, study.tested)
    if rows:
        page = study.folder / "report.html"
        write_report(rows, page, f"Study {config.name}")
        console.print_line(f"report       {page}")
    if failed and sum(row.n for row in rows) == study.num_runs:
        return status  # another worker has done what the failed one left
    return max(failed, status)


def _run_trials(study: Study, progress: SweepProgress) -> None:
    with storage_errors(study.url):
        study.run_trials(progress)


def _run_workers(environments: list[dict[str, str]], command: list[str], progress: SweepProgress) -> int:
    """Start one worker process for each environment and show what they do. Returns 1 if one failed, otherwise 0.

    Ctrl-C reaches the workers too, and SIGTERM is passed on: they save and exit.
    """
    logs = [progress.folder / f"worker-{each}.log" for each in range(1, len(environments) + 1)]
    # Workers that all use all cores are slower than one alone.
    threads = str(max(1, usable_cores() // len(environments)))
    workers = [_start_worker(command, path, threads, gpu) for path, gpu in zip(logs, environments, strict=True)]
    try:
        with console.live_line(progress.state):
            statuses = [worker.wait() for worker in workers]
    except (KeyboardInterrupt, SystemExit) as end:
        for worker in workers:
            if isinstance(end, SystemExit):
                worker.terminate()
        for worker in workers:
            worker.wait()
        raise
    for status, path in zip(statuses, logs, strict=True):
        if status:
            console.note(f"a worker ended with status {status}: {path} has the details")
    return int(any(statuses))


def _start_worker(command: list[str], log_path: Path, threads: str, gpu: dict[str, str]) -> "subprocess.Popen[bytes]":
    own = {"OMP_NUM_THREADS": threads} | os.environ | gpu
    with log_path.open("a") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, env=own)


def _gpu_of_each(workers: int) -> list[dict[str, str]]:
    """Return the environment that gives each worker a GPU of its own; without GPUs they share the cores.

    Raises: UserError, if there are more workers than GPUs.
    """
    import torch

    number = torch.cuda.device_count()
    if not number:
        return [{}] * workers
    if workers > number:
        raise UserError(
            f"workers={workers}: each worker needs its own GPU and there are {number}; use workers={number}"
        )
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(number)))).split(",")
    return [{"CUDA_VISIBLE_DEVICES": device} for device in visible[:workers]]
