"""Checkpoints of a run: written where an exact resume is possible, whole or not at all, and checked when read."""

import os
import signal
import threading
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.trainer.states import TrainerFn

from lora_agnews import console
from lora_agnews.config import UserError
from lora_agnews.task import MONITOR

LAST, PREVIOUS, BEST = "last.ckpt", "previous.ckpt", "best.ckpt"


class Checkpoints(Checkpoint):
    """last.ckpt every `every` steps, after each validation and each epoch, the one before it, and best.ckpt.

    From the last batch before a validation to the end of it there is no checkpoint, nor between the batches of one
    step, nor at a step that is logged, nor after the validation that ends a run before its last epoch: Lightning would
    not come back to the same place. What a kill in between costs is done again, bit for bit. Ctrl-C and SIGTERM (Slurm)
    wait for the next checkpoint; a second one does not.
    """

    def __init__(self, folder: Path, every: int, identity: dict[str, str]) -> None:
        self.folder, self.every, self.identity = folder, every, identity
        self.best_accuracy, self.saved_at = -1.0, 0
        self.random: dict[str, Any] | None = None  # of the checkpoint that the run continues
        self.stopping = False
        self.handlers: dict[int, Any] = {}

    def on_train_start(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        if self.random is not None:
            torch.set_rng_state(self.random["cpu"])
            torch.cuda.set_rng_state_all(self.random["cuda"])
        if threading.current_thread() is threading.main_thread():
            self.handlers = {each: signal.signal(each, self._stop) for each in (signal.SIGINT, signal.SIGTERM)}

    def on_train_batch_end(
        self, trainer: L.Trainer, task: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.world_size > 1:  # all of them, or none
            self.stopping = trainer.strategy.reduce_boolean_decision(self.stopping, all=False)
        if not self.stopping and trainer.global_step - self.saved_at < self.every:
            return
        done, validated_every = batch_idx + 1, int(trainer.val_check_batch or 1)
        stepped = done % trainer.accumulate_grad_batches == 0 and done < trainer.num_training_batches
        logged = trainer.global_step % trainer.log_every_n_steps == 0  # type: ignore[attr-defined]  # after this hook
        if stepped and not logged and done % validated_every:
            self._save_last(trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        if self.saved_at != trainer.global_step:  # no validation at its end: due as soon as the next one can be saved
            self.saved_at = -self.every

    def on_validation_end(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        if trainer.state.fn != TrainerFn.FITTING:
            return
        accuracy = float(trainer.callback_metrics[MONITOR])
        if accuracy > self.best_accuracy:
            self.best_accuracy = accuracy
            self._save(trainer, BEST)
        if not trainer.should_stop and not self._reached_max_steps(trainer):
            self._save_last(trainer)

    def on_exception(self, trainer: L.Trainer, task: L.LightningModule, exception: BaseException) -> None:
        self._release()

    def on_train_end(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        if self._reached_max_steps(trainer):  # Lightning will skip the fit that begins here
            self._save_last(trainer)
        self._release()
        if self.stopping:
            raise KeyboardInterrupt

    def on_save_checkpoint(self, trainer: L.Trainer, task: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["run"] = self.identity
        checkpoint["random"] = {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all()}
        checkpoint["best_accuracy"] = self.best_accuracy
        rows = self.folder.parent / "metrics.csv"
        checkpoint["metrics_rows"] = len(rows.read_bytes().splitlines()) - 1 if rows.exists() else 0

    def on_load_checkpoint(self, trainer: L.Trainer, task: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        self.random, self.best_accuracy = checkpoint["random"], checkpoint["best_accuracy"]
        self.saved_at = checkpoint["global_step"]

    def _reached_max_steps(self, trainer: L.Trainer) -> bool:
        return trainer.global_step == trainer.max_steps

    def _save_last(self, trainer: L.Trainer) -> None:
        for logger in trainer.loggers:
            logger.save()
        last = self.folder / LAST
        if last.exists() and trainer.is_global_zero:
            kept = self.folder / f".{PREVIOUS}"
            kept.unlink(missing_ok=True)
            os.link(last, kept)
            kept.replace(self.folder / PREVIOUS)
        self._save(trainer, LAST)
        self.saved_at = trainer.global_step
        if self.stopping:
            raise KeyboardInterrupt

    def _save(self, trainer: L.Trainer, name: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        unfinished = self.folder / f".{name}"
        trainer.save_checkpoint(unfinished)
        if trainer.is_global_zero:
            unfinished.replace(self.folder / name)
        trainer.strategy.barrier(name)

    def _stop(self, number: int, frame: Any) -> None:
        if self.stopping:
            self._release()
            raise KeyboardInterrupt
        self.stopping = True
        console.notice("stopping after the next step, with a checkpoint; once more stops at once")

    def _release(self) -> None:
        for number, handler in self.handlers.items():
            signal.signal(number, handler)
        self.handlers = {}


def read_checkpoint(path: Path, identity: dict[str, str]) -> dict[str, Any]:
    """A checkpoint of the run. Raises: UserError, naming the file, if it is damaged or another run's."""
    previous = path.with_name(PREVIOUS)
    remedy = f"; the one before it: resume={previous}" if path.name == LAST and previous.exists() else ""
    try:
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        found = checkpoint["run"]
    except Exception as error:  # torch raises whatever its parts raise: RuntimeError, EOFError, UnpicklingError, ...
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path}: damaged or no checkpoint of this program ({reason}){remedy}") from error
    for key, value in identity.items():
        if found.get(key) != value:
            other = f"{key} {found.get(key)}, this one has {value}"
            raise UserError(f"{path}: belongs to another run, of {other}{remedy}")
    return checkpoint
