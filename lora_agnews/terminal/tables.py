"""The tables that commands show: budgets, plans, leaderboards and results."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from lora_agnews.budget import Budget
from lora_agnews.config.rules import to_override
from lora_agnews.config.study import StudyConfig
from lora_agnews.results.cost import cost_of
from lora_agnews.results.monitor import MONITOR
from lora_agnews.results.ranking import short_names, tie_rule
from lora_agnews.results.record import RunResult, Status
from lora_agnews.results.row import TEST, Row, Run
from lora_agnews.terminal import console
from lora_agnews.terminal.console import note, print_line, print_table, short_path


def show_budget(budget: Budget, name: str) -> None:
    """Show parameters by part, with their shares of the budget and of the model."""
    print_line(f"Trainable parameters of {name}", style="italic")
    table = borderless_table("part", "parameters", "of the budget", "of the model")
    for part, number in [*budget.modules.items(), ("trained", budget.trainable)]:
        shares = (f"{number / budget.limit:.2%}", f"{number / budget.total:.4%}")
        table.add_row(part, f"{number:,}", *shares, style="bold" if part == "trained" else None)
    table.add_row("limit", f"{budget.limit:,}")
    table.add_row(
        "room" if budget.fits else "too many", f"{abs(budget.room):,}", f"{abs(budget.room) / budget.limit:.2%}"
    )
    table.add_row("whole model", f"{budget.total:,}")
    if budget.max_r is not None:
        table.add_row("largest r that fits", str(budget.max_r or "none"))
    print_table(table)


def show_layers(budget: Budget) -> None:
    """Show parameters by layer. Neighbouring layers with the same number share a row."""
    table = borderless_table("layers", "each", "parameters")
    neighbours: list[list[str]] = []
    for layer, size in budget.layers.items():
        before = neighbours[-1][-1] if neighbours else ""
        if before.isdigit() and layer == str(int(before) + 1) and size == budget.layers[before]:
            neighbours[-1].append(layer)
        else:
            neighbours.append([layer])
    for names in neighbours:
        each = budget.layers[names[0]]
        shown = names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"
        table.add_row(shown, f"{each:,}", f"{each * len(names):,}")
    print_table(table)


def show_ranks(ranks: dict[str, dict[str, int | None]]) -> None:
    """Show the largest r for each set of target modules (rows) and head (columns)."""
    table = borderless_table("largest r that fits, head:", *next(iter(ranks.values())))
    for number, (targets, heads) in enumerate(ranks.items()):
        style = "bold" if number == 0 else None
        table.add_row(targets, *("-" if r is None else f"{r:,}" for r in heads.values()), style=style)
    print_table(table)


def show_plan(points: Sequence[tuple[dict[str, Any], Budget | Exception]]) -> int:
    """Show a row per point: what varies, its parameters and whether it fits. Return the number of points that fit."""
    keys = list(dict.fromkeys(key for values, _ in points for key in values))  # some vary under a condition only
    table = borderless_table(*short_names(keys).values(), "parameters", "of the budget", "", left=len(keys))
    for column in table.columns:
        column.overflow = "fold"
    fitting, reasons = 0, list[str]()
    for values, budget in points:
        cells = [to_override(values[key]) if key in values else "-" for key in keys]
        if not isinstance(budget, Budget):
            reasons += [str(budget)] if str(budget) not in reasons else []
            verdict = f"refused ({reasons.index(str(budget)) + 1})"
            table.add_row(*cells, "-", "-", verdict, style="dim")
            continue
        fitting += budget.fits
        verdict = "fits" if budget.fits else f"{-budget.room:,} too many"
        shares = (f"{budget.trainable:,}", f"{budget.trainable / budget.limit:.2%}")
        table.add_row(*cells, *shares, verdict, style=None if budget.fits else "dim")
    print_table(table)
    for number, reason in enumerate(reasons, 1):
        print_line(f"({number}) {reason}")
    return fitting


def show_study(study: StudyConfig, points: Sequence[tuple[dict[str, Any], Budget | Exception]]) -> None:
    """Show the plan of a study. A study that draws its points as it goes has only their number."""
    print_line(f"Study {study.name}", style="italic")
    seeds = len(study.seeds)
    if study.trials and not points:
        print_line(f"points drawn by {study.sampler}: {study.trials}, seeds: {seeds}, runs: {study.trials * seeds}")
        return
    fitting = show_plan(points)
    print_line(f"points: {len(points)}, within the budget: {fitting}, seeds: {seeds}, runs: {fitting * seeds}")


def show_ranking(rows: Sequence[Row]) -> None:
    """Show the leaderboard, what its runs took together, and an explanation of its mark for ties."""
    print_table(fitting_ranking_table(rows, console.out.width))
    repeated = sum(row.repeated for row in rows)
    if repeated:
        note(f"older runs that a newer one of the same configuration and seed replaces: {repeated}")
    print_line(f"cost: {cost_of(rows)}", style="dim")
    if any(row.tied for row in rows):
        print_line(f"= {tie_rule(rows)}", style="dim")


def note_unranked(runs: Sequence[Run]) -> None:
    """Print a note for each run whose record can't be read, and one with the number of debug runs."""
    for _, result in runs:
        if result.status == Status.DAMAGED:
            note(str(result.error))
    debug = sum(result.is_debug for _, result in runs)
    if debug:
        note(f"not ranked, because they are debug runs: {debug}")


