"""The record of a run: configuration, measurements and outcome, stored as result.json."""

import json
import os
import platform
import subprocess
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml

from lora_agnews.config.compose import load_config_file
from lora_agnews.config.identity import config_hash
from lora_agnews.config.schema import TrainConfig
from lora_agnews.config.scripts import FROM_WHEEL
from lora_agnews.errors import UserError
from lora_agnews.files.atomic import write_atomically
from lora_agnews.results.record_check import check_record

RESULT_FILE, CONFIG_FILE, METRICS_FILE = "result.json", "config.yaml", "metrics.csv"
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


class Status(StrEnum):
    """How far a run has come, or how it ended."""

    RUNNING = "running"
    FINISHED = "finished"
    STOPPED_EARLY = "stopped_early"
    FAILED = "failed"
    OVER_BUDGET = "over_budget"
    INTERRUPTED = "interrupted"
    DAMAGED = "damaged"  # only in memory: the record can't be read

    @property
    def succeeded(self) -> bool:
        return self in (Status.FINISHED, Status.STOPPED_EARLY)

    @property
    def label(self) -> str:
        """The status in words, such as "stopped early"."""
        return self.replace("_", " ")


@dataclass
class RunResult:
    """What a run leaves in result.json. Metrics other than losses are fractions in [0, 1]."""

    config: dict[str, Any]
    seed: int
    config_hash: str
    status: Status = Status.RUNNING
    metrics: dict[str, float] = field(default_factory=dict)
    budget: dict[str, Any] = field(default_factory=dict)
    throughput: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    confusion: list[list[int]] = field(default_factory=list)  # of the test rows, or validation; rows: true classes
    environment: dict[str, Any] = field(default_factory=dict)
    error: str | None = None

    def __post_init__(self) -> None:
        self.status = Status(self.status)

    @classmethod
    def of(cls, config: TrainConfig, **values: Any) -> "RunResult":
        """Begin the record of a run."""
        plain = config.to_dict()
        return cls(plain, config.seed, config_hash(plain), **values)

    @property
    def succeeded(self) -> bool:
        return self.status.succeeded

    @property
    def is_debug(self) -> bool:
        """Whether the run only looked for mistakes, so that it is never ranked."""
        return bool(self.config.get("debug"))  # which earlier versions do not have

    @property
    def awaits_test(self) -> bool:
        """Whether the run has succeeded and has test rows, but sweeps have not selected it for a test so far."""
        return self.succeeded and bool(self.data.get("test")) and "test/accuracy" not in self.metrics

    def save(self, run_dir: Path) -> None:
        """Write RUN_DIR/config.yaml and RUN_DIR/result.json, each complete or not at all."""
        write_atomically(run_dir / CONFIG_FILE, yaml.safe_dump(self.config, sort_keys=False))
        write_atomically(run_dir / RESULT_FILE, json.dumps(asdict(self), indent=2, default=str) + "\n")

    @staticmethod
    def mark_failed(run_dir: Path) -> None:
        """Change `running` to `failed` in the record that is there. This needs no space, so it works on a full disk."""
        with (run_dir / RESULT_FILE).open("r+b") as stream:
            text = stream.read().replace(b'"status": "running"', b'"status": "failed" ', 1)
            stream.seek(0)
            stream.write(text)

    @classmethod
    def load(cls, run_dir: Path) -> "RunResult":
        """Read RUN_DIR/result.json. Raises: FileNotFoundError; UserError, naming the file, if it is no such record."""
        path = run_dir / RESULT_FILE
        try:
            if path.exists() and not path.is_file():  # a pipe would never end
                raise ValueError("it is not a file")
            result = cls(**json.loads(path.read_text(encoding="utf-8")))
            check_record(result)
        except (ValueError, TypeError, RecursionError) as error:
            raise UserError(f"{path}: not a record of this version: {error}") from error
        return result

    @classmethod
    def load_if_any(cls, run_dir: Path) -> "RunResult | None":
        """Read RUN_DIR/result.json, or return None if there is none."""
        return cls.load(run_dir) if (run_dir / RESULT_FILE).exists() else None

    @classmethod
    def load_even_damaged(cls, run_dir: Path) -> "RunResult | None":
        """Read RUN_DIR/result.json where one damaged record must not stop the work on others.

        A damaged one has the status DAMAGED, its error names the file and the remedy, and its configuration is that of
        config.yaml, or empty if that is damaged too.
        """
        try:
            return cls.load_if_any(run_dir)
        except UserError as error:
            about = {"status": Status.DAMAGED, "error": f"{error}. To run it again, delete {run_dir}"}
        try:
            return cls.of(load_config_file(run_dir / CONFIG_FILE), **about)
        except UserError:
            return cls({}, 0, "", **about)  # type: ignore[arg-type]


def environment() -> dict[str, Any]:
    """Return versions, hardware and commit: what somebody else needs to repeat the run."""
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
        "cores": usable_cores(),
        "git_commit": _git("rev-parse", "HEAD"),
        "git_dirty": bool(_git("status", "--porcelain", "--untracked-files=no")),
    }


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _git(*arguments: str) -> str | None:
    if FROM_WHEEL:  # a repository around the environment is not this project's
        return None
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True, timeout=5, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
