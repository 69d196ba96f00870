"""A whole run and its record: budget, encoder, training and test, and how it ended."""

import gc
import logging
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from lora_agnews import console
from lora_agnews.budget import BudgetExceeded
from lora_agnews.config import TrainConfig, UserError
from lora_agnews.hub import Unfetched
from lora_agnews.lock import Busy, alone_in, is_helper
from lora_agnews.model.encoder import locate
from lora_agnews.plan import notes, predict, remedies
from lora_agnews.result import FILE, Pruned, RunResult, config_hash, environment

INTERRUPTED = "interrupted"
Hopeless = Callable[[int, float], bool]  # step, validation accuracy -> give the run up
log = logging.getLogger(__name__)


def run_experiment(
    config: TrainConfig, checkpoint: Path | None, run_dir: Path, hopeless: Hopeless | None = None
) -> RunResult:
    """Trains, tests and records one run in `run_dir`; a run that fails is recorded and returned, not raised.

    With `config.resume` it is continued from `checkpoint`, if there is one, and left as it is if it had finished.

    Raises: UserError, with nothing recorded, if a value or a file can't be used; KeyboardInterrupt, once recorded.
    """
    if is_helper():
        return _help(config, checkpoint, run_dir)
    with alone_in(run_dir):
        before = RunResult.load(run_dir) if (run_dir / FILE).exists() else None
        if before and not config.resume:
            raise UserError(f"{run_dir} holds a run already and is never overwritten; to continue it: resume={run_dir}")
        if before and _has_nothing_left(before, config):
            console.notice(f"{run_dir} is {before.status.replace('_', ' ')}: nothing to continue")
            return before
        if config.resume:
            console.notice(f"continuing from {checkpoint or 'the beginning: there is no checkpoint yet'}")
        return _run(config, checkpoint, run_dir, before.metrics if before else {}, hopeless)


def run_point(config: TrainConfig, run_dir: Path, hopeless: Hopeless | None = None) -> tuple[RunResult, bool]:
    """What is left to do of a point of a sweep, and if there was anything. Whatever goes wrong is in its record.

    A run that came to its end, or is over the budget, stays as it is; one that was killed goes on.
    Raises: KeyboardInterrupt, once recorded; Busy, if another process is at it.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    before = RunResult.load(run_dir) if (run_dir / FILE).exists() else None
    if before and (before.succeeded or before.status == "over_budget"):
        return before, False
    config.resume = str(run_dir) if before else None
    last = run_dir / "checkpoints" / "last.ckpt"
    try:
        if config.trainer.devices > 1:
            raise UserError("trainer.devices > 1 is for one run; the runs of a sweep have a device each: workers=2")
        with console.quietly():
            return run_experiment(config, last if before and last.exists() else None, run_dir, hopeless), True
    except Busy:
        raise
    except UserError as error:
        values = config.to_dict()
        result = RunResult(values, config.seed, config_hash(values), "failed", error=str(error))
        result.save(run_dir)
        return result, True
    finally:
        gc.collect()
        if "torch" in sys.modules:
            sys.modules["torch"].cuda.empty_cache()


def _help(config: TrainConfig, checkpoint: Path | None, run_dir: Path) -> RunResult:
    """A process beside the first one of a run: computes with it, reads its checkpoints, leaves no files."""
    config.logger.wandb = "disabled"
    console.out.quiet = console.err.quiet = True
    checkpoints = run_dir / "checkpoints"
    checkpoints.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as own:
        (Path(own) / checkpoints.name).symlink_to(checkpoints.absolute())
        return _run(config, checkpoint, Path(own), {}, None)


def _run(
    config: TrainConfig, checkpoint: Path | None, run_dir: Path, metrics: dict[str, float], hopeless: Hopeless | None
) -> RunResult:
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

        view = train_and_test(config, encoder, run_dir, result, checkpoint, hopeless)
    except UserError:
        raise
    except BudgetExceeded as error:
        result.status, result.error = "over_budget", str(error)
    except Pruned as error:
        result.status, result.error = "interrupted", str(error)
    except (KeyboardInterrupt, SystemExit):  # Lightning turns the one into the other
        result.status, result.error = "interrupted", INTERRUPTED
    except Exception as error:
        kind = "" if type(error) in (RuntimeError, Unfetched) else f"{type(error).__name__}: "
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
    if result.error == INTERRUPTED:
        raise KeyboardInterrupt
    return result


def _has_nothing_left(found: RunResult, config: TrainConfig) -> bool:
    more = config.trainer.max_epochs > found.config["trainer"]["max_epochs"]
    return found.status == "stopped_early" or (found.status == "finished" and not more)
