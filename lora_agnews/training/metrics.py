"""Loss, accuracy, F1, confusion matrix and predictions. Training and evaluation use the same code, so they agree."""

import torch
from lightning.pytorch.strategies import Strategy
from torch import Tensor, nn
from torchmetrics import MeanMetric, Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix, MulticlassF1Score
from torchmetrics.utilities import dim_zero_cat

from lora_agnews.labels import LABELS, label_key

COLUMNS = {"row": torch.int32, "label": torch.int8, "predicted": torch.int8, "probability": torch.float16}


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
        on_device = torch.stack([self.sum, rows]).to(strategy.root_device)  # NCCL reduces no tensors of the CPU
        totals: Tensor = strategy.reduce(on_device, reduce_op="sum")
        return totals

    def compute(self, strategy: Strategy) -> float:
        """Return the mean, rounded to six digits, and begin the next epoch."""
        loss, rows = self.totals(strategy)
        self.sum, self.rows = torch.tensor(0.0), 0
        return round(float(loss / rows), 6)


class Predictions(Metric):
    """Collects the prediction of each row over batches and devices, without waiting for the device."""

    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        for name in COLUMNS:
            self.add_state(name, [], dist_reduce_fx="cat")

    def update(self, rows: Tensor, labels: Tensor, logits: Tensor) -> None:
        """Add a batch: numbers of its rows and labels (B,) int64, logits (B, 4)."""
        probabilities = logits.float().softmax(-1)
        of_label = probabilities.gather(1, labels[:, None])[:, 0]
        for name, values in zip(COLUMNS, (rows, labels, logits.argmax(-1), of_label), strict=True):
            getattr(self, name).append(values)

    def compute(self) -> dict[str, Tensor]:
        """Return row, label, predicted and probability (of the label), each (rows,), sorted by row, on the CPU."""
        columns = {name: dim_zero_cat(getattr(self, name)) for name in COLUMNS}
        order = columns["row"].argsort()
        return {name: values[order].to(COLUMNS[name]).cpu() for name, values in columns.items()}


class ClassificationMetrics(nn.Module):
    """Accumulates over batches and devices.

    `compute` sets `confusion`, (4, 4) int64 with true classes as rows, and `predictions`, if the rows had numbers.
    """

    def __init__(self) -> None:
        super().__init__()
        self.criterion = nn.CrossEntropyLoss()
        # The NaN check synchronises with the GPU at every update, so it is disabled. Without the check, torchmetrics
        # 1.9 ignores weights: the mean loss of a batch is repeated for each of its rows instead.
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
        self.collected = Predictions()
        self.confusion = torch.zeros(len(LABELS), len(LABELS), dtype=torch.long)
        self.predictions: dict[str, Tensor] = {}

    def update(self, logits: Tensor, labels: Tensor, rows: Tensor | None = None) -> None:
        """Add a batch: logits (B, 4), labels and row numbers (B,) int64."""
        logits = logits.float()
        self.loss.update(self.criterion(logits, labels).expand(len(labels)))
        self.metrics.update(logits, labels)
        if rows is not None:
            self.collected.update(rows, labels, logits)

    def compute(self, split: str) -> dict[str, float]:
        """Return the metrics of the split, rounded to six digits, and reset."""
        found = self.metrics.compute()
        self.confusion = found["confusion"].cpu()
        self.predictions = self.collected.compute() if self.collected.update_called else {}
        metrics = {"loss": self.loss.compute(), **{key: found[key] for key in ("accuracy", "macro_f1")}}
        metrics |= {f"f1_{label_key(name)}": f1 for name, f1 in zip(LABELS, found["f1"], strict=True)}
        for each in (self.metrics, self.loss, self.collected):
            each.reset()
        return {f"{split}/{key}": round(float(value), 6) for key, value in metrics.items()}
