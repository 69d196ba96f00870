"""Check the command line of train.py before Hydra creates anything, so that a typo costs one message."""

from argparse import Namespace
from collections.abc import Sequence
from typing import NoReturn

from hydra._internal.utils import get_args_parser

from lora_agnews.config.compose import check_run_of_sweep, compose_config, hydra_initialized
from lora_agnews.config.directories import check_directory, check_subdirectory
from lora_agnews.config.hydra_job import hydra_values
from lora_agnews.config.overrides import overrides_to_try, parse_overrides
from lora_agnews.config.resume import find_run, resumed_config
from lora_agnews.config.scripts import TRAIN
from lora_agnews.errors import UserError


def check_command_line(arguments: Sequence[str]) -> None:
    """Check flags and overrides of every run that the command line asks for.

    Raises: UserError, for the first flag or override that can't be used.
    """
    parser = get_args_parser()
    parser.error, parser.allow_abbrev = _raise_flag_error, False  # type: ignore[method-assign]
    options = parser.parse_args(list(arguments))
    if options.hydra_help or options.shell_completion:
        return
    if (options.config_name or "train").removesuffix(".yaml") != "train":
        raise UserError(f"--config-name={options.config_name}: a run begins with conf/train.yaml; leave it out")
    with hydra_initialized(options.config_dir):
        _check_runs(options)


def _check_runs(options: Namespace) -> None:
    """Check the overrides with the files of --config-dir. Raises: UserError."""
    multirun = options.multirun or "hydra.mode=MULTIRUN" in options.overrides
    config = compose_config(options.overrides, multirun)
    if multirun:
        check_run_of_sweep(config)
    if config.resume:
        if multirun or options.cfg:
            raise UserError("resume continues one run, with its own configuration; leave out -m and --cfg")
        resumed_config(config.resume, options.overrides)
        check_directory("resume", str(find_run(config.resume)[0]))
    elif options.help or options.cfg or options.info:
        return  # they create nothing
    elif any(override.lstrip("+").startswith(("hydra.run.", "hydra.sweep.")) for override in options.overrides):
        _check_directories(options.overrides, multirun)
    else:
        check_directory("hydra.sweep.dir" if multirun else "hydra.run.dir", "runs")


def _check_directories(overrides: Sequence[str], multirun: bool) -> None:
    """Check the directories that the command line names, with the values of each run. Raises: UserError."""
    with hydra_initialized():
        points = overrides_to_try(parse_overrides(overrides, multirun))
    for point in points:
        with hydra_values(point) as values:
            if multirun:
                check_directory("hydra.sweep.dir", values.sweep.dir)
                check_subdirectory(values.sweep.subdir)
            else:
                check_directory("hydra.run.dir", values.run.dir)


def _raise_flag_error(message: str) -> NoReturn:
    raise UserError(f"{message}; see {TRAIN} --help")
