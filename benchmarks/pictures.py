"""The figures of docs/results.md, drawn from benchmarks/records."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from benchmarks.records import by_number_of_rows, config_of, encoder_of, layers_of, load, load_json, training_seconds
from lora_agnews.budget import HARD_LIMIT
from lora_agnews.results.figures import BLUE, GREY, RED, STYLE
from lora_agnews.results.ranking import pareto
from lora_agnews.results.row import TEST

TEAL, DARK_GREY = "#2a9fb0", "#6b7280"


def draw_prefix(names: Sequence[str], path: Path) -> None:
    """Draw test accuracy against the seconds of training, one panel per encoder, with the number of adapted layers."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9, 3.8), layout="constrained")
        for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
            for prefix, colour, above in (("live", RED, True), ("cached", BLUE, False)):
                rows = [row for row in load(name) if row.values["prefix"] == prefix]
                seconds, scores = [training_seconds(row) for row in rows], [row.mean(TEST) for row in rows]
                errors = [row.std(TEST) for row in rows]
                axes.errorbar(seconds, scores, errors, fmt="o", color=colour, capsize=3, label=prefix)
                for row, x, y in zip(rows, seconds, scores, strict=True):
                    label, place = layers_of(row).split()[-1].replace("layers", "all"), (5, 3 if above else -13)
                    axes.annotate(label, (x, y), place, textcoords="offset points", fontsize=11, color=colour)
            axes.set(title=name.partition("-")[2], xlabel="training of a run [s]", ylabel="test accuracy")
            axes.set_xlim(0, 1.1 * axes.get_xlim()[1])
            axes.grid(alpha=0.3)
        figure.legend(*axes.get_legend_handles_labels(), title="prefix", loc="outside right center", edgecolor="none")
        figure.savefig(path, dpi=100)


def draw_parameters(name: str, path: Path) -> None:
    """Draw accuracy against the number of trained parameters, with the Pareto front and the limit.

    Of several rows with the same number, only the one with the best validation is drawn.
    """
    rows = list({row.trainable: row for row in reversed(load(name))}.values())
    front = pareto(rows)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8, 4.2), layout="constrained")
        axes = figure.subplots()
        axes.step(
            [r.trainable for r in front], [r.mean() for r in front], where="post", color=RED, label="Pareto front"
        )
        axes.plot([r.trainable for r in rows], [r.mean() for r in rows], "o", color=BLUE, label="validation")
        axes.plot([r.trainable for r in rows], [r.mean(TEST) for r in rows], "x", color=TEAL, label="test")
        axes.axvline(HARD_LIMIT, color=GREY, linestyle="--")
        axes.annotate("limit", (HARD_LIMIT, axes.get_ylim()[0]), (-4, 4), textcoords="offset points", ha="right")
        axes.set(xscale="log", xlabel="trained parameters", ylabel="accuracy")
        axes.grid(alpha=0.3)
        figure.legend(loc="outside upper center", ncols=3, edgecolor="none")
        figure.savefig(path, dpi=100)


def draw_rows(curves: Sequence[Sequence[str]], path: Path) -> None:
    """Draw test accuracy against the number of training rows, for our runs and for the SVM."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8, 4.2), layout="constrained")
        axes = figure.subplots()
        svm = load_json("svm")
        axes.plot(
            [each["rows"] for each in svm],
            [each["test"] for each in svm],
            "s--",
            color=DARK_GREY,
            label="TF-IDF and SVM",
        )
        for names, colour in zip(curves, (BLUE, RED), strict=False):
            rows = by_number_of_rows(names)
            errors = [0.0 if row.n < 2 else row.std(TEST) for row in rows.values()]
            scores, label = [row.mean(TEST) for row in rows.values()], encoder_of(next(iter(rows.values())))
            axes.errorbar(list(rows), scores, errors, fmt="o-", capsize=3, color=colour, label=label)
        axes.set(xscale="log", xlabel="training rows", ylabel="test accuracy")
        ticks = [digit * 10**power for power in (2, 3, 4) for digit in (1, 2, 5)][2:]
        axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
        axes.legend(edgecolor="none", loc="lower right")
        figure.savefig(path, dpi=100)


def draw_rates(name: str, path: Path) -> None:
    """Draw the validation accuracy by learning rate and rank as a heat map."""
    rows = load(name)
    ranks, rates = (
        sorted({config_of(row, *keys) for row in rows}) for keys in (("model", "lora", "r"), ("optim", "lr"))
    )
    scores = np.full((len(ranks), len(rates)), np.nan)
    for row in rows:
        scores[ranks.index(config_of(row, "model", "lora", "r")), rates.index(config_of(row, "optim", "lr"))] = (
            row.mean()
        )
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 4.2), layout="constrained")
        axes = figure.subplots()
        image = axes.imshow(scores, cmap="viridis", origin="lower", aspect="auto")
        for (y, x), score in np.ndenumerate(scores):
            dark = score < (np.nanmin(scores) + np.nanmax(scores)) / 2
            axes.text(x, y, f"{score:.4f}", ha="center", va="center", color="white" if dark else "black")
        axes.set_xticks(range(len(rates)), [f"{rate:g}" for rate in rates])
        axes.set_yticks(range(len(ranks)), list(map(str, ranks)))
        axes.set(xlabel="learning rate", ylabel="rank")
        axes.spines[:].set_visible(False)
        figure.colorbar(image, label="validation accuracy")
        figure.savefig(path, dpi=100)
