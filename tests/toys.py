"""A model of a few parameters, its rows and a Trainer for it."""

from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers.modeling_outputs import SequenceClassifierOutput

from lora_agnews.budget import count
from lora_agnews.training.task import LoRAClassifier

ROWS = 12


class Toy(nn.Module):
    """A frozen embedding and a trained classifier that answers like a transformers model; 16 * 4 + 4 are trained."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Embedding(50, 16).requires_grad_(False)
        self.classifier = nn.Linear(16, 4)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> SequenceClassifierOutput:
        return SequenceClassifierOutput(logits=self.classifier(self.encoder(input_ids).mean(1)))


class Answers(nn.Module):
    """Predicts the class in the first token: its logit is 5, the others are 0."""

    def __init__(self) -> None:
        super().__init__()
        self.classifier = nn.Linear(1, 1)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> SequenceClassifierOutput:
        return SequenceClassifierOutput(logits=5.0 * nn.functional.one_hot(input_ids[:, 0], 4).float())


def make_task(model: nn.Module, limit: int = 1_000_000, **changes: Any) -> LoRAClassifier:
    values: dict[str, Any] = {
        "budget": count(model, limit),
        "optimizer": "adam",
        "lr": 0.1,
        "lora_plus_ratio": 1.0,
        "weight_decay": 0.0,
        "schedule": "constant",
        "warmup_fraction": 0.0,
        "label_smoothing": 0.0,
        "class_weights": None,
    }
    return LoRAClassifier(model, **values | changes)


def loader(ids: list[int] | None = None, labels: list[int] | None = None, batch_size: int = 4) -> DataLoader[Any]:
    labels = labels if labels is not None else [i % 4 for i in range(ROWS)]
    ids = ids if ids is not None else [i % 7 for i in range(len(labels))]
    rows = [
        {
            "input_ids": torch.tensor([i, i]),
            "attention_mask": torch.ones(2, dtype=torch.long),
            "labels": torch.tensor(y),
            "rows": torch.tensor(number),
        }
        for number, (i, y) in enumerate(zip(ids, labels, strict=True))
    ]
    return DataLoader(rows, batch_size=batch_size)  # type: ignore[arg-type]


def make_trainer(folder: Path, *callbacks: L.Callback, **changes: Any) -> L.Trainer:
    values: dict[str, Any] = {"max_epochs": 2, "num_sanity_val_steps": 0, "enable_progress_bar": False}
    return L.Trainer(
        accelerator="cpu",
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        callbacks=list(callbacks),
        **values | changes,
    )
