"""The three steps of a run, top to bottom: prepare data and model, fit, and test the best checkpoint."""

from dataclasses import asdict, dataclass
from pathlib import Path

import lightning as L
import torch
from torch import nn

from lora_agnews.budget import Budget, count
from lora_agnews.config.choices import Prefix
from lora_agnews.config.schema import TrainConfig
from lora_agnews.data.batches import used_batches
from lora_agnews.data.datamodule import AGNewsDataModule
from lora_agnews.model.architecture import Architecture, read_architecture_folder
from lora_agnews.model.build import build_model, load_tokenizer, speed_up
from lora_agnews.model.encoder import Encoder
from lora_agnews.model.lora import LoraSpec, predict_budget, prefix_end
from lora_agnews.training.callbacks import Stopwatch
from lora_agnews.training.checkpoint import best_checkpoint
from lora_agnews.training.debug import select_rows
from lora_agnews.training.estimate import note_slow_bf16
from lora_agnews.training.prefix import CachedPrefix
from lora_agnews.training.task import LoRAClassifier
from lora_agnews.training.trainer import send_library_messages_to_log, skipped_steps, stopped_early


@dataclass(frozen=True)
class Parts:
    """What a run is made of."""

    data: AGNewsDataModule
    model: nn.Module  # wrapped by PEFT
    architecture: Architecture
    task: LoRAClassifier
    prefix: CachedPrefix | None  # None: model.prefix=live
    batches: int  # of training, per epoch


@dataclass(frozen=True)
class FitResult:
    """What training gave. Speed leaves out compilation.

    Validation metrics and predictions are those of the best validation, `train/loss` is that of the last epoch.
    """

    metrics: dict[str, float]
    confusion: list[list[int]]
    predictions: dict[str, torch.Tensor]  # empty, if version 0.1 made the best validation
    budget: Budget
    throughput: dict[str, float]
    seconds: dict[str, float]
    stopped_early: bool


def prepare(config: TrainConfig, encoder: Encoder) -> Parts:
    """Load and tokenise the rows, build the model, and check that it trains exactly what its config.json predicts.

    Raises: UserError, for rows that can't be used; RuntimeError, if the hub is needed and can't be reached.
    """
    send_library_messages_to_log()
    L.seed_everything(config.seed, verbose=False)
    tokenizer = load_tokenizer(encoder, config.data.max_length)
    data = AGNewsDataModule(tokenizer, **asdict(config.data), seed=config.seed, processes=config.trainer.processes)
    data.setup()
    architecture, lora = read_architecture_folder(encoder.name, encoder.folder), LoraSpec.of(config.model)
    predicted = predict_budget(architecture, lora, config.budget.max_trainable)
    model = build_model(encoder, lora, config.seed)
    built = count(model, predicted.limit, predicted.head)
    assert built == predicted, f"predicted {predicted}, built {built}"
    optim = asdict(config.optim) | {"class_weights": data.class_weights(config.optim.class_weights)}
    task = LoRAClassifier(model, predicted, optimizer=optim.pop("name"), **optim)
    end = prefix_end(architecture, lora) if config.model.prefix == Prefix.CACHED else None
    select_rows(data, config)
    limit = (config.trainer.extra or {}).get("limit_train_batches", 1.0)
    batches = used_batches(-(-len(data.train_rows) // data.batch_size), limit)
    return Parts(data, model, architecture, task, CachedPrefix(encoder, architecture, end) if end else None, batches)


def fit(parts: Parts, trainer: L.Trainer, checkpoint: Path | None, compile_model: bool, is_tested: bool) -> FitResult:
    """Train from the start, or from a checkpoint.

    Raises: RunPruned, if a study stops the run; BudgetExceeded, if a callback unfroze too much; KeyboardInterrupt, once
    a checkpoint is written.
    """
    note_slow_bf16(parts.model, trainer)
    prefix_seconds = parts.prefix.use(parts.model, parts.data, trainer, is_tested) if parts.prefix else 0.0
    speed_up(parts.model, parts.architecture, trainer.precision)
    if compile_model:
        torch.compiler.reset()  # Dynamo limits the graphs of a process, and earlier runs of a sweep have made some
        parts.model.compile(dynamic=True)  # in place, so that the names in checkpoints stay
    stopwatch = Stopwatch.of(trainer)
    with stopwatch.leaving_out_compilation():
        trainer.fit(parts.task, parts.data, ckpt_path=checkpoint, weights_only=True)
    speed = stopwatch.throughput(trainer.global_step, trainer.strategy.root_device)
    return FitResult(
        metrics={**parts.task.best, "train/loss": parts.task.epoch_loss},
        confusion=parts.task.best_confusion,
        predictions=parts.task.best_predictions,
        budget=parts.task.budget,
        throughput=speed | {"skipped_steps": skipped_steps(trainer)},
        seconds={"train": stopwatch.seconds, "compile": stopwatch.compile_seconds, "prefix": prefix_seconds},
        stopped_early=stopped_early(trainer),
    )


def test(
    parts: Parts, trainer: L.Trainer, run_dir: Path, is_wanted: bool
) -> tuple[dict[str, float], list[list[int]], dict[str, torch.Tensor]]:
    """Load the best checkpoint. Return its metrics, confusion matrix and predictions on the test rows, if wanted."""
    best = best_checkpoint(run_dir / "checkpoints")
    if parts.data.test is None or not is_wanted:
        saved = torch.load(best, map_location="cpu", weights_only=True)
        parts.task.load_state_dict(saved["state_dict"], strict=False)
        return {}, [], {}
    trainer.test(parts.task, parts.data, ckpt_path=best, verbose=False, weights_only=True)
    metrics = {key: round(float(value), 6) for key, value in trainer.callback_metrics.items() if "test/" in key}
    return metrics, parts.task.metrics.confusion.tolist(), parts.task.metrics.predictions
