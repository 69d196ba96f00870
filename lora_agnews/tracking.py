"""Where a run's metrics go: metrics.csv and W&B. The only importer of wandb, and only when it is used."""

import csv
import os
import resource
import socket
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import lightning as L
import torch
from lightning.pytorch.loggers import CSVLogger, Logger, WandbLogger
from torch import Tensor

from lora_agnews.console import notice
from lora_agnews.result import RunResult

SECONDS_TO_ANSWER = 3  # a W&B server that takes longer counts as unreachable
SECONDS_TO_START = 15  # for W&B to open a run; offline it takes 0.5
SECONDS_TO_FINISH = 300  # for the last uploads; what is left stays on disk for `wandb sync`
METRICS = "metrics.csv"
NOBODY = "nobody is logged in to W&B"


@dataclass
class Tracking:
    """The loggers of a run, and what to tell the user about them."""

    loggers: list[Logger]
    view: dict[str, str]  # what to tell the user: "W&B" -> address or commands
    run: Any = None

    def finish(self, result: RunResult, *figures: Path) -> None:
        """Best metrics, budget, throughput and figures into the W&B summary."""
        for logger in self.loggers:
            logger.save()
        if self.run is None:
            return
        import wandb

        self.run.log({f"figures/{path.stem}": wandb.Image(str(path)) for path in figures})
        self.run.summary.update({"status": result.status, **result.metrics})
        for name in ("budget", "throughput", "seconds"):
            self.run.summary.update({f"{name}/{key}": value for key, value in getattr(result, name).items()})


@contextmanager
def tracking(
    run_dir: Path,
    mode: str,
    project: str,
    group: str | None,
    tags: list[str],
    config: dict[str, Any],
    continued_after: int | None = None,
) -> Iterator[Tracking]:
    """Opens metrics.csv and W&B (auto | online | offline | disabled) and closes both, whatever happens.

    A run that is continued keeps its W&B run, and the first `continued_after` rows of metrics.csv.

    Raises: RuntimeError, if W&B was asked for and is not installed, not logged in or out of reach.
    """
    tracked = Tracking([], {"W&B": "off"})
    tracked.run = _open_wandb(
        mode,
        dir=run_dir,
        project=project,
        group=group,
        tags=tags,
        name=run_dir.name,
        config=config,
        **_known_to_wandb(run_dir if continued_after is not None else None),
    )
    metrics = _open_metrics(run_dir, continued_after)
    tracked.loggers.append(metrics)
    if tracked.run is not None:
        tracked.loggers.append(WandbLogger(experiment=tracked.run, log_model=False))
        folder = Path(tracked.run.settings.sync_dir)
        if tracked.run.offline:
            tracked.view = {"W&B": "offline", "  look": f"wandb leet {folder}", "  upload": f"wandb sync {folder}"}
        else:
            tracked.view = {"W&B": str(tracked.run.url)}
    failed = True
    try:
        yield tracked
        failed = False
    finally:
        metrics.finalize("success")
        (run_dir / "hparams.yaml").unlink(missing_ok=True)  # config.yaml says it
        if tracked.run is not None:
            tracked.run.finish(exit_code=int(failed))


def log_leaderboard(folder: Path, mode: str, project: str, table: list[list[Any]]) -> None:
    """The final results of a sweep, a header and its rows, as the table of one W&B run in the sweep's group.

    Raises: RuntimeError, as `tracking`.
    """
    about = {"project": project, "group": folder.name, "name": "leaderboard", "job_type": "leaderboard"}
    run = _open_wandb(mode, dir=folder, **about, **_known_to_wandb(folder))
    if run is not None:
        import wandb

        header, *rows = table
        run.log({"leaderboard": wandb.Table(columns=header, data=rows)})
        run.finish()


def _open_metrics(run_dir: Path, continued_after: int | None) -> CSVLogger:
    """Lightning's logger begins its file anew; the rows to keep go in again first."""
    kept: list[dict[str, str]] = []
    if continued_after is not None and (run_dir / METRICS).exists():
        with (run_dir / METRICS).open(newline="") as stream:
            rows = islice(csv.DictReader(stream), continued_after)
            kept = [{key: value for key, value in row.items() if value} for row in rows]
    metrics = CSVLogger(run_dir, name="", version="")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Experiment logs directory .* exists and is not empty")
        experiment = metrics.experiment  # a dummy on all devices but the first
        if kept:
            experiment.metrics += kept
    metrics.save()
    return metrics


