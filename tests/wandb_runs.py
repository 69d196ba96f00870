"""What W&B wrote, read with its own reader, and a process without a login."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lora_agnews.config.sections import LoggerConfig
from lora_agnews.training.tracking import open_tracking

KEY = "0123456789" * 4


def records(run_dir: Path, *options: str) -> list[dict[str, Any]]:
    """What W&B's own reader finds in the file of the one run that was logged offline."""
    (folder,) = run_dir.glob("wandb/offline-run-*")
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", *options, str(folder)]
    read = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return (
        [json.loads(read.stdout)] if "--summary" in options else [json.loads(line) for line in read.stdout.splitlines()]
    )


CLOSED = "http://127.0.0.1:9"  # the discard service: nobody runs it


def log_in(no_login: pytest.MonkeyPatch, server: str, key: str = KEY) -> None:
    no_login.setenv("WANDB_API_KEY", key)
    no_login.setenv("WANDB_BASE_URL", server)


def track(run_dir: Path, mode: str) -> dict[str, str]:
    """Open and close the logging of a run; return the lines that tell where to find it."""
    run_dir.mkdir()
    with open_tracking(run_dir, LoggerConfig(mode, "project", None, [], None, None, False), {}) as tracking:
        return tracking.lines
