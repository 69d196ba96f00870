"""Check the command line of train.py before Hydra creates anything, so that a typo costs one message."""

from collections.abc import Sequence
from typing import NoReturn

from hydra._internal.utils import get_args_parser

from lora_agnews.config.compose import check_one_device, compose_config
from lora_agnews.config.keys import CONF
from lora_agnews.config.overrides import check_directory
from lora_agnews.config.resume import resumed_config
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
    if options.config_name and not (CONF / f"{options.config_name.removesuffix('.yaml')}.yaml").is_file():
        raise UserError(f"--config-name={options.config_name}: there is no such file in conf/; leave it out")
    config = compose_config(options.overrides, options.multirun)
    if options.multirun:
        check_one_device(config)
    given = [line for line in options.overrides if line.startswith(("hydra.run.dir=", "hydra.sweep.dir="))]
    for override in given or ([] if config.resume else ["hydra.run.dir=runs"]):
        check_directory(override)
    if not config.resume:
        return
    if options.multirun or "hydra.mode=MULTIRUN" in options.overrides or options.cfg:
        raise UserError("resume continues one run, with its own configuration; leave out -m and --cfg")
    resumed_config(config.resume, options.overrides)


def _raise_flag_error(message: str) -> NoReturn:
    raise UserError(f"{message}; see python train.py --help")
