"""Checkpoints: written atomically where an exact resume is possible, and checked when they are read."""

import signal
import threading
import time
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.trainer.states import TrainerFn

from lora_agnews.config.identity import config_hash
from lora_agnews.config.messages import resume_override
from lora_agnews.config.schema import TrainConfig
from lora_agnews.data.datamodule import AGNewsDataModule
from lora_agnews.errors import UserError
from lora_agnews.results.monitor import MONITOR
from lora_agnews.results.record import METRICS_FILE
from lora_agnews.terminal import console
from lora_agnews.training.checkpoint_file import is_intact, link_or_copy

LAST, PREVIOUS, BEST = "last.ckpt", "previous.ckpt", "best.ckpt"
DIFFERENCES = {
    "config": "another configuration",
    "data": "other training rows",
    "test": "other test rows",
    "model": "other base weights",
}
SECONDS_BETWEEN_SIGNALS = 1.0  # Slurm's SIGTERM may reach a process twice: directly, and passed on by its parent
STEPS_BETWEEN_EXCHANGES = 20  # after which the processes of a run tell each other whether one got a signal to stop


class Checkpoints(Checkpoint):
    """Writes last.ckpt every `every` steps and after each validation, and keeps previous.ckpt and best.ckpt too.

    No checkpoint is written at these moments, because Lightning would not resume at the same place:
    - from the last batch before a validation until the validation has ended,
    - between the accumulated batches of one optimizer step,
    - at a step that is logged, because Lightning writes the log entry after this hook,
    - after the validation that ends a run before its last epoch.
    Work that is lost to a kill there is repeated bit for bit. Ctrl-C and SIGTERM (Slurm) wait for the next checkpoint;
    a second signal stops at once.
    """

    def __init__(self, folder: Path, every: int, identity: dict[str, str]) -> None:
        self.folder, self.every, self.identity = folder, every, identity
        self.best_score, self.saved_step = MONITOR.worst, 0
        self.random_states: Any = None  # of the checkpoint that is being resumed; see `_random_states`
        self.signalled = self.stopping = False  # this process has got a signal; all processes stop
        self.signalled_at = 0.0
        self.handlers: dict[int, Any] = {}

    def setup(self, trainer: L.Trainer, task: L.LightningModule, stage: str) -> None:
        """Remove what a process left that was killed while it wrote a checkpoint."""
        if trainer.is_global_zero:
            for name in (LAST, PREVIOUS, BEST):
                (self.folder / f".{name}").unlink(missing_ok=True)

    def on_train_start(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        if self.random_states is not None:
            _set_random_state(self.random_states, trainer)
        if threading.current_thread() is threading.main_thread():
            self.handlers = {each: signal.signal(each, self._on_signal) for each in (signal.SIGINT, signal.SIGTERM)}

    def on_train_batch_end(
        self, trainer: L.Trainer, task: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.world_size == 1 or trainer.global_step % STEPS_BETWEEN_EXCHANGES == 0:
            self._decide_to_stop(trainer)
        if not self.stopping and trainer.global_step - self.saved_step < self.every:
            return
        done, validated_every = batch_idx + 1, int(trainer.val_check_batch or 1)
        stepped = done % trainer.accumulate_grad_batches == 0 and done < trainer.num_training_batches
        logged = trainer.global_step % trainer.log_every_n_steps == 0  # type: ignore[attr-defined]  # after this hook
        if stepped and not logged and done % validated_every:
            self._save_last(trainer)

    def on_validation_end(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        if trainer.state.fn != TrainerFn.FITTING:
            return
        score = float(trainer.callback_metrics[MONITOR.key])
        if MONITOR.is_better(score, self.best_score):
            self.best_score = score
            self._save(trainer, BEST)
        self._decide_to_stop(trainer)
        if not trainer.should_stop and not self._reached_max_steps(trainer):
            self._save_last(trainer)

    def on_exception(self, trainer: L.Trainer, task: L.LightningModule, exception: BaseException) -> None:
        self._restore_handlers()

    def on_train_end(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        self._decide_to_stop(trainer)
        if self._reached_max_steps(trainer):  # Lightning skips a fit that resumes here
            self._save_last(trainer)
        self._restore_handlers()
        if self.stopping:
            raise KeyboardInterrupt

    def on_save_checkpoint(self, trainer: L.Trainer, task: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["run"] = self.identity
        checkpoint["random"] = _random_states(trainer)
        checkpoint["best_score"] = self.best_score
        rows = self.folder.parent / METRICS_FILE
        checkpoint["metrics_rows"] = len(rows.read_bytes().splitlines()) - 1 if rows.exists() else 0

    def on_load_checkpoint(self, trainer: L.Trainer, task: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        self.random_states = checkpoint["random"]
        # Version 0.1 called it best_accuracy.
        self.best_score = checkpoint["best_score"] if "best_score" in checkpoint else checkpoint["best_accuracy"]
        self.saved_step = checkpoint["global_step"]

    def _decide_to_stop(self, trainer: L.Trainer) -> None:
        """All processes stop together if one of them has got a signal. With several, each waits for the others here."""
        self.stopping = trainer.strategy.reduce_boolean_decision(self.signalled, all=False)

    def _reached_max_steps(self, trainer: L.Trainer) -> bool:
        return trainer.global_step == trainer.max_steps

    def _save_last(self, trainer: L.Trainer) -> None:
        for logger in trainer.loggers:
            logger.save()
        last = self.folder / LAST
        if last.exists() and trainer.is_global_zero:
            link_or_copy(last, self.folder / PREVIOUS)
        self._save(trainer, LAST)
        self.saved_step = trainer.global_step
        if self.stopping:
            raise KeyboardInterrupt

    def _save(self, trainer: L.Trainer, name: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        unfinished = self.folder / f".{name}"
        try:
            trainer.save_checkpoint(unfinished)
            if trainer.is_global_zero:
                unfinished.replace(self.folder / name)
        finally:  # on a full disk this makes room for the record
            if trainer.is_global_zero:
                unfinished.unlink(missing_ok=True)
        trainer.strategy.barrier(name)

    def _on_signal(self, number: int, frame: Any) -> None:
        if self.signalled and time.monotonic() - self.signalled_at < SECONDS_BETWEEN_SIGNALS:
            return
        if self.signalled:
            self._restore_handlers()
            raise KeyboardInterrupt
        self.signalled, self.signalled_at = True, time.monotonic()
        console.note("stopping as soon as a checkpoint can be written; a second signal stops at once")

    def _restore_handlers(self) -> None:
        for number, handler in self.handlers.items():
            signal.signal(number, handler)
        self.handlers = {}


def _random_states(trainer: L.Trainer) -> list[dict[str, torch.Tensor]]:
    """Return the random state of each process of the run: of the CPU and, on a GPU, of the process' own device."""
    own = {"cpu": torch.get_rng_state()}
    device = trainer.strategy.root_device
    if device.type == "cuda":
        own["cuda"] = torch.cuda.get_rng_state(device)
    if trainer.world_size == 1:
        return [own]
    states: list[Any] = [None] * trainer.world_size
    torch.distributed.all_gather_object(states, own)
    return states


def _set_random_state(states: Any, trainer: L.Trainer) -> None:
    """Continue the random numbers of this process, or say that the resumed run can't be exact.

    Version 0.1 stored the states of the first process: a CPU state, and a list with one state per visible GPU.
    """
    device, rank = trainer.strategy.root_device, trainer.global_rank
    if isinstance(states, dict):
        visible = states["cuda"]
        cuda = {"cuda": visible[device.index or 0]} if len(visible) > (device.index or 0) else {}
        states = [{"cpu": states["cpu"]} | cuda]
    if rank >= len(states) or trainer.world_size < len(states) or ("cuda" in states[rank]) != (device.type == "cuda"):
        console.note(
            "the checkpoint was written on other devices: the run continues from it, but dropout draws other random "
            "numbers, so it will not end exactly as it would have there"
        )
    if rank < len(states):
        torch.set_rng_state(states[rank]["cpu"])
        if device.type == "cuda" and "cuda" in states[rank]:
            torch.cuda.set_rng_state(states[rank]["cuda"], device)


def run_identity(config: TrainConfig, data: AGNewsDataModule, weights: str) -> dict[str, str]:
    """Return what must be the same for a checkpoint to be resumed; see DIFFERENCES."""
    values = config.to_dict()
    values["trainer"]["max_epochs"] = "may grow"
    test = data.fingerprints["test"] or "none"
    return {"config": config_hash(values), "data": data.fingerprint(), "test": test, "model": weights}


def seconds_before(checkpoint: dict[str, Any]) -> float:
    """Return the wall time of a run until a checkpoint, in all its processes. Version 0.1 stored only the training."""
    stopwatch = checkpoint.get("callbacks", {}).get("Stopwatch", {})
    return float(stopwatch.get("total", stopwatch.get("seconds", 0.0)))


def best_checkpoint(folder: Path) -> Path:
    """Return the path of best.ckpt. Raises: RuntimeError, if it is damaged."""
    if not is_intact(folder / BEST):
        raise RuntimeError(f"{folder / BEST}: damaged, so the weights of the best validation are lost; train again")
    return folder / BEST


def read_checkpoint(path: Path, identity: dict[str, str]) -> dict[str, Any]:
    """Read a checkpoint of the run. Raises: UserError, naming the file, if it is damaged or belongs to another run."""
    previous = path.with_name(PREVIOUS)
    can_go_back = path.name == LAST and is_intact(previous)
    remedy = f"; to continue from the one before it: {resume_override(previous)}" if can_go_back else ""
    try:
        if not is_intact(path):
            raise ValueError("its checksums do not match")
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        found = checkpoint["run"]
    except Exception as error:  # torch raises whatever its parts raise: RuntimeError, EOFError, UnpicklingError, ...
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path}: damaged, or not a checkpoint of this program ({reason}){remedy}") from error
    for key, value in identity.items():
        if found.get(key, value) != value:  # version 0.1 did not store the test rows
            raise UserError(f"{path}: was written by a run with {DIFFERENCES[key]}{remedy}")
    return checkpoint
