"""Data -> model -> training -> the best checkpoint on the test rows, top to bottom."""

import logging
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import EarlyStopping, RichProgressBar
from lightning.pytorch.trainer.states import TrainerFn
from transformers.utils import logging as transformers_logging

from lora_agnews import console
from lora_agnews.budget import count
from lora_agnews.checkpoint import BEST, Checkpoints, read_checkpoint
from lora_agnews.config import TrainConfig, TrainerConfig
from lora_agnews.data.datamodule import AGNewsDataModule
from lora_agnews.figures import draw_confusion, draw_curves
from lora_agnews.model.adapter import save_adapter
from lora_agnews.model.allocation import Lora, predict_budget
from lora_agnews.model.build import (
    HALF,
    build_model,
    compute_only_first_token_in_last_layer,
    hold_frozen_layers_in,
    load_tokenizer,
)
from lora_agnews.model.encoder import Encoder, weights_of
from lora_agnews.model.shape import read_folder
from lora_agnews.result import Pruned, RunResult, config_hash
from lora_agnews.task import MONITOR, LoRAClassifier
from lora_agnews.tracking import Stopwatch, Tracking, tracking

LOG_EVERY_STEPS, REFRESH_EVERY_BATCHES = 50, 20


def train_and_test(
    config: TrainConfig,
    encoder: Encoder,
    run_dir: Path,
    result: RunResult,
    resume: Path | None,
    hopeless: Callable[[int, float], bool] | None = None,
) -> dict[str, str]:
    """Fills `result` and `run_dir`, from the start or from a checkpoint; gives back how to look at the metrics.

    `hopeless` is asked after each validation, with step and accuracy, if the run is to be given up.

    Raises: Pruned, if so; BudgetExceeded; UserError for bad files; RuntimeError, if the hub or W&B is asked for and out
    of reach.
    """
    _send_messages_to_the_log()
    began = time.perf_counter()
    L.seed_everything(config.seed, verbose=False)
    tokenizer = load_tokenizer(encoder, config.data.max_length)
    data = AGNewsDataModule(tokenizer, **asdict(config.data), seed=config.seed)
    data.setup()
    result.data = {"model": encoder.origin, **data.describe()}
    values = result.config | {"trainer": result.config["trainer"] | {"max_epochs": "may grow"}}
    identity = {"config": config_hash(values), "data": data.fingerprint(), "model": weights_of(encoder)}
    continued_after = read_checkpoint(resume, identity)["metrics_rows"] if resume else None
    lora = Lora.of(config.model)
    shape = read_folder(encoder.name, encoder.folder)
    predicted = predict_budget(shape, lora, config.budget.max_trainable)
    model = build_model(encoder, lora, config.seed)
    budget = count(model, predicted.limit)
    assert budget == predicted, f"predicted {predicted}, built {budget}"
    console.show_budget(predicted, encoder.name)
    console.show_data(result.data)

    optim, logger = config.optim, config.logger
    task = LoRAClassifier(
        model,
        limit=budget.limit,
        optimizer=optim.name,
        lr=optim.lr,
        lora_plus_ratio=optim.lora_plus_ratio,
        weight_decay=optim.weight_decay,
        schedule=optim.schedule,
        warmup_fraction=optim.warmup_fraction,
        label_smoothing=optim.label_smoothing,
    )
    result.save(run_dir)
    result.seconds["setup"] = time.perf_counter() - began
    where = (run_dir, logger.wandb, logger.project, logger.group, logger.tags)
    with tracking(*where, result.config, continued_after) as tracked:
        checkpoints = Checkpoints(run_dir / "checkpoints", config.trainer.checkpoint_every, identity)
        stopwatch, best = Stopwatch(), run_dir / "checkpoints" / BEST
        watched = [Watched(hopeless)] if hopeless else []
        trainer = _trainer(config, run_dir, len(data.train_rows), tracked, [stopwatch, checkpoints, *watched])
        result.environment |= {"precision": trainer.precision, "device": str(trainer.strategy.root_device)}
        if trainer.precision in HALF:
            hold_frozen_layers_in(HALF[trainer.precision], model)
        compute_only_first_token_in_last_layer(model, shape)
        if config.trainer.compile:
            model.compile(dynamic=True)  # in place: the names in checkpoints stay
        trainer.fit(task, data, ckpt_path=resume, weights_only=True)
        stopped_early = _stopped_early(trainer)
        result.budget = replace(task.budget, r=predicted.r).to_dict()
        result.metrics = {**task.best, "train/loss": task.epoch_loss}
        result.throughput = stopwatch.throughput(trainer.global_step)
        result.seconds["train"] = stopwatch.seconds
        if data.test is None:
            trainer.validate(task, data, ckpt_path=best, verbose=False, weights_only=True)
        else:
            trainer.test(task, data, ckpt_path=best, verbose=False, weights_only=True)
            result.metrics |= {
                key: round(float(value), 6) for key, value in trainer.callback_metrics.items() if "test/" in key
            }
        result.confusion = task.scores.confusion.tolist()
        save_adapter(model, encoder, run_dir / "adapter")
        split = "Test" if data.test else "Validation"
        result.status = "stopped_early" if stopped_early else "finished"
        if trainer.is_global_zero:
            path = run_dir / "figures" / "confusion.png"
            confusion = draw_confusion(task.scores.confusion.numpy(), split, path)
            tracked.finish(result, draw_curves(run_dir), confusion)
        return tracked.view


