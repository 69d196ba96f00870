"""Whether a run that exists may stand for one that is asked for: the same configuration and the same rows."""

from pathlib import Path

from lora_agnews.config.identity import config_hash
from lora_agnews.config.schema import TrainConfig
from lora_agnews.data.source import Source, fingerprints, load_rows
from lora_agnews.errors import UserError
from lora_agnews.results.record import RESULT_FILE, RunResult

NEW_DIRECTORY = "Give the sweep a new directory (hydra.sweep.dir=runs/NAME, sweep.py: dir=runs/NAME)"


def check_configuration(run_dir: Path, found: RunResult, config: TrainConfig) -> None:
    """Raises: UserError, if a directory contains a run of another configuration."""
    if config_hash(found.config) != config_hash(config.to_dict()):
        raise UserError(f"{run_dir} has a run of another configuration, which is not overwritten. {NEW_DIRECTORY}")


def check_rows(folder: Path) -> None:
    """Raises: UserError, if the rows of any run in the folder have changed since that run."""
    known: dict[Source, dict[str, str | None]] = {}
    for record in sorted(folder.rglob(RESULT_FILE)):
        result = RunResult.load_even_damaged(record.parent)
        then = result.data.get("fingerprints") if result else None  # version 0.1 did not store them
        if not result or not then:
            continue
        source = Source.of(result.config["data"])
        if source not in known:
            known[source] = fingerprints(*load_rows(source))
        for split, value in then.items():
            if value != known[source][split]:
                rows = getattr(source, f"{split}_file") or (source.name if source.source == "hub" else source.source)
                raise UserError(f"{record.parent}: the rows of {rows} have changed since that run. {NEW_DIRECTORY}")
