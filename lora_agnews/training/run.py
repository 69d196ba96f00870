"""One run, top to bottom: check the budget, prepare, fit, test, and save what it leaves."""

import tempfile
import time
from pathlib import Path

from lora_agnews.config.messages import resume_override
from lora_agnews.config.resume import find_run
from lora_agnews.config.schema import TrainConfig
from lora_agnews.errors import UserError
from lora_agnews.files.locks import is_worker_rank, run_lock
from lora_agnews.model.encoder import find_encoder, weights_id
from lora_agnews.results.record import RunResult, Status
from lora_agnews.terminal import console, tables
from lora_agnews.training.checks import check_before_loading
from lora_agnews.training.in_sweep import InSweep
from lora_agnews.training.recording import recorded

ALONE = InSweep()


def run(config: TrainConfig, run_dir: Path, in_sweep: InSweep = ALONE) -> RunResult:
    """Train, test and record one run. A failure is recorded in the result, not raised.

    With `config.resume` the run is continued from its checkpoint, or left as it is if it has finished.
    Raises: UserError, with nothing recorded, if a value or a file can't be used; KeyboardInterrupt, after recording.
    """
    if is_worker_rank(config.trainer.processes):
        return _run_as_worker(config, run_dir)
    with run_lock(run_dir):
        previous = RunResult.load_if_any(run_dir)
        if previous and not config.resume:
            continued = resume_override(run_dir)
            raise UserError(f"{run_dir} already contains a run, which is not overwritten; to continue it: {continued}")
        if previous and _is_complete(previous, config):
            console.note(f"{run_dir} is {previous.status.label}: nothing to continue")
            return previous
        return _run(config, run_dir, previous, in_sweep)


def _run(config: TrainConfig, run_dir: Path, previous: RunResult | None, in_sweep: InSweep) -> RunResult:
    checkpoint = find_run(config.resume)[1] if config.resume else None
    if config.resume:
        console.note(f"continuing from {checkpoint or 'the beginning: there is no checkpoint yet'}")
    began = time.perf_counter()
    with recorded(config, run_dir, previous) as result:
        check_before_loading(config, result)
        encoder = find_encoder(config.model.name, config.model.revision)
        # Importing torch takes seconds, which a run that ends here need not wait for.
        from lora_agnews.model.adapter import save_adapter
        from lora_agnews.results.figures import draw_run
        from lora_agnews.results.predictions import TEST_PREDICTIONS_FILE, save_predictions
        from lora_agnews.training.callbacks import Stopwatch
        from lora_agnews.training.checkpoint import read_checkpoint, run_identity, seconds_before
        from lora_agnews.training.debug import outcome
        from lora_agnews.training.fit import fit, prepare, test
        from lora_agnews.training.start import start_from_run
        from lora_agnews.training.tracking import open_tracking
        from lora_agnews.training.trainer import build_trainer, device_of

        imported = time.perf_counter()
        parts = prepare(config, encoder)
        result.data = {"model": encoder.origin, **parts.data.describe()}
        identity = run_identity(config, parts.data, weights_id(encoder))
        saved = read_checkpoint(checkpoint, identity) if checkpoint else {}
        if config.model.adapter and not checkpoint:
            start_from_run(config.model, encoder, parts.model)
        result.seconds["earlier"] = seconds_before(saved)
        with console.best_effort():
            tables.show_budget(parts.task.budget, encoder.name)
            tables.show_data(result.data)
        result.seconds["setup"] = time.perf_counter() - imported
        with open_tracking(run_dir, config.logger, result.config, saved.get("metrics_rows")) as tracking:
            result.save(run_dir)
            stopwatch, loggers = Stopwatch(began, result.seconds["earlier"]), tracking.loggers
            trainer = build_trainer(config.trainer, run_dir, parts.batches, loggers, identity, stopwatch, in_sweep)
            result.environment |= device_of(trainer)
            fitted = fit(parts, trainer, checkpoint, config.trainer.compile, in_sweep.is_tested)
            result.budget = fitted.budget.to_dict()
            result.throughput, result.seconds = fitted.throughput, result.seconds | fitted.seconds
            test_metrics, test_confusion, tested = test(parts, trainer, run_dir, in_sweep.is_tested)
            result.metrics, result.confusion = fitted.metrics | test_metrics, test_confusion or fitted.confusion
            save_predictions(run_dir, fitted.predictions, parts.data.train_texts)
            save_predictions(run_dir, tested, parts.data.test_texts, TEST_PREDICTIONS_FILE)
            save_adapter(parts.model, encoder, run_dir / "adapter")
            result.status = Status.STOPPED_EARLY if fitted.stopped_early else Status.FINISHED
            if trainer.is_global_zero:
                tracking.finish(result, draw_run(run_dir, result))
    if result.succeeded:
        with console.best_effort():
            tables.show_result(result, run_dir, outcome(result, run_dir) | tracking.lines)
    return result


def _run_as_worker(config: TrainConfig, run_dir: Path) -> RunResult:
    """Run in a process for a further device: read the checkpoints, leave no files. Raises: UserError, as `run`."""
    previous = RunResult.load_if_any(run_dir)
    if previous and _is_complete(previous, config):
        return previous  # the first process does nothing either
    config.logger.wandb, config.logger.tensorboard = "disabled", False
    console.silence()
    checkpoints = run_dir / "checkpoints"
    checkpoints.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / checkpoints.name).symlink_to(checkpoints.absolute())
        return _run(config, Path(folder), None, ALONE)


def _is_complete(result: RunResult, config: TrainConfig) -> bool:
    more_epochs = config.trainer.max_epochs > result.config["trainer"]["max_epochs"]
    return result.status == Status.STOPPED_EARLY or (result.status == Status.FINISHED and not more_epochs)
