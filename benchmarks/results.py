"""Write the tables of docs/results.md and its figures from benchmarks/records.

    python -m benchmarks.results

A table stands between `<!-- records: NAME -->` and `<!-- end -->`. Its last line says where its numbers come from.
"""

import re
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from benchmarks.records import load
from lora_agnews.config.rules import to_override
from lora_agnews.results.cost import cost_of
from lora_agnews.results.figures import BLUE, RED, STYLE
from lora_agnews.results.row import TEST, Row

ROOT = Path(__file__).resolve().parent.parent
PAGE, PICTURES = ROOT / "docs" / "results.md", ROOT / "docs" / "pictures"
TABLE = re.compile(r"(<!-- records: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def prefix_table(name: str) -> list[str]:
    """Return accuracy and seconds of training by adapted layers, with a live and a cached prefix."""
    rows = sorted(load(name), key=lambda row: (-row.trainable, row.values["prefix"]))
    lines = ["| adapters in | prefix | trained | validation | test | training |", "|---|---|---:|---|---|---:|"]
    for row in rows:
        lines.append(
            f"| {layers_of(row)} | {row.values['prefix']} | {row.trainable:,} | {row.spread()} | {row.spread(TEST)} "
            f"| {training_seconds(row):,.0f} s |"
        )
    return [*lines, "", origin(rows)]


def training_seconds(row: Row) -> float:
    """Return the mean over the seeds."""
    return statistics.mean(result.seconds["train"] for _, result in row.counted)


def layers_of(row: Row) -> str:
    """Return the adapted layers in words."""
    layers = row.values["layers"]
    return "all layers" if layers == "all" else f"the top {str(layers).strip('-:')}"


def rate_table(name: str) -> list[str]:
    """Return the validation accuracy by learning rate."""
    rows = sorted(load(name), key=lambda row: float(row.values["lr"]))
    lines = ["| learning rate | trained | validation | training |", "|---:|---:|---|---:|"]
    for row in rows:
        lines.append(f"| {row.values['lr']} | {row.trainable:,} | {row.spread()} | {training_seconds(row):,.0f} s |")
    return [*lines, "", origin(rows)]


def pruning_table() -> list[str]:
    """Return what each pruner of a study finds, and at which share of the grid's cost."""
    grid = load("pruning-none")
    whole = cost_of(grid).seconds
    lines = ["| `pruner` | winner | in the grid it is | runs | seconds | share |", "|---|---|---|---:|---:|---:|"]
    for pruner in ("none", "median", "hyperband"):
        rows = load(f"pruning-{pruner}")
        place = next(row for row in grid if row.values == rows[0].values)
        cost = cost_of(rows)
        winner = " ".join(f"{key}={to_override(value)}" for key, value in place.values.items())
        standing = "the best" if place is grid[0] else "tied with the best" if place.tied else "worse than the best"
        found = f"{pruner} | {winner} | {standing}, {place.spread()}"
        lines.append(f"| {found} | {cost.runs} | {cost.seconds:,.0f} | {cost.seconds / whole:.0%} |")
    return [*lines, "", origin(grid)]


def origin(rows: Sequence[Row]) -> str:
    """Say which commit, seeds and processor the numbers of some rows come from."""
    results = [result for row in rows for _, result in row.counted]
    commits = sorted({str(result.environment["git_commit"])[:7] for result in results})
    seeds = sorted({result.seed for result in results})
    machines = {(result.environment["processor"], result.environment["cores"]) for result in results}
    precisions = sorted({result.environment["precision"] for result in results})
    hardware = ", ".join(f"{cores} core{'s' if cores > 1 else ''} of an {name}" for name, cores in sorted(machines))
    numbers = ("seed " if len(seeds) == 1 else "seeds ") + ", ".join(map(str, seeds))
    return f"Commit {', '.join(commits)}; {numbers}; {hardware}; {', '.join(precisions)}."


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


TABLES: dict[str, Callable[[], list[str]]] = {
    "prefix-tiny": lambda: prefix_table("prefix-tiny"),
    "prefix-minilm": lambda: prefix_table("prefix-minilm"),
    "laptop-rate": lambda: rate_table("laptop-rate"),
    "pruning": pruning_table,
}


def filled(page: str) -> str:
    """Return the page with each table written anew."""
    return TABLE.sub(lambda found: found[1] + "\n" + "\n".join(TABLES[found[2]]()) + "\n\n" + found[3], page)


def main() -> None:
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    draw_prefix(["prefix-tiny", "prefix-minilm"], PICTURES / "prefix.png")


if __name__ == "__main__":
    main()
