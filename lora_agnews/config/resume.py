"""Continue a run: which directory and checkpoint `resume` means, and what of the configuration may differ."""

import re
from collections.abc import Sequence
from pathlib import Path

from lora_agnews.config.compose import compose_config, load_config_file
from lora_agnews.config.keys import ALIASES, GROUPS, keys_set_by
from lora_agnews.config.messages import resume_override
from lora_agnews.config.rules import config_keys, to_override
from lora_agnews.config.schema import TrainConfig
from lora_agnews.errors import RunPruned, UserError
from lora_agnews.files.locks import is_worker_rank

LATEST, RUNS = "latest", Path("runs")
DONE = rf'"status": "(finished|stopped_early|over_budget)"|{RunPruned.MESSAGE}'  # in result.json
DEBUG = r"^debug: (?!null)"  # in config.yaml
MAY_GROW, NOT_OF_A_RUN = "trainer.max_epochs", ("resume", "test")


def find_run(resume: str) -> tuple[Path, Path | None]:
    """Return run directory and checkpoint, or None if none was written yet. Raises: UserError, if no run is there.

    `resume` is a run directory, a checkpoint, or `latest`; see `_latest_run`.
    """
    path = (_latest_run() if resume == LATEST else Path(resume).expanduser()).absolute()
    run_dir = path.parent.parent if path.suffix == ".ckpt" else path
    checkpoint = path if path.suffix == ".ckpt" else path / "checkpoints" / "last.ckpt"
    if not (run_dir / "config.yaml").is_file():
        raise UserError(f"resume={resume}: not a run directory (no config.yaml); give one such as runs/NAME")
    if path.suffix == ".ckpt" and not path.is_file():
        raise UserError(f"resume={resume}: no such file; there are {_checkpoints(run_dir)}")
    previous = run_dir / "checkpoints" / "previous.ckpt"
    if not checkpoint.is_file() and previous.is_file():
        remedy = resume_override(previous)
        raise UserError(f"resume={resume}: last.ckpt is missing; to continue from the one before it: {remedy}")
    return run_dir, checkpoint if checkpoint.is_file() else None


def resumed_config(resume: str, overrides: Sequence[str]) -> TrainConfig:
    """Return the configuration with which the run began. The command line may only raise `trainer.max_epochs`.

    Raises: UserError, naming the first override that would change something else.
    """
    run_dir, _ = find_run(resume)
    saved = load_config_file(run_dir / "config.yaml")
    for override in overrides:
        # Lightning starts the worker processes of a run with hydra.run.dir=... of the first process
        if override.lstrip("+~").startswith("hydra") and not is_worker_rank(saved.trainer.processes):
            raise UserError(f"{override}: a run that is continued stays where it is; leave it out")
    configs = (compose_config(overrides), compose_config([]), saved)
    wanted, default, began = ({key: value for key, _, value in config_keys(config)} for config in configs)
    named = set[str]()
    for name, _, choice in (override.lstrip("+").partition("=") for override in overrides):
        named |= keys_set_by(name, choice) if name in GROUPS else {ALIASES.get(name, name)}
    for key in wanted:
        asked = key in named or wanted[key] != default[key]
        if key in NOT_OF_A_RUN or not asked or wanted[key] == began[key]:
            continue
        if key != MAY_GROW or wanted[key] < began[key]:
            raise UserError(
                f"{key}={to_override(wanted[key])}: {run_dir} began with {to_override(began[key])}, and a run that is "
                f"continued keeps its configuration; only {MAY_GROW} may grow"
            )
        saved.trainer.max_epochs = wanted[key]
    saved.resume = resume
    return saved


def _latest_run() -> Path:
    """Return the newest run below runs/ that can be continued, debug runs aside. Raises: UserError, without one."""
    records = [path for path in RUNS.rglob("result.json") if path.is_file() and path.with_name("config.yaml").is_file()]
    for path in sorted(records, key=lambda path: path.stat().st_mtime_ns, reverse=True):
        record, saved = (path.with_name(name).read_text("utf-8", "replace") for name in (path.name, "config.yaml"))
        if not re.search(DONE, record) and not re.search(DEBUG, saved, re.MULTILINE):
            return path.parent
    raise UserError(
        f"resume={LATEST}: no unfinished run in {RUNS.absolute()}; give the directory of a run, such as runs/NAME. A "
        f"finished one continues only with a larger {MAY_GROW}"
    )


def _checkpoints(run_dir: Path) -> str:
    return ", ".join(sorted(path.name for path in (run_dir / "checkpoints").glob("[!.]*.ckpt"))) or "none"
