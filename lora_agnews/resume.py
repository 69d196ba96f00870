"""Continue a run: which directory and checkpoint `resume` means, and what of the configuration may differ."""

import sys
from collections.abc import Sequence
from pathlib import Path

from lora_agnews.config import TrainConfig, UserError, leaves, spelled
from lora_agnews.keys import ALIASES, GROUPS, in_quotes
from lora_agnews.launch import check_overrides, load_saved, set_by
from lora_agnews.lock import is_helper

GROWS = "trainer.max_epochs"


def find_run(resume: str) -> tuple[Path, Path | None]:
    """Run directory and checkpoint, None if there is none yet. Raises: UserError, if no run lies there."""
    path = Path(resume).expanduser().absolute()
    run_dir = path.parent.parent if path.suffix == ".ckpt" else path
    checkpoint = path if path.suffix == ".ckpt" else path / "checkpoints" / "last.ckpt"
    if not (run_dir / "config.yaml").is_file():
        raise UserError(f"resume={resume}: no run lies there (no config.yaml); give a run directory such as runs/NAME")
    if path.suffix == ".ckpt" and not path.is_file():
        raise UserError(f"resume={resume}: no such file; there are {_checkpoints(run_dir)}")
    return run_dir, checkpoint if checkpoint.is_file() else None


def continued(resume: str, overrides: Sequence[str]) -> TrainConfig:
    """The configuration that the run began with; from the command line comes at most a larger `trainer.max_epochs`.

    Raises: UserError, naming the first key that the command line would change.
    """
    run_dir, _ = find_run(resume)
    saved = load_saved(run_dir / "config.yaml")
    configs = (check_overrides("train", overrides), check_overrides("train", []), saved)
    wanted, default, begun = ({key: value for key, _, value in leaves(config)} for config in configs)
    named = set[str]()
    for name, _, choice in (override.lstrip("+").partition("=") for override in overrides):
        named |= set_by(name, choice) if name in GROUPS else {ALIASES.get(name, name)}
    for key in wanted:
        asked = key in named or wanted[key] != default[key]
        if key == "resume" or not asked or wanted[key] == begun[key]:
            continue
        if key != GROWS or wanted[key] < begun[key]:
            raise UserError(
                f"{key}={spelled(wanted[key])}: {run_dir} began with {spelled(begun[key])}, and a run that is "
                f"continued keeps its configuration; only {GROWS} may grow"
            )
        saved.trainer.max_epochs = wanted[key]
    saved.resume = resume
    return saved


def enter(resume: str, overrides: Sequence[str]) -> tuple[TrainConfig, Path | None]:
    """Lets Hydra work in the run's own directory. Raises: UserError, as the two above."""
    run_dir, checkpoint = find_run(resume)
    config = continued(resume, overrides)
    for override in overrides:
        if override.lstrip("+~").startswith("hydra") and not is_helper():
            raise UserError(f"{override}: a run that is continued stays where it is; leave it out")
    at = next(i for i, argument in enumerate(sys.argv) if argument.lstrip("+").startswith("resume="))
    sys.argv.insert(at, f"hydra.run.dir={in_quotes(str(run_dir))}")
    return config, checkpoint


def _checkpoints(run_dir: Path) -> str:
    return ", ".join(sorted(path.name for path in (run_dir / "checkpoints").glob("[!.]*.ckpt"))) or "none"
