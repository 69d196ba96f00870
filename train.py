"""Train one run, or with -m one run for each point: python train.py [-m] [key=value ...]"""

import sys
from contextlib import suppress
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from lora_agnews.config import TrainConfig, UserError
from lora_agnews.launch import begin_multirun, check_command_line, fail, load_config, refuse
from lora_agnews.lock import Busy
from lora_agnews.resume import enter
from lora_agnews.sweep.board import Board

succeeded: list[bool] = []
begun: tuple[TrainConfig, Path | None] | None = None  # the run that is continued, and its checkpoint
board: Board | None = None  # of a multirun


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def train(values: DictConfig) -> float | None:
    from lora_agnews.experiment import run_experiment  # torch loads once the command line is known to be good

    run_dir = Path(HydraConfig.get().runtime.output_dir)
    if board:
        with suppress(Busy):
            return board.run(load_config(values), run_dir).metrics.get("val/accuracy")
        return None
    try:
        result = run_experiment(*begun, run_dir) if begun else run_experiment(load_config(values), None, run_dir)
    except UserError as error:
        refuse(error, run_dir)
    succeeded.append(result.succeeded)
    return result.metrics.get("val/accuracy")


if __name__ == "__main__":
    line = check_command_line("train")
    try:
        begun = enter(line.resume, line.overrides) if line.resume else None
        board = Board(*begin_multirun(line.overrides)) if line.multirun else None
        train()
    except UserError as error:
        fail(str(error), status=2)
    except KeyboardInterrupt:
        if board:
            board.conclude()
        sys.exit(130)
    sys.exit(board.conclude() if board else 0 if all(succeeded) else 1)
