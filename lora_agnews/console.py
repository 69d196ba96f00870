"""What a run shows on the terminal: the budget before, the results after, errors in one piece."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn, track
from rich.table import Table
from rich.text import Text

from lora_agnews.budget import Budget
from lora_agnews.config import LABELS, StudyConfig, spelled
from lora_agnews.estimate import Estimate, Evaluation
from lora_agnews.ranking import Row
from lora_agnews.result import RunResult

T = TypeVar("T")
MOST_COLUMNS = 4  # keys that vary, side by side; more of them share one column
out = Console(markup=False)  # what is shown may hold brackets
err = Console(stderr=True, soft_wrap=True, markup=False)


def show_budget(budget: Budget, name: str) -> None:
    """Parameters by part, with their shares of the budget and of the model."""
    out.print(f"Trainable parameters of {name}", style="italic", highlight=False, soft_wrap=True)
    table = _table("part", "parameters", "of the budget", "of the model")
    for part, number in [*budget.modules.items(), ("trained", budget.trainable)]:
        shares = (f"{number / budget.limit:.2%}", f"{number / budget.total:.4%}")
        table.add_row(part, f"{number:,}", *shares, style="bold" if part == "trained" else None)
    largest = {None: "", 0: "no r fits"}.get(budget.max_r, f"r <= {budget.max_r} fits")
    table.add_row("limit", f"{budget.limit:,}", largest)
    table.add_row(
        "room" if budget.fits else "too many", f"{abs(budget.room):,}", f"{abs(budget.room) / budget.limit:.2%}"
    )
    table.add_row("whole model", f"{budget.total:,}")
    out.print(table, "")


def show_layers(budget: Budget) -> None:
    """Parameters by layer, neighbours that train the same in one row."""
    table = _table("layers", "each", "parameters")
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
    out.print(table, "")


def show_ranks(ranks: dict[str, dict[str, int | None]]) -> None:
    """The largest r of each set of target modules (rows) and head (columns)."""
    table = _table("largest r that fits, head:", *next(iter(ranks.values())))
    for number, (targets, heads) in enumerate(ranks.items()):
        style = "bold" if number == 0 else None
        table.add_row(targets, *("-" if r is None else f"{r:,}" for r in heads.values()), style=style)
    out.print(table, "")


def show_plan(points: Sequence[tuple[dict[str, Any], Budget | Exception]]) -> int:
    """A row for each point: what varies, parameters, fits or not. Gives back how many fit."""
    table = _table(*points[0][0], "parameters", "of the budget", "", left=len(points[0][0]))
    fitting, reasons = 0, list[str]()
    for values, budget in points:
        if not isinstance(budget, Budget):
            reasons += [str(budget)] if str(budget) not in reasons else []
            verdict = f"refused ({reasons.index(str(budget)) + 1})"
            table.add_row(*map(spelled, values.values()), "-", "-", verdict, style="dim")
            continue
        fitting += budget.fits
        verdict = "fits" if budget.fits else f"{-budget.room:,} too many"
        shares = (f"{budget.trainable:,}", f"{budget.trainable / budget.limit:.2%}")
        table.add_row(*map(spelled, values.values()), *shares, verdict, style=None if budget.fits else "dim")
    out.print(table, "")
    for number, reason in enumerate(reasons, 1):
        out.print(Text(f"({number}) {reason}"), soft_wrap=True)
    return fitting


def show_study(study: StudyConfig, points: Sequence[tuple[dict[str, Any], Budget | Exception]]) -> None:
    """The plan of a study; one that draws its points as it goes has none."""
    out.print(f"Study {study.name}", style="italic", highlight=False)
    seeds = f"{len(study.seeds)} seeds"
    if not points:
        out.print(f"{study.trials} points drawn by {study.sampler} x {seeds}", highlight=False)
        return
    fitting = show_plan(points)
    out.print(f"{len(points)} points, {fitting} fit x {seeds} = {fitting * len(study.seeds)} runs", highlight=False)


def show_ranking(rows: Sequence[Row]) -> None:
    """The leaderboard: a row for each configuration, what did not come to its end in dim."""
    keys = list(rows[0].values) if 0 < len(rows[0].values) <= MOST_COLUMNS else []
    columns = ["val accuracy", "best", "test accuracy", "seeds", "trained", "seconds"]
    columns += ["not counted"] if any(row.not_counted for row in rows) else []
    table = _table(*(keys or ["run"]), *columns, left=len(keys) or 1)
    for column in table.columns[-len(columns) :]:
        column.no_wrap = True
    for row in rows:
        cells = [spelled(row.values[key]) for key in keys] or [row.name]
        if row.n:
            cells += [("= " if row.tied else "") + row.spread(), f"{max(row.scores()):.4f}"]
            cells += [row.spread("test/accuracy"), str(row.n)]
        else:
            cells += ["-", "-", "-", "0"]
        cells += [f"{row.trainable:,}" if row.trainable else "-", f"{row.seconds:,.0f}" if row.n else "-"]
        cells += [row.not_counted]
        table.add_row(*map(_plain, cells[: len(table.columns)]), style=None if row.n else "dim")
    out.print(table)
    if any(row.tied for row in rows):
        out.print("= within one standard error of the best validation accuracy", style="dim", highlight=False)


def show_data(data: dict[str, Any]) -> None:
    """Rows of each split, and a word on every text that stands in two places."""
    out.print(f"{data['train']:,} training, {data['val']:,} validation and {data['test']:,} test rows", highlight=False)
    found = {name.replace("_", " "): number for name, number in data["duplicates"].items() if number}
    if found:
        notice("texts found twice: " + ", ".join(f"{number:,} {name}" for name, number in found.items()))


def show_result(result: RunResult, run_dir: Path, view: dict[str, str]) -> None:
    """The figures one reports, where they lie, and how to look at them."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold")
    table.add_column()
    for split, name in (("val", "validation"), ("test", "test")):
        if f"{split}/accuracy" in result.metrics:
            accuracy, f1 = (result.metrics[f"{split}/{key}"] for key in ("accuracy", "macro_f1"))
            table.add_row(name, f"accuracy {accuracy:.4f}   macro-F1 {f1:.4f}   ({result.data[split]:,} rows)")
    if "test/accuracy" not in result.metrics:
        table.add_row("test", "no test file given")
    trainable, total = result.budget["trainable"], result.budget["total"]
    table.add_row("trained", f"{trainable:,} of {total:,} parameters ({trainable / total:.4%})")
    seconds, speed = result.seconds, result.throughput
    table.add_row("time", f"{seconds['train']:.1f} s training, {seconds['total']:.1f} s in all")
    table.add_row("speed", f"{speed['samples_per_second']:,.0f} samples/s, {speed['tokens_per_second']:,.0f} tokens/s")
    table.add_row("run", _plain(str(run_dir)))
    for name, text in view.items():
        table.add_row(name, _plain(text))
    out.print("", table)


