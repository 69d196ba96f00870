"""The training task: loss, metrics, optimizer, schedule, and the budget at the last moment before the first step."""

import math
from collections.abc import Callable
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from lora_agnews.budget import BudgetExceeded, count, trainable_parameters
from lora_agnews.scores import Scores

MONITOR = "val/accuracy"  # what checkpoints, early stopping and sweeps look at; larger is better
OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
SCHEDULES: dict[str, Callable[[float], float]] = {  # share of the way from the end of the warm-up -> share of lr
    "constant": lambda done: 1.0,
    "linear": lambda done: 1.0 - done,
    "cosine": lambda done: 0.5 * (1.0 + math.cos(math.pi * done)),
}


def parameter_groups(model: nn.Module, lr: float, lora_plus_ratio: float) -> list[dict[str, Any]]:
    """What is trained, for an optimizer: in LoRA+ the adapters' B learn `lora_plus_ratio` times as fast as the rest.

    Source: Hayou et al. 2024, LoRA+: Efficient Low Rank Adaptation of Large Models, section 4.
    """
    trained = trainable_parameters(model)
    fast = [parameter for name, parameter in trained.items() if ".lora_B." in name and lora_plus_ratio != 1]
    rest = [parameter for name, parameter in trained.items() if ".lora_B." not in name or lora_plus_ratio == 1]
    groups = [{"params": rest, "lr": lr}, {"params": fast, "lr": lr * lora_plus_ratio}]
    return [group for group in groups if group["params"]]


class LoRAClassifier(L.LightningModule):
    """Trains what `model` leaves trainable. Batches: input_ids, attention_mask (B, T) int64, labels (B,) int64."""

    strict_loading = False  # checkpoints hold what was trained; on_load_checkpoint checks that nothing else is missing

    def __init__(
        self,
        model: nn.Module,
        limit: int,
        optimizer: str,
        lr: float,
        lora_plus_ratio: float,
        weight_decay: float,
        schedule: str,
        warmup_fraction: float,
        label_smoothing: float,
    ) -> None:
        super().__init__()
        self.model, self.limit = model, limit
        self.budget = count(model, limit)
        self.optimizer_name, self.lr, self.weight_decay = optimizer, lr, weight_decay
        self.lora_plus_ratio = lora_plus_ratio
        self.schedule, self.warmup_fraction = SCHEDULES[schedule], warmup_fraction
        self.train_criterion = nn.CrossEntropyLoss(label_smoothing=label_smoothing)
        self.loss_sum, self.rows_seen = torch.tensor(0.0), 0  # of this epoch; a metric's update takes 0.2 ms a step
        self.scores = Scores()
        self.epoch_loss = math.nan  # mean training loss of the last whole epoch, or of what max_steps left of it
        self.best: dict[str, float] = {}  # metrics of the best validation so far

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Logits (B, 4)."""
        logits: Tensor = self.model(input_ids=input_ids, attention_mask=attention_mask).logits
        return logits

    def on_fit_start(self) -> None:
        self.check_budget()

    def on_train_start(self) -> None:
        self.check_budget()
        if self.global_rank:  # other dropout than the first device
            torch.manual_seed(torch.initial_seed() + self.global_rank)

    def on_train_epoch_start(self) -> None:
        self.check_budget()

    def check_budget(self) -> None:
        """Counts again what is trained now, since callbacks may unfreeze, and what the optimizer holds.

        Raises: BudgetExceeded.
        """
        self.budget = count(self, self.limit)
        self.budget.check()
        groups = [group for optimizer in self.trainer.optimizers for group in optimizer.param_groups]
        held = {id(parameter): parameter.numel() for group in groups for parameter in group["params"]}
        if sum(held.values()) > self.limit:
            raise BudgetExceeded(f"the optimizer holds {sum(held.values()):,} parameters; the limit is {self.limit:,}")

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        loss: Tensor = self.train_criterion(self(batch["input_ids"], batch["attention_mask"]), batch["labels"])
        self.loss_sum = self.loss_sum.to(loss.device) + loss.detach() * len(batch["labels"])
        self.rows_seen += len(batch["labels"])
        if "weight" in batch:
            loss = loss * batch["weight"]
        if (self.trainer.global_step + 1) % self.trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            self.log("train/loss", loss.detach(), sync_dist=True)  # 0.7 ms even where Lightning then writes nothing
        return loss

    def on_train_epoch_end(self) -> None:
        seen = torch.stack([self.loss_sum, self.loss_sum.new_tensor(self.rows_seen)])
        loss, rows = self.trainer.strategy.reduce(seen, reduce_op="sum")  # over the devices
        self.epoch_loss = round(float(loss / rows), 6)
        self.log("train/loss_epoch", self.epoch_loss)
        self.loss_sum, self.rows_seen = torch.tensor(0.0), 0

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        self._evaluate(batch)

    def test_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        self._evaluate(batch)

    def on_validation_epoch_end(self) -> None:
        metrics = self._finish("val")
        if not self.trainer.sanity_checking and metrics[MONITOR] > self.best.get(MONITOR, -1.0):
            self.best = metrics

    def on_test_epoch_end(self) -> None:
        self._finish("test")

    def _evaluate(self, batch: dict[str, Tensor]) -> None:
        self.scores.update(self(batch["input_ids"], batch["attention_mask"]), batch["labels"])

    def _finish(self, split: str) -> dict[str, float]:
        metrics = self.scores.compute(split)
        self.log_dict(metrics)
        return metrics

    def configure_optimizers(self) -> Any:
        groups = parameter_groups(self, self.lr, self.lora_plus_ratio)
        optimizer = OPTIMIZERS[self.optimizer_name](groups, lr=self.lr, weight_decay=self.weight_decay)  # type: ignore[call-arg]
        steps = int(self.trainer.estimated_stepping_batches)
        warmup = round(self.warmup_fraction * steps)
        if self.schedule is SCHEDULES["constant"] and not warmup:
            return optimizer  # a scheduler costs a step 0.1 ms, also for nothing

        def factor(step: int) -> float:
            if step < warmup:
                return (step + 1) / (warmup + 1)
            return self.schedule(min(1.0, (step - warmup) / max(1, steps - warmup)))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        trained = trainable_parameters(self)
        checkpoint["state_dict"] = {k: v for k, v in checkpoint["state_dict"].items() if k in trained}
        checkpoint["best"], checkpoint["epoch_loss"] = self.best, self.epoch_loss
        checkpoint["train_loss"] = (self.loss_sum, self.rows_seen)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Raises: ValueError, if the checkpoint does not hold exactly what this model trains."""
        wanted, found = set(trainable_parameters(self)), set(checkpoint["state_dict"])
        if wanted != found:
            odd = ", ".join(sorted(wanted ^ found)[:3])
            raise ValueError(
                f"the checkpoint belongs to another model: {len(wanted ^ found)} names differ, such as {odd}"
            )
        self.best, self.epoch_loss = checkpoint["best"], checkpoint["epoch_loss"]
        self.loss_sum, self.rows_seen = checkpoint["train_loss"]
