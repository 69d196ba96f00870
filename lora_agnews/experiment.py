"""A whole run and its record: budget, encoder, training and test, and how it ended."""

import logging
import os
import time
import traceback
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
    if config.resume:
        done = _finished(config, run_dir)
        if done:
            return done
        console.notice(f"continuing from {checkpoint or 'the beginning: there is no checkpoint yet'}")
    elif (run_dir / FILE).exists():
        raise UserError(f"{run_dir} holds a run already and is never overwritten; to continue it: resume={run_dir}")
    began, values = time.perf_counter(), config.to_dict()
    result = RunResult(values, config.seed, config_hash(values), environment=environment())
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


def _finished(config: TrainConfig, run_dir: Path) -> RunResult | None:
    """The record of a run that has nothing left to do."""
    if not (run_dir / FILE).exists():
        return None
    found = RunResult.load(run_dir)
    more = config.trainer.max_epochs > found.config["trainer"]["max_epochs"]
    if found.status == "stopped_early" or (found.status == "finished" and not more):
        console.notice(f"{run_dir} is {found.status.replace('_', ' ')}: nothing to continue")
        return found
    return None
