"""TensorBoard beside W&B, with the same names of metrics. Its package is an extra."""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lora_agnews.errors import UserError

if TYPE_CHECKING:
    from lightning.pytorch.loggers import TensorBoardLogger

FOLDER = "tensorboard"  # of the event files, in the run directory


def check_tensorboard_installed() -> None:
    """Raises: UserError, with the command that installs it."""
    if find_spec("tensorboard") is None:
        raise UserError(
            "logger.tensorboard=true: tensorboard is not installed; pip install tensorboard, or "
            "logger.tensorboard=false"
        )


def open_tensorboard(run_dir: Path, config: dict[str, Any], first_step: int | None) -> "TensorBoardLogger":
    """Open the logger of RUN_DIR/tensorboard; its hparams.yaml has the values of the run.

    A resumed run continues the curves: what an interrupted process logged from `first_step` on is discarded.
    Raises: UserError, if TensorBoard is not installed.
    """
    check_tensorboard_installed()
    from lightning.pytorch.loggers import TensorBoardLogger

    logger = TensorBoardLogger(run_dir, name=FOLDER, version="", default_hp_metric=False, purge_step=first_step)
    logger.log_hyperparams(config)
    return logger
