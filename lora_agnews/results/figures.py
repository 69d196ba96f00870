"""The pictures in a run's figures/, drawn with matplotlib."""

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from lora_agnews.labels import LABELS
from lora_agnews.results.curves import read_rows
from lora_agnews.results.estimates import wilson_interval
from lora_agnews.results.record import METRICS_FILE, RunResult

BLUE, PALE_BLUE, RED, PALE_RED, GREY = "#3b6fb6", "#b9cbe4", "#d1495b", "#f6dfe2", "#c9ced6"
MANY = 20  # validations, from which on they are not marked one by one
STYLE: Any = {"font.size": 12, "axes.titlesize": 13, "axes.spines.top": False, "axes.spines.right": False}


def draw_run(run_dir: Path, result: RunResult) -> list[Path]:
    """Draw curves.png and confusion.png of a finished run."""
    split = "Test" if "test/accuracy" in result.metrics else "Validation"
    pictures = [draw_curves(run_dir, result)]
    if result.confusion:  # not known after the resume of a run of version 0.1 without test rows
        pictures.append(draw_confusion(np.asarray(result.confusion), split, run_dir / "figures" / "confusion.png"))
    return pictures


def draw_curves(run_dir: Path, result: RunResult) -> Path:
    """Draw figures/curves.png from metrics.csv: loss and validation accuracy by step.

    The training loss is a running mean over a tenth of the logged batches; single batches are pale behind it. Thin
    vertical lines mark the validations. The band is one standard error of a share of the validation rows.
    """
    rows = list(read_rows(run_dir / METRICS_FILE))

    def series(key: str) -> tuple[list[int], list[float]]:
        found = [(int(row["step"]), float(row[key])) for row in rows if row.get(key)]
        return [step for step, _ in found], [value for _, value in found]

    steps, batches = series("train/loss")
    validated, losses = series("val/loss")
    measured, found = series("val/accuracy")
    scores = np.array(found)
    num_rows = result.data["val"]
    error = np.sqrt(scores * (1 - scores) / num_rows)
    smoothed = result.config["optim"]["label_smoothing"] > 0  # which raises the training loss alone
    marker = {"color": RED, "linewidth": 2, "marker": "o", "markersize": 6 if len(validated) <= MANY else 3}
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9, 3.6), layout="constrained")
        loss, accuracy = figure.subplots(1, 2, sharex=True)
        few = len(steps) < 3
        loss.plot(steps, batches, color=PALE_BLUE, linewidth=1, marker="o" if few else None, label="one batch")
        name = "training (label smoothing)" if smoothed else "training"
        loss.plot(steps, running_mean(batches), color=BLUE, linewidth=2, label=name)
        loss.plot(validated, losses, label="validation", **marker)
        loss.set(title="Loss", xlabel="step", ylabel="cross-entropy [nat]")
        loss.set_ylim(bottom=0)
        loss.legend(loc="upper right", edgecolor="none", fontsize=11)
        if len(measured) > 1:
            accuracy.fill_between(measured, scores - error, scores + error, color=PALE_RED, linewidth=0)
            accuracy.plot(measured, scores, **marker)
        else:
            accuracy.errorbar(measured, scores, error, elinewidth=1.5, capsize=4, **marker)
        shown = f"accuracy on {num_rows:,} rows"
        accuracy.set(title="Validation accuracy ± standard error", xlabel="step", ylabel=shown)
        accuracy.margins(y=0.1)
        for axes in (loss, accuracy):
            for step in validated if len(validated) <= MANY else ():
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
        figure.colorbar(image, ax=axes, shrink=0.8, label="share of the true class", format=PercentFormatter(1))
        return _save(figure, path)


def draw_calibration(confidence: np.ndarray, correct: np.ndarray, edges: np.ndarray, title: str, path: Path) -> Path:
    """Draw accuracy by confidence with 95% Wilson intervals, and below it the number of rows per bin.

    `confidence` (rows,) is the probability of the predicted class, `correct` (rows,) bool, `edges` those of the bins.
    """
    bins = np.digitize(confidence, edges[1:-1])
    number = np.bincount(bins, minlength=len(edges) - 1)
    filled = number > 0
    mean_confidence = np.bincount(bins, confidence, len(number))[filled] / number[filled]
    right = np.bincount(bins, correct, len(number))[filled]
    intervals = [wilson_interval(*pair) for pair in zip(right.tolist(), number[filled].tolist(), strict=True)]
    accuracy, low, high = np.array([(each.value, each.low, each.high) for each in intervals]).T
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(5.4, 5.8), layout="constrained")
        axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        axes.plot([0, 1], [0, 1], color="grey", linewidth=1, linestyle="--", label="perfect calibration")
        axes.plot(mean_confidence, accuracy, color=RED, marker="o", linewidth=2, label="the model, 95% intervals")
        axes.vlines(mean_confidence, low, high, color=RED, linewidth=1)
        axes.set(title=title, ylabel="accuracy", ylim=(-0.02, 1.02))
        axes.legend(frameon=False, loc="lower right")
        below.bar(edges[:-1], number, width=np.diff(edges), align="edge", color=PALE_BLUE, edgecolor="white")
        below.set(xlabel="probability of the predicted class", ylabel="rows", xlim=(1 / len(LABELS) - 0.01, 1))
        for each in (axes, below):
            each.grid(alpha=0.3)
        return _save(figure, path)


def _save(figure: Figure, path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=150)
    return path
