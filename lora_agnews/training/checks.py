"""What is checked before any weight or row is loaded: the budget, and what this machine must have."""

import os

from lora_agnews.config.schema import TrainConfig
from lora_agnews.config.sections import TrainerConfig
from lora_agnews.errors import UserError
from lora_agnews.files.locks import NODE_RANK
from lora_agnews.model import plan
from lora_agnews.results.record import RunResult
from lora_agnews.terminal import console
from lora_agnews.training.tensorboard import check_tensorboard_installed


def check_before_loading(config: TrainConfig, result: RunResult) -> None:
    """Predict the budget and record it, and check what the run needs on this machine.

    Raises: UserError, for a package or a process that is missing; BudgetExceeded.
    """
    _check_nodes(config.trainer)
    if config.logger.tensorboard:
        check_tensorboard_installed()
    budget = plan.predict(config)
    result.budget = budget.to_dict()
    budget.check(() if budget.fits else plan.remedies(config))
    for text in plan.notes(config):
        console.note(text)


def _check_nodes(trainer: TrainerConfig) -> None:
    """Raises: UserError, if nothing starts this run on its other machines: Lightning would wait for them."""
    by_hand = {NODE_RANK, "MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys()
    started = by_hand or {"SLURM_NTASKS", "TORCHELASTIC_RUN_ID"} & os.environ.keys()
    if trainer.num_nodes > 1 and not started:
        nodes, devices = trainer.num_nodes, trainer.devices
        raise UserError(
            f"trainer.num_nodes={nodes}: a run on several machines is started by srun --nodes={nodes} "
            f"--ntasks-per-node={devices} python train.py ..., or on each of them by torchrun --nnodes={nodes} "
            f"--nproc-per-node={devices} train.py ... hydra.run.dir=DIRECTORY"
        )
