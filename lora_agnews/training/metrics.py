"""Loss, accuracy, F1 and confusion matrix of a split. Training and evaluation use the same code, so they agree."""

import torch
from lightning.pytorch.strategies import Strategy
from torch import Tensor, nn
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix, MulticlassF1Score

from lora_agnews.labels import LABELS, label_key


class EpochLoss:
    """Mean training loss of an epoch over all devices. A torchmetrics metric would take 0.2 ms per step."""

    def __init__(self) -> None:
        self.sum = torch.tensor(0.0)
        self.rows: int | Tensor = 0

    def update(self, loss: Tensor, rows: int, weight: Tensor | None = None) -> None:
        """Add the mean loss of a batch of this many rows. With weight 0, they repeat a row of another device."""
        counted = rows if weight is None else rows * (weight > 0)
        self.sum = self.sum.to(loss.device) + loss.detach() * counted
        self.rows = self.rows + counted

    def totals(self, strategy: Strategy) -> Tensor:
        """Return the sum of the losses and the number of rows, (2,) float32, over all devices."""
        rows = torch.as_tensor(self.rows, dtype=self.sum.dtype, device=self.sum.device)
        totals: Tensor = strategy.reduce(torch.stack([self.sum, rows]), reduce_op="sum")
        return totals

    def compute(self, strategy: Strategy) -> float:
        """Return the mean, rounded to six digits, and begin the next epoch."""
        loss, rows = self.totals(strategy)
        self.sum, self.rows = torch.tensor(0.0), 0
        return round(float(loss / rows), 6)


class ClassificationMetrics(nn.Module):
    """Accumulates over batches and devices. `confusion` (4, 4) int64, rows true, belongs to the last `compute`."""

    def __init__(self) -> None:
        super().__init__()
        self.criterion = nn.CrossEntropyLoss()
        # The NaN check synchronises with the GPU at every update, so it is disabled. Without it, torchmetrics 1.9
        # ignores weights: the mean loss of a batch is repeated for each of its rows instead.
        self.loss = MeanMetric(nan_strategy="disable")
        self.metrics = MetricCollection(
            {
                "accuracy": MulticlassAccuracy(len(LABELS), average="micro"),
                "macro_f1": MulticlassF1Score(len(LABELS), average="macro"),
                "f1": MulticlassF1Score(len(LABELS), average=None),
                "confusion": MulticlassConfusionMatrix(len(LABELS)),
            },
            compute_groups=[["accuracy"], ["macro_f1", "f1"], ["confusion"]],
        )
        self.confusion = torch.zeros(len(LABELS), len(LABELS), dtype=torch.long)

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Add a batch: logits (B, 4), labels (B,) int64."""
        logits = logits.float()
        self.loss.update(self.criterion(logits, labels).expand(len(labels)))
        self.metrics.update(logits, labels)

    def compute(self, split: str) -> dict[str, float]:
        """Return the metrics of the split, rounded to six digits, and reset."""
        found = self.metrics.compute()
        self.confusion = found["confusion"].cpu()
        metrics = {"loss": self.loss.compute(), **{key: found[key] for key in ("accuracy", "macro_f1")}}
        metrics |= {f"f1_{label_key(name)}": f1 for name, f1 in zip(LABELS, found["f1"], strict=True)}
        self.metrics.reset()
        self.loss.reset()
        return {f"{split}/{key}": round(float(value), 6) for key, value in metrics.items()}
