"""Which options of Lightning's Trainer `trainer.extra` may contain, and what to use instead of the others.

`INSTEAD` names the key to use, or the reason to leave an option out. Options in neither table are refused too.
"""

from collections.abc import Callable
from typing import Any

from lora_agnews.errors import UserError

PROFILERS = ("simple", "advanced")


def _is_limit(value: Any) -> bool:
    return (type(value) is int and value >= 1) or (type(value) is float and 0 < value <= 1)


ALLOWED: dict[str, tuple[Callable[[Any], bool], str]] = {  # option -> its check, and what it allows
    "limit_train_batches": (_is_limit, "a number of batches per epoch, such as 100, or a share of them, such as 0.1"),
    "gradient_clip_algorithm": (lambda value: value in ("norm", "value"), "norm or value"),
    "detect_anomaly": (lambda value: isinstance(value, bool), "true or false"),
    "profiler": (lambda value: value in PROFILERS, "simple or advanced"),
}
INSTEAD = {
    **{
        name: f"use trainer.{name}"
        for name in (
            "accelerator",
            "strategy",
            "devices",
            "num_nodes",
            "precision",
            "max_epochs",
            "max_steps",
            "val_check_interval",
            "deterministic",
        )
    },
    "gradient_clip_val": "use trainer.gradient_clip",
    "accumulate_grad_batches": "use trainer.accumulate",
    "check_val_every_n_epoch": "use trainer.val_check_interval; each epoch ends with a validation",
    "max_time": "use trainer.max_steps: a run that the clock ends can't be repeated",
    "min_epochs": "use trainer.early_stopping_patience",
    "min_steps": "use trainer.early_stopping_patience",
    "limit_val_batches": "use data.val_fraction: the first batches have the longest rows only",
    "limit_test_batches": "use a smaller data.test_file: the first batches have the longest rows only",
    "fast_dev_run": "use debug=fast",
    "overfit_batches": "use debug=overfit",
    "logger": "use logger.wandb and logger.tensorboard",
    "log_every_n_steps": "leave it out: a checkpoint needs steps that are not logged",
    "enable_checkpointing": "use trainer.checkpoint_every",
    "default_root_dir": "use hydra.run.dir",
    "callbacks": "leave it out: they are those of lora_agnews/training",
    "num_sanity_val_steps": "use debug=fast",
    "use_distributed_sampler": "leave it out: each device gets its own rows already",
    "sync_batchnorm": "leave it out: the models have no batch normalisation",
    "benchmark": "leave it out: it is for convolutions",
}


def are_trainer_options(value: Any) -> bool:
    """Whether a value is None or maps names of options to values; `check_trainer_options` checks these."""
    return value is None or (isinstance(value, dict) and all(isinstance(name, str) for name in value))


def check_trainer_options(options: dict[str, Any]) -> None:
    """Raises: UserError, for an option that is not allowed, with what to use instead, or a value out of range."""
    for name, value in options.items():
        if name in INSTEAD:
            raise UserError(f"trainer.extra={{{name}:{value}}}: {INSTEAD[name]}")
        if name not in ALLOWED:
            raise UserError(f"trainer.extra={{{name}:{value}}}: must be one of {', '.join(ALLOWED)}")
        is_valid, allowed = ALLOWED[name]
        if not is_valid(value):
            raise UserError(f"trainer.extra={{{name}:{value}}}: must be {allowed}")
