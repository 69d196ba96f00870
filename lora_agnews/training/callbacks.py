"""Callbacks of a run: when it validates, its speed and profile, skipped steps, and its end if a study prunes it."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import lightning as L
import psutil
import torch
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor
from torch._dynamo.callback import callback_handler

from lora_agnews.errors import RunPruned, TrainingDiverged
from lora_agnews.files.atomic import write_atomically
from lora_agnews.results.monitor import MONITOR
from lora_agnews.training.in_sweep import ShouldPrune

PROFILE = "profile.txt"


class PruningCallback(L.Callback):
    """Stops the run with RunPruned if `should_prune` says so after a validation."""

    def __init__(self, should_prune: ShouldPrune) -> None:
        self.should_prune, self.validations = should_prune, 0

    def on_validation_end(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        if trainer.state.fn != TrainerFn.FITTING:
            return
        self.validations += 1
        if self.should_prune(self.validations, float(trainer.callback_metrics[MONITOR.key])):
            raise RunPruned

    def state_dict(self) -> dict[str, Any]:
        return {"validations": self.validations}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.validations = state_dict["validations"]


class ValidationSchedule(L.Callback):
    """Validates every `every` batches of an epoch, after its last batch, and after the last step of the run.

    Lightning decides after each batch by `trainer.val_check_batch`, which this callback sets for that batch.
    """

    def __init__(self, every: int) -> None:
        self.every = every

    def on_train_start(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        # A resumed run asks first whether the batch before its checkpoint was validated.
        self._decide(trainer, trainer.fit_loop.epoch_loop.batch_progress.current.ready - 1)

    def on_train_batch_start(self, trainer: L.Trainer, task: L.LightningModule, batch: Any, batch_idx: int) -> None:
        self._decide(trainer, batch_idx)

    def _decide(self, trainer: L.Trainer, batch_idx: int) -> None:
        done = batch_idx + 1
        ends_epoch = done == trainer.num_training_batches
        ends_step = ends_epoch or done % trainer.accumulate_grad_batches == 0
        ends_run = ends_step and trainer.global_step + 1 == trainer.max_steps
        validates = done % self.every == 0 or ends_epoch or ends_run
        trainer.val_check_batch = 1 if validates else int(trainer.num_training_batches) + 1


class ProfileFile(L.Callback):
    """Writes the table of Lightning's profiler after training."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def teardown(self, trainer: L.Trainer, task: L.LightningModule, stage: str) -> None:
        if trainer.is_global_zero and stage == "fit":
            write_atomically(self.path, trainer.profiler.summary())  # type: ignore[attr-defined]


class SkippedSteps(L.Callback):
    """Counts the steps that 16-mixed skips because of overflow, and ends a run whose loss scale has collapsed."""

    SMALLEST_SCALE = 1.0  # it starts at 65,536 and is halved by each skipped step; a healthy run stays in the thousands

    def __init__(self) -> None:
        self.executed = 0

    def on_train_start(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        self.executed = self.executed or trainer.global_step  # checkpoints of version 0.1 do not have the number
        for optimizer in trainer.optimizers:
            optimizer.register_step_post_hook(self._count)

    def on_train_epoch_end(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        if scaler is not None and scaler.get_scale() < self.SMALLEST_SCALE:
            raise TrainingDiverged(f"the loss scale of 16-mixed fell to {scaler.get_scale():.0e}", trainer.global_step)

    def state_dict(self) -> dict[str, Any]:
        return {"executed": self.executed}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.executed = state_dict["executed"]

    def _count(self, *_: Any) -> None:
        self.executed += 1


def peak_memory(device: torch.device) -> int:
    """Return the peak memory in bytes: that of the GPU or, for another device, of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = getattr(psutil.Process().memory_info(), "peak_wset", None)
    if peak is not None:
        return int(peak)
    import resource  # does not exist on Windows, where psutil knows the peak

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def finished_at(device: torch.device) -> float:
    """Return the time.perf_counter() at which the device has done what it was given: a GPU runs behind the program."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


class Stopwatch(L.Callback):
    """Measures the wall time of training without validation, and the rows and tokens that were processed in it.

    The speed also leaves out what torch.compile takes of that time, `compile_seconds`. `began` is the
    time.perf_counter() at which the run of this process began.
    """

    state_key = "Stopwatch"  # the name of its state in checkpoints, also if the class is renamed

    def __init__(self, began: float, earlier_total: float) -> None:
        self.began, self.earlier_total = began, earlier_total
        self.seconds = self.began_at = self.earlier_seconds = 0.0
        self.compile_seconds = self.compile_began_at = 0.0
        self.paused_at: float | None = None  # when the running validation began; None: none is running
        self.samples = 0
        self.tokens: Tensor | int = 0

    @staticmethod
    def of(trainer: L.Trainer) -> "Stopwatch":
        """Return the stopwatch among the callbacks."""
        return next(each for each in trainer.callbacks if isinstance(each, Stopwatch))  # type: ignore[attr-defined]

    def on_train_start(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        self.began_at = time.perf_counter() - self.earlier_seconds
        if trainer.strategy.root_device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(trainer.strategy.root_device)

    def on_train_batch_end(
        self, trainer: L.Trainer, task: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.samples += len(batch["labels"]) * trainer.world_size
        # The sum stays on the device, so that no step waits for it.
        mask, padded = batch.get("attention_mask"), batch.get("input_ids", batch.get("inputs_embeds"))
        tokens = prod(padded.shape[:2]) if mask is None else mask.sum()
        self.tokens = self.tokens + tokens * trainer.world_size

    def on_validation_start(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        self.paused_at = finished_at(trainer.strategy.root_device)

    def on_validation_end(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        assert self.paused_at is not None
        self.began_at += time.perf_counter() - self.paused_at
        self.paused_at = None

    def on_train_end(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        self.seconds = finished_at(trainer.strategy.root_device) - self.began_at

    def state_dict(self) -> dict[str, Any]:
        now = time.perf_counter()
        seconds, total = now - self.began_at, now - self.began + self.earlier_total
        speed = {"samples": self.samples, "tokens": int(self.tokens), "compile_seconds": self.compile_seconds}
        return {"seconds": seconds, "total": total} | speed

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.earlier_seconds = self.seconds = state_dict["seconds"]
        self.samples, self.tokens = state_dict["samples"], state_dict["tokens"]
        self.compile_seconds = state_dict.get("compile_seconds", 0.0)  # version 0.1 did not measure it

    @contextmanager
    def leaving_out_compilation(self) -> Iterator[None]:
        """Time every compilation in this block. A new shape of a batch can trigger one at any step.

        PyTorch has no public hook for this.
        """
        callback_handler.register_start_callback(self._on_compile_start)
        callback_handler.register_end_callback(self._on_compile_end)
        try:
            yield
        finally:
            callback_handler.remove_start_callback(self._on_compile_start)
            callback_handler.remove_end_callback(self._on_compile_end)

    def throughput(self, steps: int, device: torch.device) -> dict[str, float]:
        """Return samples, steps and real tokens per second of training, and the peak memory in bytes."""
        seconds = max(self.seconds - self.compile_seconds, 1e-9)
        return {
            "samples_per_second": self.samples / seconds,
            "steps_per_second": steps / seconds,
            "tokens_per_second": float(self.tokens) / seconds,
            "peak_memory_bytes": peak_memory(device),
        }

    def _on_compile_start(self, _: Any) -> None:
        self.compile_began_at = time.perf_counter()

    def _on_compile_end(self, _: Any) -> None:
        if self.paused_at is None:
            self.compile_seconds += time.perf_counter() - self.compile_began_at
