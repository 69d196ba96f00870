"""Decide how a run ended, and write its record."""

import errno
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lora_agnews.config.messages import resume_override
from lora_agnews.config.schema import TrainConfig
from lora_agnews.config.scripts import TRAIN
from lora_agnews.errors import BudgetExceeded, FetchError, RunPruned, TrainingDiverged, UserError
from lora_agnews.results.record import RunResult, Status, environment
from lora_agnews.terminal import console

INTERRUPTED = "interrupted"
NO_SPACE = os.strerror(errno.ENOSPC)
log = logging.getLogger(__name__)


@contextmanager
def recorded(config: TrainConfig, run_dir: Path, previous: RunResult | None) -> Iterator[RunResult]:
    """Yield the record of a run, turn an exception of the block into its status, and save it.

    Raises: UserError, with nothing saved; KeyboardInterrupt, after saving.
    """
    began = time.perf_counter()
    metrics = previous.metrics if previous else {}
    result = RunResult.of(config, metrics=metrics, environment=environment())
    try:
        yield result
    except UserError:
        raise
    except BudgetExceeded as error:
        result.status, result.error = Status.OVER_BUDGET, str(error)
    except RunPruned as error:
        result.status, result.error = Status.INTERRUPTED, str(error)
    except (KeyboardInterrupt, SystemExit):  # Lightning turns the first into the second
        result.status, result.error = Status.INTERRUPTED, INTERRUPTED
    except Exception as error:
        result.status, result.error = Status.FAILED, _describe(error)
        log.exception("the run failed")
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            console.print_exception()
    result.seconds["total"] = result.seconds.get("earlier", 0.0) + time.perf_counter() - began
    _save(result, run_dir)
    if not result.succeeded:
        details = " (train.log has the details)" if result.status == Status.FAILED else ""
        interrupted = result.error == INTERRUPTED
        if not interrupted:  # the command that is interrupted says so
            console.print_error(f"{result.error}\nrun directory: {console.short_path(run_dir)}{details}")
        if interrupted or (run_dir / "checkpoints" / "last.ckpt").exists():
            console.note(f"to continue it: {TRAIN} {resume_override(console.short_path(run_dir))}")
        if interrupted:
            raise KeyboardInterrupt


def _save(result: RunResult, run_dir: Path) -> None:
    """Save the record. If that is impossible, the run has failed, and the record that is there says so."""
    try:
        result.save(run_dir)
    except OSError as error:
        result.status, result.error = Status.FAILED, _describe(error)
        with suppress(OSError):
            RunResult.mark_failed(run_dir)


def _describe(error: Exception) -> str:
    """Describe an error in one message, with the remedy where it is known."""
    if NO_SPACE in str(error):  # an OSError, or one of safetensors' own
        return f"the disk is full ({NO_SPACE}); free some space, then continue the run"
    if type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error):
        return (
            f"out of memory ({str(error).splitlines()[0]}). Use a smaller data.batch_size, with trainer.accumulate for "
            "the same rows per step, a smaller data.eval_batch_size if it was in a validation or test, or a smaller "
            "data.max_length"
        )
    kind = "" if type(error) in (RuntimeError, FetchError, TrainingDiverged) else f"{type(error).__name__}: "
    return f"{kind}{error}"
