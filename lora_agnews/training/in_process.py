"""A run without Hydra's launcher, in a process that goes on: for notebooks, and for the points of a study."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lora_agnews.config.command_line import check_command_line
from lora_agnews.config.compose import compose_config
from lora_agnews.config.hydra_job import hydra_values, leaving_nothing_unused
from lora_agnews.config.resume import LATEST, resumed_config
from lora_agnews.errors import UserError
from lora_agnews.results.record import RunResult
from lora_agnews.training.run import run


def train(overrides: Sequence[str]) -> RunResult:
    """Train one run with overrides of train.py; see `lora_agnews.train`."""
    if any(each.startswith("-") for each in overrides):
        raise UserError("only overrides such as lora.r=2 are possible here; flags and sweeps need train.py")
    check_command_line(overrides)
    with hydra_values(overrides) as values:
        run_dir = Path(values.run.dir).expanduser().absolute()
    config = compose_config(overrides)
    if config.resume:
        config = resumed_config(str(run_dir) if config.resume == LATEST else config.resume, overrides)
    if config.trainer.processes > 1:
        asked = f"trainer.devices={config.trainer.devices}, trainer.num_nodes={config.trainer.num_nodes}"
        raise UserError(f"{asked}: a run on several devices starts its script once per device; use train.py")
    with leaving_nothing_unused(run_dir), log_file(run_dir):
        return run(config, run_dir)


@contextmanager
def log_file(run_dir: Path) -> Iterator[None]:
    """Write the messages of the libraries in the block to RUN_DIR/train.log only, as Hydra does for train.py."""
    run_dir.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(run_dir / "train.log")
    handler.setFormatter(logging.Formatter("[%(asctime)s][%(name)s][%(levelname)s] - %(message)s"))
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    root.handlers = [handler]
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.handlers = handlers
        root.setLevel(level)
        handler.close()
