"""Where the metrics of a run go: metrics.csv, W&B and TensorBoard."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, WandbLogger

from lora_agnews.config.sections import LoggerConfig
from lora_agnews.results.record import METRICS_FILE, RunResult
from lora_agnews.terminal.console import short_path
from lora_agnews.training.metrics_file import MetricsFile
from lora_agnews.training.tensorboard import FOLDER, open_tensorboard
from lora_agnews.training.wandb_run import existing_wandb_run, open_wandb


@dataclass
class Tracking:
    """The loggers of a run. `lines` tell the user where to find its curves: name -> address or command."""

    loggers: list[Logger]
    lines: dict[str, str]
    wandb_run: Any = None

    def finish(self, result: RunResult, figures: list[Path]) -> None:
        """Save the loggers. In W&B, log the figures and write status and results into the summary."""
        for logger in self.loggers:
            logger.save()
        if self.wandb_run is None:
            return
        import wandb

        self.wandb_run.log({f"figures/{path.stem}": wandb.Image(str(path)) for path in figures})
        self.wandb_run.summary.update({"status": str(result.status), **result.metrics})
        for name in ("budget", "throughput", "seconds"):
            self.wandb_run.summary.update({f"{name}/{key}": value for key, value in getattr(result, name).items()})


@contextmanager
def open_tracking(
    run_dir: Path, logger: LoggerConfig, config: dict[str, Any], metrics_rows: int | None = None
) -> Iterator[Tracking]:
    """Open metrics.csv, W&B and TensorBoard, and close all of them however the block ends.

    A resumed run keeps its W&B run, and of metrics.csv and TensorBoard the first `metrics_rows` rows.
    Raises: RuntimeError, if W&B is asked for and is not installed, not logged in or can't be reached; UserError, if
    TensorBoard is not installed or metrics.csv is damaged.
    """
    metrics = MetricsFile(run_dir / METRICS_FILE, metrics_rows or 0)
    curves = [open_tensorboard(run_dir, config, metrics.next_step)] if logger.tensorboard else []
    tracking = Tracking([metrics, *curves], {"W&B": "off"})
    tracking.wandb_run = open_wandb(
        logger.wandb,
        logger.project,
        dir=run_dir,
        entity=logger.entity,
        group=logger.group,
        tags=logger.tags + ([f"debug-{config['debug']}"] if config.get("debug") else []),
        name=logger.name or run_dir.name,
        config=config,
        **existing_wandb_run(run_dir if metrics_rows is not None else None),
    )
    failed = True
    try:
        if tracking.wandb_run is not None:
            tracking.loggers.append(WandbLogger(experiment=tracking.wandb_run, log_model=False))
            tracking.lines = _wandb_lines(tracking.wandb_run)
        if curves:
            tracking.lines["TensorBoard"] = f"tensorboard --logdir {short_path(run_dir / FOLDER)}"
        yield tracking
        failed = False
    finally:
        for each in tracking.loggers:
            each.finalize("failed" if failed else "success")
        if tracking.wandb_run is not None:
            tracking.wandb_run.finish(exit_code=int(failed))


def _wandb_lines(run: Any) -> dict[str, str]:
    if not run.offline:
        return {"W&B": str(run.url)}
    folder = short_path(Path(run.settings.sync_dir))
    return {"W&B": "offline", "  view": f"wandb leet {folder}", "  upload": f"wandb sync {folder}"}