def show_evaluation(found: Evaluation) -> None:
    """Metrics, classes and confusion, with their 95% intervals."""
    table = _table("", "value", "95% interval", "")
    table.columns[-1].justify = "left"
    for name, each, method in (
        ("accuracy", found.accuracy, "Wilson"),
        ("macro-F1", found.macro_f1, "bootstrap"),
        ("expected calibration error", found.calibration_error, "bootstrap"),
    ):
        table.add_row(name, f"{each.value:.4f}", f"{each.low:.4f} to {each.high:.4f}", method)
    table.add_row("loss", f"{found.metrics['test/loss']:.4f}")
    out.print(table, "")
    table = _table("class", "precision (Wilson)", "recall (Wilson)", "F1 (bootstrap)")
    for name, scores in found.classes.items():
        table.add_row(name, *map(_interval, scores.values()))
    out.print(table, "")
    table = _table("true \\ predicted", *LABELS)
    for name, counts, shares in zip(LABELS, found.counts, found.shares, strict=True):
        cells = [(f"{number:,}", *_interval(share).split()) for number, share in zip(counts, shares, strict=True)]
        table.add_row(name, *(f"{number}  {share}\n{' '.join(interval)}" for number, share, *interval in cells))
    out.print(table)


def progress(steps: Sequence[T], name: str) -> Iterable[T]:
    """The steps, under a bar that goes when they are done."""
    return track(steps, name, console=err, transient=True, disable=not err.is_terminal)


@contextmanager
def counting(name: str, total: int | None) -> Iterator[Callable[[float], None]]:
    """A bar of rows, gone when they are done; the function moves it on."""
    columns = (TextColumn(name), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task(name, total=total)
        yield lambda rows: bar.advance(task, rows)


@contextmanager
def quietly() -> Iterator[None]:
    """A run inside shows its progress bar and its notes alone."""
    out.quiet = True
    try:
        yield
    finally:
        out.quiet = False


@contextmanager
def watch(state: Callable[[], str]) -> Iterator[None]:
    """A line that is asked for anew every second; in a file, once at the end."""
    with Live(get_renderable=lambda: Text(state()), console=out, refresh_per_second=1, redirect_stderr=False):
        yield


def say(line: str) -> None:
    """One plain line."""
    out.print(Text(line), soft_wrap=True)


def notice(message: str) -> None:
    """One line the user should read; training goes on."""
    err.print(Text(f"note: {message}", style="yellow"))


def error(message: str) -> None:
    """What went wrong and the way out."""
    if not out.quiet:
        err.print(Text("error: ", style="bold red") + Text(message))


def _table(*columns: str, left: int = 1) -> Table:
    """Borderless; the first columns to the left, figures to the right."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number < left else "right")
    return table


def _interval(each: Estimate) -> str:
    if each.value is None or each.low is None or each.high is None:
        return "-"
    return f"{each.value:.3f} ({each.low:.3f}-{each.high:.3f})"


def _plain(text: str) -> Text:
    return Text(text, overflow="fold")
