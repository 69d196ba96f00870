"""Lightning's Trainer for a run: device, precision, how often to validate and log, and where its messages go."""

import logging
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.loggers import Logger
from transformers.utils import logging as transformers_logging

from lora_agnews.config.choices import Precision
from lora_agnews.config.scripts import TRAIN
from lora_agnews.config.sections import TrainerConfig
from lora_agnews.results.monitor import MONITOR
from lora_agnews.terminal import console
from lora_agnews.training.callbacks import (
    PROFILE,
    ProfileFile,
    PruningCallback,
    SkippedSteps,
    Stopwatch,
    ValidationSchedule,
)
from lora_agnews.training.checkpoint import Checkpoints
from lora_agnews.training.checkpoint_file import SyncedCheckpointIO
from lora_agnews.training.estimate import DurationEstimate
from lora_agnews.training.in_sweep import InSweep
from lora_agnews.training.progress_bar import ProgressBar

LOG_POINTS_PER_EPOCH, MAX_STEPS_BETWEEN_LOGS = 50, 50


def build_trainer(
    config: TrainerConfig,
    run_dir: Path,
    batches: int,
    loggers: list[Logger],
    identity: dict[str, str],
    stopwatch: Stopwatch,
    in_sweep: InSweep,
) -> L.Trainer:
    """Build the Trainer of a run whose epochs have this number of batches.

    `identity` is stored in each checkpoint; see `run_identity`. `in_sweep` may stop the run after a validation.
    Raises: RuntimeError, if the accelerator is missing, or if the number of processes is not devices * num_nodes.
    """
    _check_accelerator(config.accelerator)
    torch.set_float32_matmul_precision(config.matmul_precision)
    between = _batches_between_validations(config, batches)
    callbacks: list[L.Callback] = [stopwatch, SkippedSteps(), ValidationSchedule(between)]
    callbacks.append(Checkpoints(run_dir / "checkpoints", config.checkpoint_every, identity))
    callbacks += [PruningCallback(in_sweep.should_prune)] if in_sweep.should_prune else []
    callbacks += [DurationEstimate(in_sweep), ProgressBar()]
    callbacks += [ProfileFile(run_dir / PROFILE)] if "profiler" in (config.extra or {}) else []
    if config.early_stopping_patience:
        patience = config.early_stopping_patience
        # False: check after every validation. Lightning would check once per epoch if every batch is validated.
        early = EarlyStopping(MONITOR.key, mode=MONITOR.mode, patience=patience, check_on_train_epoch_end=False)
        callbacks.append(early)
    trainer = L.Trainer(
        accelerator=config.accelerator,
        devices=config.devices,
        num_nodes=config.num_nodes,
        strategy=config.strategy,
        use_distributed_sampler=False,  # the loaders select the rows of each device
        precision=_available_precision(config),  # type: ignore[arg-type]
        max_epochs=config.max_epochs,
        max_steps=config.max_steps or -1,
        val_check_interval=between,
        gradient_clip_val=config.gradient_clip or None,
        accumulate_grad_batches=config.accumulate,
        deterministic=config.deterministic,
        logger=loggers,
        log_every_n_steps=steps_between_logs(-(-batches // config.accumulate)),
        callbacks=callbacks,
        num_sanity_val_steps=0,
        enable_model_summary=False,
        default_root_dir=run_dir,
        **config.extra or {},
    )
    trainer.strategy.checkpoint_io = SyncedCheckpointIO()
    if trainer.world_size != config.processes:
        wanted, flags = f"trainer.devices={config.devices}", f"--ntasks-per-node={config.devices}"
        if config.num_nodes > 1:
            wanted, flags = f"{wanted} and num_nodes={config.num_nodes}", f"--nodes={config.num_nodes} {flags}"
        raise RuntimeError(
            f"{wanted}, but this run has {trainer.world_size} process(es). In a Slurm job, start one task per device: "
            f"srun {flags} {TRAIN} ..."
        )
    return trainer


def steps_between_logs(steps: int) -> int:
    """Return the interval for an epoch of so many optimizer steps: enough points for a curve, but not every step.

    Logging at every step would leave no step at which a checkpoint can be resumed exactly; see `Checkpoints`.
    """
    return min(MAX_STEPS_BETWEEN_LOGS, max(2, steps // LOG_POINTS_PER_EPOCH))


def device_of(trainer: L.Trainer) -> dict[str, str]:
    """Return what the record of a run says of the device: precision, device and, of an NVIDIA GPU, its name."""
    device = trainer.strategy.root_device
    found = {"precision": trainer.precision, "device": str(device)}
    return found | ({"gpu": torch.cuda.get_device_name(device)} if device.type == "cuda" else {})


def skipped_steps(trainer: L.Trainer) -> int:
    """Return the number of optimizer steps that 16-mixed skipped because of overflow."""
    counter = next(each for each in trainer.callbacks if isinstance(each, SkippedSteps))  # type: ignore[attr-defined]
    return trainer.global_step - counter.executed


def stopped_early(trainer: L.Trainer) -> bool:
    """Whether early stopping ended the training."""
    early = trainer.early_stopping_callback
    return isinstance(early, EarlyStopping) and early.wait_count >= early.patience


def send_library_messages_to_log() -> None:
    """Send warnings and messages of libraries to train.log. The terminal shows only what the user can act on."""
    logging.captureWarnings(True)
    for name in ("lightning", "lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    transformers_logging.disable_default_handler()
    transformers_logging.enable_propagation()
    transformers_logging.disable_progress_bar()


def _check_accelerator(name: str) -> None:
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    available = {"auto": True, "cpu": True, "gpu": cuda or mps, "cuda": cuda, "mps": mps}
    if not available[name]:
        raise RuntimeError(f"trainer.accelerator={name}: PyTorch finds no such device; use trainer.accelerator=auto")


def _batches_between_validations(config: TrainerConfig, batches: int) -> int:
    between = max(1, round(config.val_check_interval * batches))
    return min(batches, -(-between // config.accumulate) * config.accumulate)  # a multiple of optimizer steps


def _available_precision(config: TrainerConfig) -> str:
    """Return the precision that the device can use. Without CUDA, 16-mixed becomes float32, with a note."""
    on_cuda = config.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    if config.precision == Precision.FP16 and not on_cuda:
        console.note("trainer.precision=16-mixed needs an NVIDIA GPU, which this run does not use: it runs in 32-true")
        return str(Precision.FP32)
    if config.precision == Precision.BF16 and on_cuda and not torch.cuda.is_bf16_supported(including_emulation=False):
        console.note("this GPU has no bfloat16 units and emulates them slowly: trainer.precision=16-mixed is faster")
    return config.precision
