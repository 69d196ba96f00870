"""The pictures in a run's figures/."""

import csv
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from lora_agnews.config import LABELS
from lora_agnews.tracking import METRICS


def draw_curves(run_dir: Path) -> Path:
    """figures/curves.png: loss and validation accuracy by step, from metrics.csv."""
    with (run_dir / METRICS).open(newline="") as stream:
        rows = list(csv.DictReader(stream))

    def series(key: str) -> tuple[list[int], list[float]]:
        found = [(int(row["step"]), float(row[key])) for row in rows if row.get(key)]
        return [step for step, _ in found], [value for _, value in found]

    figure = Figure(figsize=(10, 3.8), layout="constrained")
    loss, accuracy = figure.subplots(1, 2)
    loss.plot(*series("train/loss"), color="#9db4d3", linewidth=1.2, label="train, a batch")
    loss.plot(*series("val/loss"), color="#d1495b", marker="o", markersize=4, label="validation")
    loss.set(title="Loss", xlabel="step", ylabel="cross-entropy [nat]")
    loss.set_ylim(bottom=0)
    loss.legend(frameon=False)
    accuracy.plot(*series("val/accuracy"), color="#d1495b", marker="o", markersize=4)
    accuracy.set(title="Validation accuracy", xlabel="step", ylabel="accuracy")
    accuracy.margins(y=0.2)
    for axes in (loss, accuracy):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
        axes.set_xlim(left=0)
    return _save(figure, run_dir / "figures" / "curves.png")


def draw_confusion(counts: np.ndarray, name: str, path: Path) -> Path:
    """True classes down, predicted across; (4, 4) counts of some rows, colour by share of the row."""
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    figure = Figure(figsize=(5.6, 5.0), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for i, j in np.ndindex(counts.shape):
        ink = "white" if shares[i, j] > 0.5 else "black"
        axes.text(j, i, f"{counts[i, j]:,}\n{shares[i, j]:.1%}", ha="center", va="center", color=ink, fontsize=10)
    axes.set_xticks(range(len(LABELS)), LABELS)
    axes.set_yticks(range(len(LABELS)), LABELS, rotation=90, va="center")
    right = np.trace(counts) / max(1, counts.sum())
    axes.set(title=f"{name}: {right:.2%} of {counts.sum():,} rows right", xlabel="predicted", ylabel="true")
    axes.tick_params(length=0)
    figure.colorbar(image, ax=axes, shrink=0.8, label="share of the true class")
    return _save(figure, path)


def draw_calibration(confidence: np.ndarray, right: np.ndarray, edges: np.ndarray, title: str, path: Path) -> Path:
    """How often the model is right (rows,) bool, by how sure it is (rows,), and below, of how many rows."""
    where = np.digitize(confidence, edges[1:-1])
    number = np.bincount(where, minlength=len(edges) - 1)
    found = number > 0
    sure, often = (
        np.bincount(where, weights, len(edges) - 1)[found] / number[found] for weights in (confidence, right)
    )
    figure = Figure(figsize=(5.0, 5.6), layout="constrained")
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    axes.plot([0, 1], [0, 1], color="#bbbbbb", linewidth=1, label="as sure as it is right")
    axes.plot(sure, often, color="#d1495b", marker="o", markersize=4, label="the model")
    axes.set(title=title, ylabel="share of rows right", ylim=(0, 1.02))
    axes.legend(frameon=False, loc="upper left")
    below.bar(edges[:-1], number, width=np.diff(edges), align="edge", color="#9db4d3", edgecolor="white")
    below.set(xlabel="probability of the predicted class", ylabel="rows", xlim=(0, 1))
    for each in (axes, below):
        each.spines[["top", "right"]].set_visible(False)
        each.grid(alpha=0.25)
    return _save(figure, path)


def _save(figure: Figure, path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=150)
    return path
