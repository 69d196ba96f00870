"""Run directories as a run leaves them, made without training or changed afterwards."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from lora_agnews.config.compose import compose_config
from lora_agnews.results.predictions import save_predictions
from lora_agnews.results.ranking import find_runs, rank
from lora_agnews.results.record import RunResult
from lora_agnews.results.row import Row


def save_record(
    folder: Path, accuracy: float, *overrides: str, status: str = "finished", trainable: int = 632_068
) -> None:
    """Save the record of a run with these overrides and this accuracy on the validation rows."""
    config = compose_config(["model=tiny", *overrides])
    metrics = {"val/accuracy": accuracy, "test/accuracy": accuracy - 0.01}
    result = RunResult.of(config, status=status, metrics=metrics, budget={"trainable": trainable})
    result.seconds, result.data = {"total": 10.0 + config.seed}, {"val": 400}
    folder.mkdir(parents=True)
    result.save(folder)


def change_record(folder: Path, **sections: dict[str, Any]) -> None:
    """Change values in sections of a saved record: `change_record(folder, data={"val": 3})`."""
    record = json.loads((folder / "result.json").read_text())
    for section, values in sections.items():
        record[section] |= values
    (folder / "result.json").write_text(json.dumps(record))


def columns_of(labels: Sequence[int], predicted: Sequence[int]) -> dict[str, np.ndarray]:
    """Predictions of the first rows of a training file; the true class has 0.75 where it is predicted."""
    right = np.equal(labels, predicted)
    columns = {"label": np.array(labels), "predicted": np.array(predicted), "probability": np.where(right, 0.75, 0.25)}
    return {"row": np.arange(len(labels)), **columns}


def save_scored(folder: Path, correct: Sequence[bool], *overrides: str) -> None:
    """Save the record of a run with its predictions, which are correct for these rows."""
    save_record(folder, float(np.mean(correct)), *overrides)
    predicted = [0 if right else 1 for right in correct]
    save_predictions(folder, columns_of([0] * len(correct), predicted), ["text"] * len(correct))


def ranked(folder: Path, **options: Any) -> list[Row]:
    return rank(find_runs([folder]), **options)


def change_adapter(run_dir: Path, change: Callable[[str, torch.Tensor], torch.Tensor | None], **made: Any) -> None:
    path = run_dir / "adapter" / "adapter_model.safetensors"
    with safe_open(path, "pt") as file:
        about = json.loads(file.metadata()["lora_agnews"]) | made
    about.pop("hash", None)  # as in a file of version 0.1, in which changed values are not noticed
    tensors = {name: change(name, value) for name, value in load_file(path).items()}
    kept = {name: value for name, value in tensors.items() if value is not None}
    save_file(kept, path, metadata={"lora_agnews": json.dumps(about)})