def _known_to_wandb(run_dir: Path | None) -> dict[str, str]:
    """The W&B run that a run directory already has, if any: its folders end in the id."""
    folders = sorted((run_dir / "wandb").glob("*run-*-*")) if run_dir else []
    return {"id": folders[-1].name.rpartition("-")[2], "resume": "allow"} if folders else {}


def _open_wandb(wanted: str, **run: Any) -> Any:
    """A W&B run, or None; a server that answers and then opens no run is, for auto, as good as out of reach."""
    mode = _wandb_mode(wanted)
    if mode == "disabled":
        return None
    import wandb

    settings = wandb.Settings(
        silent=True, console="off", init_timeout=SECONDS_TO_START, finish_timeout=SECONDS_TO_FINISH
    )
    try:
        return wandb.init(mode=mode, settings=settings, **run)  # type: ignore[arg-type]
    except wandb.errors.CommError as error:
        _go_offline(wanted, f"W&B opened no run: {error}".splitlines()[0])
        return wandb.init(mode="offline", settings=settings, **run)


def _wandb_mode(wanted: str) -> str:
    if wanted == "disabled" or (wanted == "auto" and os.environ.get("WANDB_MODE") == "disabled"):
        return "disabled"
    if find_spec("wandb") is None:
        if wanted == "auto":
            notice("wandb is not installed: metrics go to metrics.csv only")
            return "disabled"
        raise RuntimeError(
            f"logger.wandb={wanted}: wandb is not installed; pip install wandb, or logger.wandb=disabled"
        )
    if wanted == "offline" or (wanted == "auto" and os.environ.get("WANDB_MODE") == "offline"):
        return "offline"
    import wandb

    server, why = str(wandb.setup(wandb.Settings(silent=True)).settings.base_url), ""
    try:
        if not wandb.login(prompt=False, verify=False):  # looks for a key, asks neither user nor server
            why = NOBODY
        elif not _answers(server):
            why = f"{server} does not answer"
    except wandb.errors.AuthenticationError as error:  # a key that can't be one
        why = str(error)
    if not why:
        return "online"
    _go_offline(wanted, why)
    return "offline"


def _go_offline(wanted: str, why: str) -> None:
    """Says so, where somebody expects more. Raises: RuntimeError, if online was asked for."""
    if wanted == "online":
        raise RuntimeError(f"logger.wandb=online: {why}; run `wandb login`, or use logger.wandb=offline")
    if why != NOBODY:
        notice(f"{why}: W&B logs offline")


def _answers(server: str) -> bool:
    parts = urlsplit(server)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((parts.hostname or "", port), timeout=SECONDS_TO_ANSWER).close()
    except OSError:
        return False
    return True


class Stopwatch(L.Callback):
    """Wall time of training without validation, and what went through in it."""

    def __init__(self) -> None:
        self.seconds = self.paused_at = self.began_at = self.before = 0.0
        self.samples = 0
        self.tokens: Tensor | int = 0

    def on_train_start(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        self.began_at = time.perf_counter() - self.before
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()

    def on_train_batch_end(
        self, trainer: L.Trainer, task: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.samples += len(batch["labels"]) * trainer.world_size
        # stays on the device: no wait
        self.tokens = self.tokens + batch["attention_mask"].sum() * trainer.world_size

    def on_validation_start(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        self.paused_at = time.perf_counter()

    def on_validation_end(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        self.began_at += time.perf_counter() - self.paused_at

    def on_train_end(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        self.seconds = time.perf_counter() - self.began_at

    def state_dict(self) -> dict[str, Any]:
        seconds = time.perf_counter() - self.began_at
        return {"seconds": seconds, "samples": self.samples, "tokens": int(self.tokens)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.before = self.seconds = state["seconds"]
        self.samples, self.tokens = state["samples"], state["tokens"]

    def throughput(self, steps: int) -> dict[str, float]:
        """Samples, steps and real tokens a second of training; peak memory of the device or, on a CPU, the process."""
        seconds = max(self.seconds, 1e-9)
        if torch.cuda.is_available():
            peak = torch.cuda.max_memory_allocated()
        else:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        return {
            "samples_per_second": self.samples / seconds,
            "steps_per_second": steps / seconds,
            "tokens_per_second": float(self.tokens) / seconds,
            "peak_memory_bytes": peak,
        }
