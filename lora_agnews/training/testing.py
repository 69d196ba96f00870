"""Test a run after it has finished: of a sweep, only the runs that validation selects are tested."""

import csv
import time
from pathlib import Path

from lora_agnews.config.compose import load_config_file
from lora_agnews.files.locks import run_lock
from lora_agnews.model.build import speed_up
from lora_agnews.model.encoder import find_encoder, weights_id
from lora_agnews.results.figures import draw_run
from lora_agnews.results.predictions import TEST_PREDICTIONS_FILE, save_predictions
from lora_agnews.results.record import CONFIG_FILE, METRICS_FILE, RunResult
from lora_agnews.results.row import TEST
from lora_agnews.terminal import console
from lora_agnews.training.callbacks import Stopwatch
from lora_agnews.training.checkpoint import BEST, read_checkpoint, run_identity
from lora_agnews.training.fit import prepare, test
from lora_agnews.training.in_sweep import InSweep
from lora_agnews.training.tracking import open_tracking
from lora_agnews.training.trainer import build_trainer, device_of


def add_test(run_dir: Path) -> None:
    """Test the best checkpoint of a finished run, and add what it gives to record, metrics.csv, figures and W&B.

    The numbers are those that the run would have got at its end on this device; with model.prefix=cached, up to the
    rounding of the cached states, because the complete encoder is used. A run that is tested is left as it is.
    The record is written last, so that a test that is stopped is repeated.
    Raises: RunLocked; UserError, if rows, weights or checkpoint are not those of the run; RuntimeError, if W&B or the
    hub is needed and can't be reached; KeyboardInterrupt.
    """
    with run_lock(run_dir):
        result = RunResult.load(run_dir)
        if result.awaits_test:
            try:
                _add_test(run_dir, result)
            except SystemExit as error:  # Lightning turns a KeyboardInterrupt into it
                raise KeyboardInterrupt from error


def _add_test(run_dir: Path, result: RunResult) -> None:
    began = time.perf_counter()
    config = load_config_file(run_dir / CONFIG_FILE)
    encoder = find_encoder(config.model.name, config.model.revision)
    parts = prepare(config, encoder)
    identity = run_identity(config, parts.data, weights_id(encoder))
    read_checkpoint(run_dir / "checkpoints" / BEST, identity)
    # A row with test metrics is from a test that was stopped.
    with (run_dir / METRICS_FILE).open(newline="", encoding="utf-8") as stream:
        steps = [int(row["step"]) for row in csv.DictReader(stream) if not row.get(TEST)]
    with open_tracking(run_dir, config.logger, result.config, len(steps)) as tracking:
        stopwatch, place = Stopwatch(began, 0.0), InSweep(_prune_nothing)
        trainer = build_trainer(config.trainer, run_dir, parts.batches, [], identity, stopwatch, place)
        here = device_of(trainer)
        if any(result.environment.get(key) not in (value, None) for key, value in here.items()):
            result.environment["test"] = here
            device = here.get("gpu", here["device"])
            console.note(f"{run_dir.name} is tested on {device} in {here['precision']}, unlike its validation")
        speed_up(parts.model, parts.architecture, trainer.precision)
        ready = time.perf_counter()
        metrics, result.confusion, predictions = test(parts, trainer, run_dir, is_wanted=True)
        save_predictions(run_dir, predictions, parts.data.test_texts, TEST_PREDICTIONS_FILE)
        result.metrics |= metrics
        result.seconds["test"] = time.perf_counter() - ready
        result.seconds["total"] += time.perf_counter() - began  # loading the model again included
        for logger in tracking.loggers:
            logger.log_metrics(metrics, steps[-1] + 1)
            logger.save()
        tracking.finish(result, draw_run(run_dir, result))
    result.save(run_dir)


def _prune_nothing(step: int, score: float) -> bool:
    """Replace the pruner of a study: Lightning warns if the trainer lacks a callback of the checkpoint."""
    return False
