"""One run of a sweep: skip it if it is done, continue it if it was interrupted, otherwise start it."""

import gc
import sys
from dataclasses import replace
from pathlib import Path

from lora_agnews.config.choices import SweepTest
from lora_agnews.config.compose import check_run_of_sweep
from lora_agnews.config.schema import TrainConfig
from lora_agnews.errors import RunLocked, UserError
from lora_agnews.results.record import RunResult, Status
from lora_agnews.terminal import console
from lora_agnews.training.in_sweep import InSweep
from lora_agnews.training.reuse import check_configuration
from lora_agnews.training.run import run


def is_done(result: RunResult | None) -> bool:
    """Whether nothing is left to do for a point: its run has succeeded, or it is over the budget."""
    return result is not None and (result.succeeded or result.status == Status.OVER_BUDGET)


def run_point(config: TrainConfig, run_dir: Path, group: str, in_sweep: InSweep) -> RunResult:
    """Do what is left to do of a point, in the W&B group of its sweep. Every failure is recorded, not raised.

    A run whose record is damaged is left as it is. The test rows stay closed until the sweep is concluded, unless all
    points are tested.
    Raises: KeyboardInterrupt, after recording; RunLocked, if another process is working on the run; UserError, if the
    directory has the run of another configuration.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    previous = RunResult.load_even_damaged(run_dir)
    if previous and previous.status == Status.DAMAGED:
        return previous
    if previous:
        check_configuration(run_dir, previous, config)
    if previous and is_done(previous):
        return previous
    config.logger.group = config.logger.group or group
    config.resume = str(run_dir) if previous else None
    try:
        check_run_of_sweep(config)
        with console.quiet_output():
            return run(config, run_dir, replace(in_sweep, is_tested=config.test == SweepTest.ALL))
    except RunLocked:
        raise
    except UserError as error:
        now = RunResult.load_even_damaged(run_dir)
        if now and is_done(now):  # by another process, since the record was read above
            return now
        result = RunResult.of(config, status=Status.FAILED, error=str(error))
        result.save(run_dir)
        return result
    finally:
        free_memory()


def free_memory() -> None:
    """Free what a run has left in memory, also on the GPU: the next one needs it."""
    gc.collect()
    if "torch" in sys.modules:
        sys.modules["torch"].cuda.empty_cache()
