"""The LightningModule: loss, metrics, optimizer, and the budget at the last moment before the first step."""

import math
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from lora_agnews.budget import Budget, recount, trainable_parameters
from lora_agnews.errors import TrainingDiverged
from lora_agnews.results.monitor import MONITOR
from lora_agnews.training.metrics import ClassificationMetrics, EpochLoss
from lora_agnews.training.optimizers import build_optimizer, build_schedule, check_optimizers

INPUTS = ("input_ids", "inputs_embeds", "attention_mask")  # of the model; not every batch has all of them


class LoRAClassifier(L.LightningModule):
    """Trains what `model` leaves trainable. Batches: `data.batches.Batch`."""

    strict_loading = False  # checkpoints contain only what is trained; on_load_checkpoint checks that it is complete

    def __init__(
        self,
        model: nn.Module,
        budget: Budget,
        optimizer: str,
        lr: float,
        lora_plus_ratio: float,
        weight_decay: float,
        schedule: str,
        warmup_fraction: float,
        label_smoothing: float,
        class_weights: list[float] | None,
    ) -> None:
        super().__init__()
        self.model, self.budget = model, budget
        self.optimizer_options = (optimizer, lr, lora_plus_ratio, weight_decay)
        self.schedule_options = (schedule, warmup_fraction)
        weights = torch.tensor(class_weights, dtype=torch.float32) if class_weights else None
        reduction = "none" if class_weights else "mean"
        self.train_criterion = nn.CrossEntropyLoss(weights, reduction=reduction, label_smoothing=label_smoothing)
        self.running_loss, self.metrics = EpochLoss(), ClassificationMetrics()
        self.epoch_loss = math.nan  # mean training loss of the last epoch, or of the part that max_steps left of it
        self.best: dict[str, float] = {}  # metrics of the best validation so far
        self.best_confusion: list[list[int]] = []
        self.best_predictions: dict[str, Tensor] = {}

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Return the logits (B, 4)."""
        logits: Tensor = self.model(**{name: batch[name] for name in INPUTS if name in batch}).logits
        return logits

    def on_fit_start(self) -> None:
        self.check_budget()
        if self.global_rank:  # each device draws its own dropout
            torch.manual_seed(torch.initial_seed() + self.global_rank)

    def on_train_start(self) -> None:
        self.check_budget()

    def on_train_epoch_start(self) -> None:
        self.check_budget()

    def check_budget(self) -> None:
        """Count what is trained now, because callbacks may unfreeze parameters, and what the optimizer holds.

        Raises: BudgetExceeded.
        """
        self.budget = recount(self.budget, self)
        self.budget.check()
        check_optimizers(self.trainer.optimizers, self.budget.limit)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        loss: Tensor = self.train_criterion(self(batch), batch["labels"]).mean()
        self.running_loss.update(loss, len(batch["labels"]), batch.get("weight"))
        if "weight" in batch:
            loss = loss * batch["weight"]
        if self._is_logged():
            self.log("train/loss", loss.detach(), sync_dist=True)  # takes 0.7 ms even if Lightning then writes nothing
        return loss

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        if self._is_logged():  # of the gradient before it is clipped
            gradients = [each.grad for each in self.parameters() if each.grad is not None]
            self.log("train/grad_norm", nn.utils.get_total_norm(gradients))
            self.log("train/lr", optimizer.param_groups[0]["lr"])

    def _is_logged(self) -> bool:
        return bool((self.trainer.global_step + 1) % self.trainer.log_every_n_steps == 0)  # type: ignore[attr-defined]

    def on_train_epoch_end(self) -> None:
        self.epoch_loss = self.running_loss.compute(self.trainer.strategy)
        if not math.isfinite(self.epoch_loss):
            raise TrainingDiverged(
                f"the training loss of epoch {self.current_epoch + 1} is not finite", self.global_step
            )
        self.log("train/loss_epoch", self.epoch_loss)

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        self.metrics.update(self(batch), batch["labels"], batch.get("rows"))

    test_step = validation_step

    def on_validation_epoch_end(self) -> None:
        metrics = self._log_metrics("val")
        best = self.best.get(MONITOR.key, MONITOR.worst)
        if not self.trainer.sanity_checking and MONITOR.is_better(metrics[MONITOR.key], best):
            self.best, self.best_confusion = metrics, self.metrics.confusion.tolist()
            self.best_predictions = self.metrics.predictions

    def on_test_epoch_end(self) -> None:
        self._log_metrics("test")

    def _log_metrics(self, split: str) -> dict[str, float]:
        metrics = self.metrics.compute(split)
        self.log_dict(metrics)
        return metrics

    def configure_optimizers(self) -> Any:
        optimizer = build_optimizer(self, *self.optimizer_options)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = build_schedule(optimizer, *self.schedule_options, steps)
        if schedule is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        trained = trainable_parameters(self)
        loss, rows = self.running_loss.totals(self.trainer.strategy)
        checkpoint["state_dict"] = {k: v for k, v in checkpoint["state_dict"].items() if k in trained}
        checkpoint |= {"best": self.best, "best_confusion": self.best_confusion, "epoch_loss": self.epoch_loss}
        checkpoint |= {"train_loss": (loss, int(rows)), "best_predictions": self.best_predictions}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Raises: ValueError, if the checkpoint does not contain exactly what this model trains."""
        expected, found = set(trainable_parameters(self)), set(checkpoint["state_dict"])
        if expected != found:
            differing = sorted(expected ^ found)
            examples = ", ".join(differing[:3])
            raise ValueError(
                f"the checkpoint belongs to another model: {len(differing)} names differ, such as {examples}"
            )
        self.best, self.epoch_loss = checkpoint["best"], checkpoint["epoch_loss"]
        self.best_confusion = checkpoint.get("best_confusion", [])  # version 0.1 stored neither
        self.best_predictions = checkpoint.get("best_predictions", {})
        if self.global_rank == 0:  # the totals of all devices
            self.running_loss.sum, self.running_loss.rows = checkpoint["train_loss"]
