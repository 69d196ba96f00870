"""What train.py asks of Hydra: resolvers that name the directories, and the job that Hydra is running."""

import copy
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from hydra import compose
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from lora_agnews.config.compose import compose_typed, hydra_initialized, to_config
from lora_agnews.config.help import help_text
from lora_agnews.config.keys import ALIASES
from lora_agnews.config.points import command_lines, name_run, varying_keys
from lora_agnews.config.resume import LATEST, find_run, resumed_config
from lora_agnews.config.rules import config_keys
from lora_agnews.config.schema import TrainConfig
from lora_agnews.errors import RunLocked, UserError
from lora_agnews.files.locks import LOCK_FILE, NODE_RANK


@dataclass(frozen=True)
class HydraJob:
    """One job of Hydra. `sweep_dir` is the directory of the multirun that it belongs to, if any."""

    config: TrainConfig
    run_dir: Path
    sweep_dir: Path | None


@contextmanager
def current_job(values: DictConfig) -> Iterator[HydraJob]:
    """Yield the job that Hydra is running, from the values that it passes to train.py.

    Raises: UserError, as `to_config` and `resumed_config`.
    """
    hydra = HydraConfig.get()
    run_dir = Path(hydra.runtime.output_dir)
    with leaving_nothing_unused(run_dir):
        config = to_config(values)
        if config.resume:
            # Hydra has already found the directory of `latest`; meanwhile another run may have become the newest.
            resume = str(run_dir) if config.resume == LATEST else config.resume
            config = resumed_config(resume, hydra.overrides.task)
        yield HydraJob(config, run_dir, Path(hydra.sweep.dir) if hydra.mode == RunMode.MULTIRUN else None)


@contextmanager
def leaving_nothing_unused(run_dir: Path) -> Iterator[None]:
    """Remove the directories that were created for a run which never began, because the block raises a UserError.

    They stay if they contain anything else, or if another process is working there.
    """
    try:
        yield
    except RunLocked:
        raise
    except UserError:
        with suppress(OSError):  # Windows removes no file that is open, such as Hydra's train.log
            for folder, file in ((run_dir, "train.log"), (run_dir.parent, "multirun.yaml")):
                if {path.name for path in folder.iterdir()} - {LOCK_FILE} == {file}:
                    for name in (file, LOCK_FILE):
                        (folder / name).unlink(missing_ok=True)
                    folder.rmdir()
            Path("runs").rmdir()
        raise


@contextmanager
def hydra_values(overrides: Sequence[str], number: int = 0) -> Iterator[DictConfig]:
    """Yield Hydra's own values as those of job `number` with these overrides, as far as they are known before it.

    Raises: UserError, if one can't be resolved in the block.
    """
    before = HydraConfig.instance().cfg
    with hydra_initialized():
        values = compose("train", list(overrides), return_hydra_config=True)
    with open_dict(values):
        values.hydra.job.id, values.hydra.job.num = str(number), number
    HydraConfig.instance().set_config(values)
    try:
        yield values.hydra
    except OmegaConfBaseException as error:
        raise UserError(f"{error.full_key}: {str(error).splitlines()[0]}") from error
    finally:
        HydraConfig.instance().cfg = before


def directories(overrides: Sequence[str], hydra_overrides: Sequence[str]) -> Iterator[tuple[str, TrainConfig]]:
    """Yield the directory of each point of a multirun, as hydra.sweep.subdir names it, and its configuration.

    Yields nothing for a sweep whose values Hydra's sweeper draws. Raises: UserError, as `hydra_values`.
    """
    if varying_keys(overrides)[1] is None:
        return
    with hydra_initialized():
        lines = [line for _, line in command_lines(overrides)]
        configs = [compose_typed(line) for line in lines]
    for number, (line, config) in enumerate(zip(lines, configs, strict=True)):
        with hydra_values([*line, *hydra_overrides], number) as values:
            name = str(values.sweep.subdir)
        yield name, config


def _resolve_run_dir(resume: str | None, debug: str | None, new: str) -> str:
    """`${run_dir:RESUME,DEBUG,NEW}`: the directory of the run that is continued, or that of a new run."""
    if resume:
        return str(find_run(resume)[0])
    return str(Path(new).with_name(f"debug-{debug}-{Path(new).name}")) if debug else new


def _resolve_model_name(name: str) -> str:
    """`${model_name:NAME}`: the last part of a hub id or a folder, for the name of a run."""
    return re.sub(r"[^\w.-]", "_", Path(name).resolve().name)


def _resolve_start(devices: int, nodes: int) -> str:
    """`${start:DEVICES,NODES}`: the time or, under srun, the Slurm job and step, which all processes of the run share.

    Raises: UserError, under torchrun or on nodes started by hand, whose processes have no such thing in common.
    """
    several = devices * nodes > 1
    if several and "SLURM_STEP_ID" in os.environ and int(os.environ.get("SLURM_NTASKS", 1)) > 1:
        return f"slurm{os.environ['SLURM_JOB_ID']}.{os.environ['SLURM_STEP_ID']}"
    if several and ("TORCHELASTIC_RUN_ID" in os.environ or (nodes > 1 and NODE_RANK in os.environ)):
        raise UserError("the processes of this run need one directory; add hydra.run.dir=runs/NAME")
    return f"{datetime.now():%Y%m%d-%H%M%S-%f}"


def _resolve_run_name(*keys: str, _root_: DictConfig) -> str:
    """`${run_name:KEY,...}`: the name of a run in a multirun that varies these keys; see `name_run`."""
    values = copy.deepcopy(_root_)
    with open_dict(values):
        choices = values.pop("hydra").runtime.choices
    config = to_config(values)
    found: dict[str, Any] = {key: value for key, _, value in config_keys(config)} | dict(choices)
    return name_run(config, {key: found[ALIASES.get(key, key)] for key in keys if key})


def _resolve_help(_root_: DictConfig) -> str:
    """`${help:}`: the text of --help, with the values of this command line."""
    values = copy.deepcopy(_root_)
    with open_dict(values):
        del values["hydra"]
    return help_text(to_config(values))


OmegaConf.register_new_resolver("help", _resolve_help)
OmegaConf.register_new_resolver("model_name", _resolve_model_name)
OmegaConf.register_new_resolver("run_dir", _resolve_run_dir)
OmegaConf.register_new_resolver("run_name", _resolve_run_name)
OmegaConf.register_new_resolver("start", _resolve_start, use_cache=True)
