"""The logger of metrics.csv. With Lightning's CSVLogger, a kill while the file is rewritten would lose its rows."""

import csv
import io
from argparse import Namespace
from itertools import islice
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from lora_agnews.errors import UserError
from lora_agnews.files.atomic import write_atomically
from lora_agnews.results.curves import read_rows


class MetricsFile(Logger):
    """Keeps all rows in memory and replaces the file as a whole: one row per logged step, one column per metric.

    Lightning saves after each logged step. A resumed run keeps the first `rows_to_keep` rows of the file, those before
    its checkpoint.
    Raises: UserError, if the file is damaged.
    """

    def __init__(self, path: Path, rows_to_keep: int) -> None:
        super().__init__()
        self.path = path
        self.rows: list[dict[str, Any]] = []
        if rows_to_keep and path.exists():
            kept = list(islice(read_rows(path), rows_to_keep))
            if len(kept) < rows_to_keep:
                raise UserError(f"{path}: damaged; delete it to continue the run without its curves so far")
            self.rows = [{key: value for key, value in row.items() if value} for row in kept]

    @property
    def next_step(self) -> int | None:
        """The step after the last one that is kept; None for a new run."""
        return int(self.rows[-1]["step"]) + 1 if self.rows else None

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def version(self) -> str:
        return ""

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Do nothing: config.yaml has the values of a run."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.rows.append({**{key: float(value) for key, value in metrics.items()}, "step": step})
        if "epoch" in metrics:
            self.rows[-1]["epoch"] = int(metrics["epoch"])

    @rank_zero_only
    def save(self) -> None:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, sorted({key for row in self.rows for key in row}))
        writer.writeheader()
        writer.writerows(self.rows)
        write_atomically(self.path, text.getvalue())

    @rank_zero_only
    def finalize(self, status: str) -> None:
        self.save()
