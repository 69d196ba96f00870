"""Callbacks of a run: throughput, the progress bar, and the end of a run that a study prunes."""

import sys
import time
from collections.abc import Callable
from typing import Any

import lightning as L
import psutil
import torch
from lightning.pytorch.callbacks import ProgressBar as LightningProgressBar
from lightning.pytorch.trainer.states import TrainerFn
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from torch import Tensor

from lora_agnews.errors import RunPruned, TrainingDiverged
from lora_agnews.results.monitor import MONITOR
from lora_agnews.terminal import console

ShouldPrune = Callable[[int, float], bool]  # number of the validation, monitored metric -> whether to stop the run
SECONDS_BETWEEN_REFRESHES = 1.0


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


class ProgressBar(LightningProgressBar):
    """One bar for the whole training, with epochs counted from 1, and one for each validation or test.

    A bar is redrawn by the first batch that ends a second or more after the last time. All bars disappear at the end.
    """

    def __init__(self) -> None:
        super().__init__()
        self.enabled = console.err.is_terminal
        self.progress: Progress | None = None
        self.tasks: dict[str, TaskID] = {}
        self.refreshed_at = 0.0

    def disable(self) -> None:
        self.enabled = False

    def enable(self) -> None:
        self.enabled = console.err.is_terminal

    def on_train_batch_start(self, trainer: L.Trainer, task: L.LightningModule, batch: Any, batch_idx: int) -> None:
        if "train" not in self.tasks:  # also after a resume in the middle of an epoch
            self._add("train", int(trainer.estimated_stepping_batches), trainer.global_step)

    def on_train_batch_end(
        self, trainer: L.Trainer, task: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        accuracy = trainer.callback_metrics.get(MONITOR.key)
        shown = "" if accuracy is None else f"{MONITOR.label} {accuracy:.4f}"
        description = f"Epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
        self._update("train", trainer.global_step, description=description, metric=shown)

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        task: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._evaluated("Validation", batch_idx, sum(map(int, trainer.num_val_batches)))

    def on_test_batch_end(
        self,
        trainer: L.Trainer,
        task: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._evaluated("Test", batch_idx, sum(map(int, trainer.num_test_batches)))

    def on_validation_end(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        self._remove("Validation")

    def on_train_end(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        self._remove("train")

    def on_exception(self, trainer: L.Trainer, task: L.LightningModule, exception: BaseException) -> None:
        self._stop()

    def teardown(self, trainer: L.Trainer, task: L.LightningModule, stage: str) -> None:
        self._stop()

    def _evaluated(self, name: str, batch_idx: int, total: int) -> None:
        if name not in self.tasks:
            self._add(name, total, 0)
        self._update(name, batch_idx + 1)

    def _add(self, name: str, total: int, completed: int) -> None:
        if not self.enabled:
            return
        if self.progress is None:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            metric = TextColumn("{task.fields[metric]}")
            self.progress = Progress(*columns, metric, console=console.err, transient=True, auto_refresh=False)
            self.progress.start()
        self.tasks[name] = self.progress.add_task(name, total=total, completed=completed, metric="")

    def _update(self, name: str, completed: int, **fields: str) -> None:
        now = time.monotonic()
        if self.progress is None or name not in self.tasks or now - self.refreshed_at < SECONDS_BETWEEN_REFRESHES:
            return
        self.refreshed_at = now
        self.progress.update(self.tasks[name], completed=completed, **fields)  # type: ignore[arg-type]
        self.progress.refresh()

    def _remove(self, name: str) -> None:
        if self.progress is not None and name in self.tasks:
            self.progress.remove_task(self.tasks.pop(name))

    def _stop(self) -> None:
        if self.progress is not None:
            self.progress.stop()
        self.progress, self.tasks = None, {}


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


def peak_memory_of_process() -> int:
    """Return the peak memory of this process in bytes. psutil knows the peak on Windows only."""
    peak = getattr(psutil.Process().memory_info(), "peak_wset", None)
    if peak is not None:
        return int(peak)
    import resource  # does not exist on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


class Stopwatch(L.Callback):
    """Measures the wall time of training without validation, and the rows and tokens that were processed in it.

    `began` is the time.perf_counter() at which the run of this process began.
    """

    state_key = "Stopwatch"  # the name of its state in checkpoints, also if the class is renamed

    def __init__(self, began: float, earlier_total: float) -> None:
        self.began, self.earlier_total = began, earlier_total
        self.seconds = self.paused_at = self.began_at = self.earlier_seconds = 0.0
        self.samples = 0
        self.tokens: Tensor | int = 0

    def on_train_start(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        self.began_at = time.perf_counter() - self.earlier_seconds
        if trainer.strategy.root_device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(trainer.strategy.root_device)

    def on_train_batch_end(
        self, trainer: L.Trainer, task: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.samples += len(batch["labels"]) * trainer.world_size
        # The sum stays on the device, so that no step waits for it.
        self.tokens = self.tokens + batch["attention_mask"].sum() * trainer.world_size

    def on_validation_start(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        self.paused_at = time.perf_counter()

    def on_validation_end(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        self.began_at += time.perf_counter() - self.paused_at

    def on_train_end(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        self.seconds = time.perf_counter() - self.began_at

    def state_dict(self) -> dict[str, Any]:
        seconds = time.perf_counter() - self.began_at
        total = self.earlier_total + time.perf_counter() - self.began
        return {"seconds": seconds, "total": total, "samples": self.samples, "tokens": int(self.tokens)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.earlier_seconds = self.seconds = state_dict["seconds"]
        self.samples, self.tokens = state_dict["samples"], state_dict["tokens"]

    def throughput(self, steps: int, device: torch.device) -> dict[str, float]:
        """Return samples, steps and real tokens per second of training, and the peak memory in bytes.

        The memory is that of the run's GPU or, on another device, of the process.
        """
        seconds = max(self.seconds, 1e-9)
        on_gpu = device.type == "cuda"
        peak = torch.cuda.max_memory_allocated(device) if on_gpu else peak_memory_of_process()
        return {
            "samples_per_second": self.samples / seconds,
            "steps_per_second": steps / seconds,
            "tokens_per_second": float(self.tokens) / seconds,
            "peak_memory_bytes": peak,
        }
