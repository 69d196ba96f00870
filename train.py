"""Train one run, or with -m one run per point of a sweep: python train.py [-m] [key=value ...]"""

import sys

import hydra
from omegaconf import DictConfig

from lora_agnews.config.command_line import check_command_line
from lora_agnews.config.hydra_job import current_job
from lora_agnews.results.monitor import MONITOR
from lora_agnews.sweeps.multirun import run_in_multirun
from lora_agnews.terminal.console import exit_on_error
from lora_agnews.training.run import run


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(values: DictConfig) -> float | None:
    """Train one run and return its monitored metric, which Hydra's sweepers optimise."""
    with exit_on_error(), current_job(values) as job:
        if job.sweep_dir:
            return run_in_multirun(job.config, job.run_dir, job.sweep_dir)
        result = run(job.config, job.run_dir)
    if not result.succeeded:
        sys.exit(1)  # Hydra does not pass the return value of a single run on
    return result.metrics[MONITOR.key]


if __name__ == "__main__":
    with exit_on_error():
        check_command_line(sys.argv[1:])
        main()
