"""Write the tables of docs/results.md and its figures from benchmarks/records.

    python -m benchmarks.results

A table stands between `<!-- records: NAME -->` and `<!-- end -->`. Its last line says where its numbers come from.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import pictures
from benchmarks.records import (
    by_number_of_rows,
    config_of,
    encoder_of,
    layers_of,
    load,
    load_json,
    training_seconds,
)
from lora_agnews.config.rules import to_override
from lora_agnews.results.cost import cost_of
from lora_agnews.results.row import TEST, Row

ROOT = Path(__file__).resolve().parent.parent
PAGE, PICTURES = ROOT / "docs" / "results.md", ROOT / "docs" / "pictures"
RECIPES = {("full", 1): "seed", ("lora", 2): "lean", ("full", 8): "best", ("lora", 4): "laptop"}  # by head and r
ROWS = [["rows-tiny", "seeds-tiny"], ["rows-mpnet", "laptop"]]  # records of each curve of accuracy against rows
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


def rate_table(name: str) -> list[str]:
    """Return the validation accuracy by learning rate."""
    rows = sorted(load(name), key=lambda row: float(row.values["lr"]))
    lines = ["| learning rate | trained | validation | training |", "|---:|---:|---|---:|"]
    for row in rows:
        lines.append(f"| {row.values['lr']} | {row.trainable:,} | {row.spread()} | {training_seconds(row):,.0f} s |")
    return [*lines, "", origin(rows)]


def best_rate_table(names: Sequence[str]) -> list[str]:
    """Return the validation accuracy by learning rate, one column per encoder."""
    encoders = [load(name) for name in names]
    scores = [{config_of(row, "optim", "lr"): row.spread() for row in rows} for rows in encoders]
    titles = " | ".join(encoder_of(rows[0]) for rows in encoders)
    lines = [f"| learning rate | {titles} |", f"|---:|{'---|' * len(names)}"]
    for rate in sorted(scores[0]):
        lines.append(f"| {rate:g} | {' | '.join(each[rate] for each in scores)} |")
    return [*lines, "", origin([row for rows in encoders for row in rows])]


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
    many = len(seeds) > 3 and seeds == list(range(seeds[0], seeds[-1] + 1))
    shown = f"{seeds[0]} to {seeds[-1]}" if many else ", ".join(map(str, seeds))
    numbers = f"seed{'s' if len(seeds) > 1 else ''} {shown}"
    return f"Commit {', '.join(commits)}; {numbers}; {hardware}; {', '.join(precisions)}."


def recipe_table(name: str) -> list[str]:
    """Return accuracy and seconds by recipe."""
    rows = sorted(load(name), key=lambda row: list(RECIPES).index(recipe_key(row)))
    lines = ["| recipe | trained | validation | test | training |", "|---|---:|---|---|---:|"]
    for row in rows:
        scores = f"{row.spread()} | {row.spread(TEST)} | {training_seconds(row):,.0f} s"
        lines.append(f"| `{RECIPES[recipe_key(row)]}` | {row.trainable:,} | {scores} |")
    return [*lines, "", origin(rows)]


def recipe_key(row: Row) -> tuple[str, int]:
    """Return what distinguishes the recipes: head and rank."""
    return config_of(row, "model", "head"), config_of(row, "model", "lora", "r")


def parameter_table(name: str) -> list[str]:
    """Return the accuracy by the number of trained parameters, with what varies between the rows."""
    rows = sorted(load(name), key=lambda row: row.trainable)
    adapters = [config_of(row, "model", "lora") for row in rows]
    columns = {
        "trained": [f"{row.trainable:,}" for row in rows],
        "head": [f"`{config_of(row, 'model', 'head')}`" for row in rows],
        "r": [str(lora["r"]) for lora in adapters],
        "adapters on": [to_override(lora["target_modules"]).strip("[]") for lora in adapters],
        "in": [layers_of(row) for row in rows],
        "lr": [str(config_of(row, "optim", "lr")) for row in rows],
        "validation": [row.spread() for row in rows],
        "test": [row.spread(TEST) for row in rows],
    }
    varying = {title: values for title, values in columns.items() if len(set(values)) > 1}
    lines = [f"| {' | '.join(varying)} |", "|---:" + "|---" * (len(varying) - 1) + "|"]
    lines += [f"| {' | '.join(values)} |" for values in zip(*varying.values(), strict=True)]
    return [*lines, "", origin(rows)]


def rows_table(curves: Sequence[Sequence[str]]) -> list[str]:
    """Return the test accuracy by the number of training rows, one column per curve, beside the SVM."""
    found = [by_number_of_rows(names) for names in curves]
    svm = {each["rows"]: each["test"] for each in load_json("svm")}
    firsts = [next(iter(rows.values())) for rows in found]
    titles = [f"{encoder_of(row)}, {layers_of(row)}" for row in firsts]
    lines = [f"| training rows | {' | '.join(titles)} | TF-IDF and a linear SVM |", f"|---:|{'---|' * len(titles)}---|"]
    for number in sorted({*svm, *(each for rows in found for each in rows)}):
        ours = [rows[number].spread(TEST) if number in rows else "" for rows in found]
        lines.append(f"| {number:,} | {' | '.join(ours)} | {f'{svm[number]:.4f}' if number in svm else ''} |")
    return [*lines, "", origin([row for rows in found for row in rows.values()])]


def averaging_table(name: str) -> list[str]:
    """Return the test accuracy of single seeds and of averaged ones."""
    lines = ["| averaged seeds | choices | mean | lowest | highest |", "|---:|---:|---:|---:|---:|"]
    for each in load_json("averaging"):
        numbers = " | ".join(f"{each[key]:.4f}" for key in ("mean", "lowest", "highest"))
        lines.append(f"| {each['averaged']} | {each['choices']} | {numbers} |")
    rows = load(name)
    return [*lines, "", f"One seed: test {rows[0].spread(TEST)}, validation {rows[0].spread()}.", "", origin(rows)]


TABLES: dict[str, Callable[[], list[str]]] = {
    "prefix-tiny": lambda: prefix_table("prefix-tiny"),
    "prefix-minilm": lambda: prefix_table("prefix-minilm"),
    "laptop": lambda: recipe_table("laptop"),
    "rows": lambda: rows_table(ROWS),
    "laptop-rate": lambda: rate_table("laptop-rate"),
    "heads": lambda: parameter_table("heads"),
    "parameters": lambda: parameter_table("pareto-mpnet"),
    "best-rate": lambda: best_rate_table(["best-rate-tiny", "best-rate-minilm", "best-rate-mpnet"]),
    "seeds": lambda: averaging_table("seeds-tiny"),
    "pruning": pruning_table,
    "recipes-tiny": lambda: recipe_table("recipes-tiny"),
    "recipes-tiny-all": lambda: recipe_table("recipes-tiny-all"),
    "recipes-minilm": lambda: recipe_table("recipes-minilm"),
    "recipes-minilm-16000": lambda: recipe_table("recipes-minilm-16000"),
    "recipes-mpnet": lambda: recipe_table("recipes-mpnet"),
}


def filled(page: str) -> str:
    """Return the page with each table written anew."""
    return TABLE.sub(lambda found: found[1] + "\n" + "\n".join(TABLES[found[2]]()) + "\n\n" + found[3], page)


def main() -> None:
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    pictures.draw_parameters("pareto-mpnet", PICTURES / "parameters.png")
    pictures.draw_rates("rate-rank-mpnet", PICTURES / "rates.png")
    pictures.draw_rows(ROWS, PICTURES / "rows.png")
    pictures.draw_prefix(["prefix-tiny", "prefix-minilm"], PICTURES / "prefix.png")


if __name__ == "__main__":
    main()
