"""The progress bar of a run."""

import time
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ProgressBar as LightningProgressBar
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from lora_agnews.results.monitor import MONITOR
from lora_agnews.terminal import console

SECONDS_BETWEEN_REFRESHES = 1.0


class ProgressBar(LightningProgressBar):
    """One bar for the whole training, with epochs counted from 1, and one for each validation or test.

    A bar is redrawn by the first batch that ends a second or more after the previous redraw. All bars disappear at the
    end.
    """

    def __init__(self) -> None:
        super().__init__()
        self.enabled = console.shows_bars()
        self.progress: Progress | None = None
        self.tasks: dict[str, TaskID] = {}
        self.totals: dict[str, int] = {}
        self.refreshed_at = 0.0
        self.metric = ""  # of the last validation, in words

    def disable(self) -> None:
        self.enabled = False

    def on_train_batch_start(self, trainer: L.Trainer, task: L.LightningModule, batch: Any, batch_idx: int) -> None:
        if "train" not in self.tasks:  # also after a resume in the middle of an epoch
            self._add("train", _epoch(trainer), int(trainer.estimated_stepping_batches), trainer.global_step)

    def on_train_batch_end(
        self, trainer: L.Trainer, task: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._update("train", trainer.global_step, description=_epoch(trainer), metric=self.metric)

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
        if MONITOR.key in trainer.callback_metrics:
            self.metric = f"{MONITOR.label} {float(trainer.callback_metrics[MONITOR.key]):.4f}"

    def on_train_end(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        self._remove("train")

    def on_exception(self, trainer: L.Trainer, task: L.LightningModule, exception: BaseException) -> None:
        self._stop()

    def teardown(self, trainer: L.Trainer, task: L.LightningModule, stage: str) -> None:
        self._stop()

    def _evaluated(self, name: str, batch_idx: int, total: int) -> None:
        if name not in self.tasks:
            self._add(name, f"{name:<10}", total, 0)
        self._update(name, batch_idx + 1)

    def _add(self, name: str, description: str, total: int, completed: int) -> None:
        if not self.enabled:
            return
        if self.progress is None:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            metric = TextColumn("{task.fields[metric]}")
            self.progress = Progress(*columns, metric, console=console.err, transient=True, auto_refresh=False)
            self.progress.start()
        self.tasks[name] = self.progress.add_task(description, total=total, completed=completed, metric="")
        self.totals[name] = total

    def _update(self, name: str, completed: int, **fields: str) -> None:
        if self.progress is None or name not in self.tasks:
            return
        now = time.monotonic()
        if now - self.refreshed_at < SECONDS_BETWEEN_REFRESHES and completed < self.totals[name]:
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


def _epoch(trainer: L.Trainer) -> str:
    """Return "Epoch 1/2", as wide as "Validation" so that the bars stay in line."""
    return f"{f'Epoch {trainer.current_epoch + 1}/{trainer.max_epochs}':<10}"
