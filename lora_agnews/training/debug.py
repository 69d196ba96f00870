"""Runs that look for mistakes, debug=fast, overfit or profile: which rows they use, and what they found.

The rows are selected before anything is computed from them. Lightning's limit_val_batches and its like would do it
later, after a cached prefix has been computed for all rows; its fast_dev_run writes no checkpoint and no curves.
"""

from pathlib import Path

import numpy as np

from lora_agnews.config.choices import Debug
from lora_agnews.config.schema import TrainConfig
from lora_agnews.data.datamodule import AGNewsDataModule
from lora_agnews.data.split import seed_of_split, stratified_part
from lora_agnews.results.record import RunResult
from lora_agnews.terminal.console import short_path
from lora_agnews.training.callbacks import PROFILE

MEMORISED = 32  # rows of debug=overfit
PROFILED = 5  # batches of a validation and of the test with debug=profile


def select_rows(data: AGNewsDataModule, config: TrainConfig) -> None:
    """Let the data module use only the rows of a debug run. Other runs use all of them."""
    train, val, test = data.train_rows, data.val_rows, data.test_rows
    batch, eval_batch = data.batch_size, data.eval_batch_size
    if config.debug == Debug.FAST:
        lengths, of_test = data.tokens.lengths, data.test_tokens.lengths if data.test else np.empty(0)
        data.use_rows(
            _longest(train, lengths, batch), _longest(val, lengths, eval_batch), _longest(test, of_test, eval_batch)
        )
    elif config.debug == Debug.OVERFIT:
        drawn_by = seed_of_split(config.data.split_seed, config.seed)
        few = stratified_part(data.labels, train, min(MEMORISED, len(train)), drawn_by)
        data.use_rows(few, few, _spread(test, eval_batch))
    elif config.debug == Debug.PROFILE:
        steps = config.trainer.max_steps or len(train)
        evaluated = PROFILED * eval_batch
        data.use_rows(
            _spread(train, steps * config.trainer.accumulate * batch), _spread(val, evaluated), _spread(test, evaluated)
        )


def outcome(result: RunResult, run_dir: Path) -> dict[str, str]:
    """Return the line that says what a debug run found, name -> text. Other runs have none."""
    debug = result.config["debug"]
    if debug is None:
        return {}
    found = "the run works; its numbers mean nothing"
    if debug == Debug.OVERFIT:
        rows = result.data["val"]
        learnt = round(result.metrics["val/accuracy"] * rows)
        found = f"{learnt} of {rows} rows learnt by heart, training loss {result.metrics['train/loss']:.4f}"
        found += "" if learnt == rows else "; try a higher optim.lr or trainer.max_epochs"
    if debug == Debug.PROFILE:
        found = str(short_path(run_dir / PROFILE))
    return {f"debug={debug}": f"{found} (never ranked)"}


def _longest(rows: np.ndarray, lengths: np.ndarray, number: int) -> np.ndarray:
    """Return the rows with the most tokens, sorted: what is too large for the memory fails with these."""
    longest = np.argsort(-lengths[rows], kind="stable")[:number]
    chosen: np.ndarray = rows[np.sort(longest)]
    return chosen


def _spread(rows: np.ndarray, number: int) -> np.ndarray:
    """Return rows at equal distances."""
    places = np.linspace(0, len(rows) - 1, min(number, len(rows))).astype(int)
    chosen: np.ndarray = rows[places]
    return chosen
