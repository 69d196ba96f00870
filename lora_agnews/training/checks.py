"""What is checked before any weight or row is loaded: the budget, and what this machine must have."""

from lora_agnews.config.schema import TrainConfig
from lora_agnews.model import plan
from lora_agnews.results.record import RunResult
from lora_agnews.terminal import console
from lora_agnews.training.tensorboard import check_tensorboard_installed


def check_before_loading(config: TrainConfig, result: RunResult) -> None:
    """Predict the budget and record it, and check what the run needs on this machine.

    Raises: UserError, for a package that is missing; BudgetExceeded.
    """
    if config.logger.tensorboard:
        check_tensorboard_installed()
    budget = plan.predict(config)
    result.budget = budget.to_dict()
    budget.check(() if budget.fits else plan.remedies(config))
    for text in plan.notes(config):
        console.note(text)
