"""A whole run and its record: budget, encoder, training and test, and how it ended."""

import fcntl
import logging
import os
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lora_agnews import console
from lora_agnews.budget import BudgetExceeded
from lora_agnews.config import TrainConfig, UserError
from lora_agnews.model.encoder import locate
from lora_agnews.plan import notes, predict, remedies
from lora_agnews.result import FILE, RunResult, config_hash, environment

log = logging.getLogger(__name__)


def run_experiment(config: TrainConfig, checkpoint: Path | None, run_dir: Path) -> RunResult:
    """Trains, tests and records one run in `run_dir`; a run that fails is recorded and returned, not raised.

    With `config.resume` it is continued from `checkpoint`, if there is one, and left as it is if it had finished.

    Raises: UserError, with nothing recorded, if a value or a file can't be used; KeyboardInterrupt, once recorded.
    """
    with _alone_in(run_dir):
        before = RunResult.load(run_dir) if (run_dir / FILE).exists() else None
        if before and not config.resume:
            raise UserError(f"{run_dir} holds a run already and is never overwritten; to continue it: resume={run_dir}")
        if before and _has_nothing_left(before, config):
            console.notice(f"{run_dir} is {before.status.replace('_', ' ')}: nothing to continue")
            return before
        if config.resume:
            console.notice(f"continuing from {checkpoint or 'the beginning: there is no checkpoint yet'}")
        return _run(config, checkpoint, run_dir, before.metrics if before else {})


def _run(config: TrainConfig, checkpoint: Path | None, run_dir: Path, metrics: dict[str, float]) -> RunResult:
    began, values = time.perf_counter(), config.to_dict()
    result = RunResult(values, config.seed, config_hash(values), metrics=metrics, environment=environment())
    view: dict[str, str] = {}
    try:
        budget = predict(config)
        result.budget = budget.to_dict()
        if not budget.fits:
            budget.check(remedies(config))
        for note in notes(config):
            console.notice(note)
        encoder = locate(config.model.name, config.model.revision)
        from lora_agnews.training import train_and_test  # torch: seconds that a run without a network need not wait

        view = train_and_test(config, encoder, run_dir, result, checkpoint)
    except UserError:
        raise
    except BudgetExceeded as error:
        result.status, result.error = "over_budget", str(error)
    except (KeyboardInterrupt, SystemExit):  # Lightning turns the one into the other
        result.status, result.error = "interrupted", "interrupted"
    except Exception as error:
        kind = "" if type(error) is RuntimeError else f"{type(error).__name__}: "
        result.status, result.error = "failed", f"{kind}{error}"
        log.exception("the run failed")
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            traceback.print_exc()
    result.seconds["total"] = time.perf_counter() - began
    result.save(run_dir)
    if result.succeeded:
        console.show_result(result, run_dir, view)
    else:
        console.error(f"{result.error}\nrun directory: {run_dir} (train.log has the details)")
        if (run_dir / "checkpoints" / "last.ckpt").exists():
            console.notice(f"to continue it: python train.py resume={run_dir}")
    if result.status == "interrupted":
        raise KeyboardInterrupt
    return result


def _has_nothing_left(found: RunResult, config: TrainConfig) -> bool:
    more = config.trainer.max_epochs > found.config["trainer"]["max_epochs"]
    return found.status == "stopped_early" or (found.status == "finished" and not more)


@contextmanager
def _alone_in(run_dir: Path) -> Iterator[None]:
    """Two processes in one run directory would mix their files. Raises: UserError."""
    folder = os.open(run_dir, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise UserError(f"{run_dir}: another process is at work on this run") from error
    finally:
        os.close(folder)
