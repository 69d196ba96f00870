"""Run the project's commands in processes of their own, as a user does."""

import atexit
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from lora_agnews.__main__ import app
from lora_agnews.config.compose import compose_config
from lora_agnews.config.schema import TrainConfig

ROOT = Path(__file__).resolve().parent.parent
SHORT = ["experiment=quickstart", "trainer.max_steps=6", "data.max_length=16", "logger.wandb=disabled"]
CACHE = tempfile.mkdtemp(prefix="lora_agnews-")  # of the commands that the tests run
atexit.register(shutil.rmtree, CACHE, ignore_errors=True)


def run_python(
    *arguments: str, without: tuple[str, ...] = (), limit: int = 200, **environment: str
) -> subprocess.CompletedProcess[str]:
    """`python ARGUMENTS` in the repository, with no terminal, less the variables whose names begin with `without`.

    `limit` is in seconds.
    """
    kept = {name: value for name, value in os.environ.items() if not (without and name.startswith(without))}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env=kept | {"COLUMNS": "100", "XDG_CACHE_HOME": CACHE, "OMP_NUM_THREADS": "1"} | environment,
        timeout=limit,
    )


def train(run_dir: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    """Six steps on short texts."""
    return run_python("train.py", *SHORT, *overrides, f"hydra.run.dir={run_dir}")


def command(*arguments: Any, stdin: bytes | None = None) -> Result:
    """Run `python -m lora_agnews ARGUMENTS` in this process."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin)


def compose_line(line: str) -> TrainConfig:
    """Compose the configuration of a command line of train.py."""
    arguments = shlex.split(line)
    return compose_config([part for part in arguments if part != "-m"], "-m" in arguments)
