"""The record a run leaves: what it was, what it measured, how it ended. To and from result.json."""

import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TextIO

import yaml

FILE = "result.json"
SUCCEEDED = ("finished", "stopped_early")
PACKAGES = (
    "lora_agnews",
    "torch",
    "lightning",
    "transformers",
    "peft",
    "datasets",
    "torchmetrics",
    "hydra-core",
    "wandb",
)


class Pruned(Exception):
    """A study gave the run up: others had done better at the same step."""

    WORDS = "given up by the study: others had done better at the same step"

    def __init__(self) -> None:
        super().__init__(self.WORDS)


@dataclass
class RunResult:
    """What a run leaves; metrics are fractions in [0, 1].

    `status`: running, finished, stopped_early, failed, over_budget or interrupted.
    """

    config: dict[str, Any]
    seed: int
    config_hash: str
    status: str = "running"
    metrics: dict[str, float] = field(default_factory=dict)
    budget: dict[str, Any] = field(default_factory=dict)
    throughput: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    confusion: list[list[int]] = field(default_factory=list)  # of the test rows, else validation; rows: true classes
    environment: dict[str, Any] = field(default_factory=dict)
    error: str | None = None

    @property
    def succeeded(self) -> bool:
        return self.status in SUCCEEDED

    def save(self, run_dir: Path) -> None:
        """Writes RUN_DIR/config.yaml and RUN_DIR/result.json, each whole or not at all."""
        texts = {"config.yaml": yaml.safe_dump(self.config, sort_keys=False)}
        texts[FILE] = json.dumps(asdict(self), indent=2, default=str) + "\n"
        for name, text in texts.items():
            write_whole(run_dir / name, text)

    @classmethod
    def load(cls, run_dir: Path) -> "RunResult":
        return cls(**json.loads((run_dir / FILE).read_text(encoding="utf-8")))


def write_whole(path: Path, text: str) -> None:
    """The file appears with all of its text or not at all."""
    with writing_whole(path) as stream:
        stream.write(text)


@contextmanager
def writing_whole(path: Path) -> Iterator[TextIO]:
    """A stream whose text becomes the file at the end; nothing is left of it if that is not reached."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with unfinished.open("w", encoding="utf-8", newline="") as stream:
            yield stream
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def config_hash(config: dict[str, Any]) -> str:
    """12 hex digits of a run's values; where it logs to does not count."""
    counted = {key: value for key, value in config.items() if key != "logger"}
    return hashlib.sha256(json.dumps(counted, sort_keys=True).encode()).hexdigest()[:12]


def environment() -> dict[str, Any]:
    """Versions, hardware and commit: what a stranger needs to run it again."""
    versions: dict[str, str | None] = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    return {
        "versions": versions,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "git_commit": _git("rev-parse", "HEAD"),
        "git_dirty": bool(_git("status", "--porcelain", "--untracked-files=no")),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True, timeout=5, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
