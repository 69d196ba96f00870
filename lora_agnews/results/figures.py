"""The pictures in a run's figures/, drawn with matplotlib."""

import csv
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from lora_agnews.labels import LABELS
from lora_agnews.results.record import METRICS_FILE, RunResult

BLUE, PALE_BLUE, RED, GREY = "#3b6fb6", "#b9cbe4", "#d1495b", "#c9ced6"
STYLE: Any = {"font.size": 12, "axes.titlesize": 13, "axes.spines.top": False, "axes.spines.right": False}


def draw_run(run_dir: Path, result: RunResult) -> list[Path]:
    """Draw curves.png and confusion.png of a finished run."""
    split = "Test" if "test/accuracy" in result.metrics else "Validation"
    pictures = [draw_curves(run_dir)]
    if result.confusion:  # not known after the resume of a run of version 0.1 without test rows
        pictures.append(draw_confusion(np.asarray(result.confusion), split, run_dir / "figures" / "confusion.png"))
    return pictures


def draw_curves(run_dir: Path) -> Path:
    """Draw figures/curves.png from metrics.csv: loss and validation accuracy by step.

    The training loss is the mean of the last tenth of the logged batches, over the pale loss of single batches. Thin
    vertical lines mark the validations.
    """
    with (run_dir / METRICS_FILE).open(newline="") as stream:
        rows = list(csv.DictReader(stream))

    def series(key: str) -> tuple[list[int], list[float]]:
        found = [(int(row["step"]), float(row[key])) for row in rows if row.get(key)]
        return [step for step, _ in found], [value for _, value in found]

    steps, batches = series("train/loss")
    validated, losses = series("val/loss")
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9, 3.6), layout="constrained")
        loss, accuracy = figure.subplots(1, 2)
        few = len(steps) < 3
        loss.plot(steps, batches, color=PALE_BLUE, linewidth=1, marker="o" if few else None, label="one batch")
        loss.plot(steps, running_mean(batches), color=BLUE, linewidth=2, label="running mean")
        loss.plot(validated, losses, color=RED, marker="o", linewidth=2, label="validation")
        loss.set(title="Loss", xlabel="step", ylabel="cross-entropy [nat]")
        loss.set_ylim(bottom=0)
        loss.legend(frameon=False, fontsize=11)
        accuracy.plot(*series("val/accuracy"), color=RED, marker="o", linewidth=2)
        accuracy.set(title="Validation accuracy", xlabel="step", ylabel="accuracy")
        accuracy.margins(y=0.2)
        for axes in (loss, accuracy):
            for step in validated if len(validated) <= 20 else ():
                axes.axvline(step, color=GREY, linewidth=1, linestyle=":", zorder=0)
            axes.grid(axis="y", alpha=0.3)
            axes.set_xlim(left=0)
        return _save(figure, run_dir / "figures" / "curves.png")


def running_mean(values: list[float]) -> list[float]:
    """Return the mean of each value and the ones before it, over a window of a tenth of all values, at least 3."""
    window = max(3, len(values) // 10)
    return [float(np.mean(values[max(0, end - window) : end])) for end in range(1, len(values) + 1)]


def draw_confusion(counts: np.ndarray, name: str, path: Path) -> Path:
    """Draw a (4, 4) matrix of counts, true classes down and predicted ones across, coloured by the share of the row."""
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6.0, 5.2), layout="constrained")
        axes = figure.subplots()
        image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for i, j in np.ndindex(counts.shape):
            ink = "white" if shares[i, j] > 0.5 else "black"
            axes.text(j, i, f"{counts[i, j]:,}\n{shares[i, j]:.1%}", ha="center", va="center", color=ink)
        axes.set_xticks(range(len(LABELS)), LABELS)
        axes.set_yticks(range(len(LABELS)), LABELS, rotation=90, va="center")
        correct = np.trace(counts) / max(1, counts.sum())
        axes.set(title=f"{name}: {correct:.2%} of {counts.sum():,} rows correct", xlabel="predicted", ylabel="true")
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        figure.colorbar(image, ax=axes, shrink=0.8, label="share of the true class")
        return _save(figure, path)


def draw_calibration(confidence: np.ndarray, correct: np.ndarray, edges: np.ndarray, title: str, path: Path) -> Path:
    """Draw accuracy by confidence, and below it the number of rows per bin.

    `confidence` (rows,) is the probability of the predicted class, `correct` (rows,) bool, `edges` those of the bins.
    """
    bins = np.digitize(confidence, edges[1:-1])
    number = np.bincount(bins, minlength=len(edges) - 1)
    filled = number > 0
    mean_confidence, accuracy = (
        np.bincount(bins, weights, len(edges) - 1)[filled] / number[filled] for weights in (confidence, correct)
    )
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(5.4, 5.8), layout="constrained")
        axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, label="perfect calibration")
        axes.plot(mean_confidence, accuracy, color=RED, marker="o", linewidth=2, label="the model")
        axes.set(title=title, ylabel="accuracy", ylim=(0, 1.02))
        axes.legend(frameon=False, loc="upper left")
        below.bar(edges[:-1], number, width=np.diff(edges), align="edge", color=PALE_BLUE, edgecolor="white")
        below.set(xlabel="probability of the predicted class", ylabel="rows", xlim=(0, 1))
        for each in (axes, below):
            each.grid(alpha=0.3)
        return _save(figure, path)


def _save(figure: Figure, path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=150)
    return path