def fitting_ranking_table(rows: Sequence[Row], width: int) -> RenderableType:
    """Build the leaderboard for a terminal of this width: with a column per key that varies, if there is room.

    Otherwise the runs are named in one column or, where that is too narrow, numbered and named below the table.
    """
    keys = list(rows[0].values)
    named = [(row.name,) for row in rows]
    candidates = [ranking_table(rows, ["run"], named)]
    if keys:
        values = [[to_override(row.values[key]) for key in keys] for row in rows]
        candidates.insert(0, ranking_table(rows, keys, values, best=True))
    for table in candidates:
        if Measurement.get(console.out, console.out.options.update(max_width=1000), table).maximum <= width:
            return table
    legend = Table.grid("", "", padding=(0, 2, 0, 0))
    numbers = [str(number) for number in range(1, len(rows) + 1)]
    for number, (name,) in zip(numbers, named, strict=True):
        legend.add_row(number, Text(name, overflow="fold"))
    return Group(ranking_table(rows, ["run"], [(number,) for number in numbers]), "", legend)


def ranking_table(
    rows: Sequence[Row], keys: Sequence[str], names: Sequence[Sequence[str]], best: bool = False
) -> Table:
    """Build the leaderboard: a row per configuration, which begins with its `names` for the columns `keys`.

    Runs that are not counted are named by their status; the cost includes theirs. With `best` there is a column for the
    best seed.
    """
    columns = [MONITOR.label, *(["best"] if best else []), "test accuracy", "seeds", "trained", "cost [s]"]
    table = borderless_table(*keys, *columns, left=len(keys))
    for column in table.columns:
        column.no_wrap = True
    for row, name in zip(rows, names, strict=True):
        cells = [("= " if row.tied else "") + row.spread()]
        cells += [f"{MONITOR.best(row.scores()):.4f}" if row.n else "-"] if best else []
        cells += [row.spread(TEST), f"{row.n} + {row.not_counted}" if row.not_counted else str(row.n)]
        cells += [f"{row.trainable:,}" if row.trainable else "-", f"{row.cost:,.0f}"]
        table.add_row(*map(Text, [*name, *cells]), style=None if row.n else "dim")
    return table


def show_cache(folder: Path, entries: Sequence[Any]) -> None:
    """Show the entries of a cache (`data.cache.Entry`) and their sizes."""
    table = borderless_table(f"in {folder}", "MB")
    table.columns[0].overflow = "fold"
    for entry in entries:
        table.add_row(f"{entry.what}\n  {entry.path.relative_to(folder)}", f"{entry.size / 1e6:,.1f}")
    table.add_row("together", f"{sum(entry.size for entry in entries) / 1e6:,.1f}", style="bold")
    print_table(table)


def show_data(data: dict[str, Any]) -> None:
    """Show the number of rows per split, and a note on duplicate texts."""
    print_line(f"{data['train']:,} training, {data['val']:,} validation and {data['test']:,} test rows")
    places = {
        "within_train": "within the training file",
        "train_and_val": "in both training and validation",
        "train_and_test": "in both the training file and the test file",
    }
    found = [f"{data['duplicates'][key]:,} {place}" for key, place in places.items() if data["duplicates"].get(key)]
    if found:
        note(
            f"duplicate texts: {', '.join(found)}. All rows are kept. Texts in two splits make the "
            "accuracy of the second one too high: remove them from your files if you need it exact"
        )


def show_result(result: RunResult, run_dir: Path, more_lines: dict[str, str]) -> None:
    """Show metrics, parameters, time and speed of a run, and where to find it. Paths and commands are not wrapped."""
    lines: dict[str, str] = {}
    for split, name in (("val", "validation"), ("test", "test")):
        if f"{split}/accuracy" in result.metrics:
            accuracy, f1 = (result.metrics[f"{split}/{key}"] for key in ("accuracy", "macro_f1"))
            lines[name] = f"accuracy {accuracy:.4f}   macro-F1 {f1:.4f}   ({result.data[split]:,} rows)"
    lines.setdefault("test", "no test file given")
    trainable, total = result.budget["trainable"], result.budget["total"]
    lines["trained"] = f"{trainable:,} of {total:,} parameters ({trainable / total:.4%})"
    seconds, speed = result.seconds, result.throughput
    lines["time"] = f"{seconds['train']:.1f} s training, {seconds['total']:.1f} s in all"
    lines["speed"] = f"{speed['samples_per_second']:,.0f} samples/s, {speed['tokens_per_second']:,.0f} tokens/s"
    lines |= {"run": str(short_path(run_dir)), **more_lines}
    width = max(map(len, lines)) + 2
    print_line("")
    for name, text in lines.items():
        print_line(Text.assemble((f"{name:<{width}}", "bold"), text))


def borderless_table(*columns: str, left: int = 1) -> Table:
    """Build a table without borders. The first `left` columns are aligned left, the others, numbers, right."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number < left else "right")
    return table
