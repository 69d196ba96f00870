"""The exceptions whose messages are written for the user. Each one names the problem and the remedy."""


class UserError(ValueError):
    """Something that the user gave (a key, a value or a file) cannot be used. Commands exit with status 2."""


class RunLocked(UserError):
    """Another process is working in the run directory."""


class BudgetExceeded(ValueError):
    """The model trains more parameters than the limit allows."""


class FetchError(RuntimeError):
    """A file of the Hugging Face hub could not be fetched.

    `what` names the repository and the reason. The message adds the ways to train without the hub.
    """

    WAYS_OUT = """\
Two ways to train without the hub:
  experiment=quickstart                             the shipped model and data
  model.name=/local/dir data.train_file=train.csv   your own copies"""

    def __init__(self, repo: str, kind: str, reason: str) -> None:
        self.what = f"could not fetch the {kind} {repo}: {reason}"
        super().__init__(f"{self.what}.\n{self.WAYS_OUT}")


class TrainingDiverged(RuntimeError):
    """The loss is not finite, or the loss scale of 16-mixed has collapsed: from here on the run learns nothing."""

    def __init__(self, problem: str, step: int) -> None:
        super().__init__(
            f"{problem} at step {step}. Use a lower optim.lr, trainer.gradient_clip=1, or trainer.precision=bf16-mixed "
            "or 32-true"
        )


class RunPruned(Exception):
    """A study stopped the run because other runs had done better after as many validations."""

    MESSAGE = "pruned by the study: other runs had done better after as many validations"

    def __init__(self) -> None:
        super().__init__(self.MESSAGE)
