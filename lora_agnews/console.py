"""What a run shows on the terminal: the budget before, the results after, errors in one piece."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lora_agnews.budget import Budget
from lora_agnews.result import RunResult

out = Console()
err = Console(stderr=True, soft_wrap=True)


def show_budget(budget: Budget, name: str) -> None:
    """Parameters by module, with their share of the budget."""
    table = Table(
        title=f"Trainable parameters of {name}", title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0)
    )
    table.add_column("part")
    table.add_column("parameters", justify="right")
    table.add_column("of the budget", justify="right")
    for module, parameters in sorted(budget.modules.items(), key=lambda item: not item[0].startswith("lora")):
        table.add_row(module, f"{parameters:,}", f"{parameters / budget.limit:.2%}")
    table.add_section()
    table.add_row("trained", f"{budget.trainable:,}", f"{budget.trainable / budget.limit:.2%}", style="bold")
    table.add_row("limit", f"{budget.limit:,}", f"r <= {budget.max_r} fits")
    table.add_row("whole model", f"{budget.total:,}", f"{budget.trainable / budget.total:.4%} trained")
    out.print(table, "")


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


def notice(message: str) -> None:
    """One line the user should read; training goes on."""
    err.print(Text(f"note: {message}", style="yellow"))


def error(message: str) -> None:
    """What went wrong and the way out."""
    err.print(Text("error: ", style="bold red") + Text(message))


def _plain(text: str) -> Text:
    return Text(text, overflow="fold")
