"""Fine-tune RoBERTa with LoRA on AG News under a hard budget of 1,000,000 trainable parameters."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lora_agnews.inference.classifier import Classifier
    from lora_agnews.results.record import RunResult

__version__ = "0.2.0.dev0"


def train(overrides: "Sequence[str]" = ()) -> "RunResult":
    """Train one run, as `python train.py OVERRIDES` does: `train(["experiment=quickstart", "lora.r=2"])`.

    Returns what result.json contains, such as `.status`, `.metrics["val/accuracy"]` and `.budget`. A run that
    fails in training raises no error: `.status` says that it failed, and `.error` why. `hydra.run.dir=DIRECTORY` sets
    the directory of the run.
    Raises: UserError, for overrides or files that can't be used; KeyboardInterrupt, after the run is recorded.
    """
    from lora_agnews.training.in_process import train as train_in_process

    return train_in_process(overrides)


def load_run(*run_dirs: str | Path, base: str | None = None) -> "Classifier":
    """Load a finished run as a function: `load_run(RUN_DIR)(["Oil prices rise"])` -> [(label, {label: probability})].

    The probabilities of several runs are averaged. `base` is a local copy of the base model, if the run's own can't be
    fetched. Raises: ValueError, if there is no finished run; RuntimeError, if the base model can't be fetched.
    """
    # Imported here, because the other commands need not wait for torch.
    from lora_agnews.inference.classifier import load_classifier, open_run

    return load_classifier([open_run(Path(run_dir), base) for run_dir in run_dirs])