def _trainer(
    run: TrainConfig, run_dir: Path, num_rows: int, tracked: Tracking, callbacks: list[L.Callback]
) -> L.Trainer:
    config, callbacks = run.trainer, [*callbacks, ProgressBar()]
    if config.early_stopping_patience:
        callbacks.append(EarlyStopping(MONITOR, mode="max", patience=config.early_stopping_patience))
    batches = -(-num_rows // run.data.batch_size)
    between = max(1, round(config.val_check_interval * batches))
    between = min(batches, -(-between // config.accumulate) * config.accumulate)  # between two optimizer steps
    if config.max_steps:  # a run too short for a validation would have no best checkpoint
        between = min(between, config.max_steps * config.accumulate)
    return L.Trainer(
        accelerator=config.accelerator,
        devices=config.devices,
        strategy=config.strategy,
        use_distributed_sampler=False,  # the loaders know their share
        precision=_precision(config),  # type: ignore[arg-type]
        max_epochs=config.max_epochs,
        max_steps=config.max_steps or -1,
        val_check_interval=between,
        gradient_clip_val=config.gradient_clip or None,
        accumulate_grad_batches=config.accumulate,
        deterministic=config.deterministic,
        logger=tracked.loggers,
        log_every_n_steps=LOG_EVERY_STEPS,
        callbacks=callbacks,
        num_sanity_val_steps=0,
        enable_model_summary=False,
        default_root_dir=run_dir,
    )


def _precision(config: TrainerConfig) -> str:
    """16-mixed exists on CUDA alone; elsewhere the run says so and takes float32."""
    on_cuda = config.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    if config.precision == "16-mixed" and not on_cuda:
        console.notice("trainer.precision=16-mixed needs an NVIDIA GPU and there is none: this run computes in 32-true")
        return "32-true"
    return config.precision


def _stopped_early(trainer: L.Trainer) -> bool:
    early = trainer.early_stopping_callback
    return isinstance(early, EarlyStopping) and early.wait_count >= early.patience


class Watched(L.Callback):
    """Lets a study look at each validation."""

    def __init__(self, hopeless: Callable[[int, float], bool]) -> None:
        self.hopeless = hopeless

    def on_validation_end(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        if trainer.state.fn != TrainerFn.FITTING:
            return
        if self.hopeless(trainer.global_step, float(trainer.callback_metrics[MONITOR])):
            raise Pruned


class ProgressBar(RichProgressBar):
    """Lightning's bar, moved every 20 batches, with the last validation accuracy and no version number."""

    def __init__(self) -> None:
        super().__init__(refresh_rate=REFRESH_EVERY_BATCHES)

    def on_train_batch_end(self, *hook: Any) -> None:
        *_, batch_idx = hook
        if (batch_idx + 1) % REFRESH_EVERY_BATCHES == 0 or batch_idx + 1 == self.total_train_batches:
            super().on_train_batch_end(*hook)

    def get_metrics(self, trainer: L.Trainer, task: L.LightningModule) -> dict[str, Any]:
        accuracy = trainer.callback_metrics.get(MONITOR)
        return {} if accuracy is None else {"val": f"{accuracy:.4f}"}


def _send_messages_to_the_log() -> None:
    """Warnings and notes of libraries go to train.log; the terminal keeps what the user can act on."""
    logging.captureWarnings(True)
    for name in ("lightning", "lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    transformers_logging.disable_default_handler()
    transformers_logging.enable_propagation()
    transformers_logging.disable_progress_bar()
