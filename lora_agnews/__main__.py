"""The commands: lora-agnews COMMAND, or python -m lora_agnews COMMAND."""

import json
import runpy
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from lora_agnews.budget import Budget
from lora_agnews.config.choices import CacheAction
from lora_agnews.config.compose import hydra_initialized
from lora_agnews.config.points import Points, expand_points
from lora_agnews.config.schema import TrainConfig
from lora_agnews.config.scripts import SCRIPTS
from lora_agnews.files.atomic import check_output, checked_write
from lora_agnews.inference.commands import AsJson, demo, evaluate, export, predict
from lora_agnews.model import plan as planning
from lora_agnews.results import ranking
from lora_agnews.results.comparison import compare_with_best
from lora_agnews.results.monitor import MONITOR
from lora_agnews.terminal import console, tables
from lora_agnews.terminal.console import exit_cleanly
from lora_agnews.terminal.paired_table import show_paired

PASS_ON = {"ignore_unknown_options": True, "allow_extra_args": True}  # all arguments are those of the script
Folders = Annotated[list[Path], typer.Argument(metavar="DIR", help="runs, sweeps and studies, in any mix")]

app = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False)


def _show_version(wanted: bool) -> None:
    if wanted:
        console.print_line(f"lora_agnews {version('lora_agnews')}")
        raise typer.Exit


@app.callback()
def commands(
    wanted: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="show the version")
    ] = False,
) -> None:
    """LoRA on AG News under a budget of 1,000,000 trainable parameters."""


@app.command(add_help_option=False, context_settings=PASS_ON)
def train(context: typer.Context) -> None:
    """Train one run, or with -m one run for each point of a sweep; the same as train.py."""
    _run_script("train.py", context.args)


@app.command(add_help_option=False, context_settings=PASS_ON)
def sweep(context: typer.Context) -> None:
    """Run a study; the same as sweep.py."""
    _run_script("sweep.py", context.args)


@app.command()
def budget(
    overrides: Annotated[list[str] | None, typer.Argument(help="overrides of train.py: model=tiny lora.r=4")] = None,
    plan: Annotated[bool, typer.Option("--plan", help="one row per point; implied by lora.r=1,2,4")] = False,
    config_dir: Annotated[
        str | None, typer.Option("--config-dir", metavar="DIR", help="own experiments: DIR/experiment/NAME.yaml")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what a run would train, and what would fit the budget.

    Counts the parameters of `python train.py OVERRIDES` part by part, without loading weights, and the largest r that
    fits.

    Exit status: 0 if the run, or at least one point of the plan, fits; 1 if not; 2 if it can't be built.
    """
    with exit_cleanly(), hydra_initialized(config_dir):
        points = expand_points(overrides or [])
        fits = _show_plan(points, as_json) if plan or points[0][0] else _show_budget(points[0][1], as_json)
    raise typer.Exit(0 if fits else 1)


@app.command()
def compare(
    folders: Folders,
    sort: Annotated[str, typer.Option(help=f"{', '.join(ranking.SORT_KEYS)}, or a key that varies")] = MONITOR.key,
    as_csv: Annotated[bool, typer.Option("--csv", help="print CSV for spreadsheets")] = False,
    as_json: AsJson = False,
    paired: Annotated[bool, typer.Option("--paired", help="each row beside the best one, on the same rows")] = False,
) -> None:
    """Show a leaderboard of runs.

    Runs that differ only by seed are one row, mean ± std, ranked by validation. Failed, interrupted and over-budget
    runs are listed and never counted. Exit status: 2 for a directory without a run, and with --paired for runs that
    have no predictions of the same rows.
    """
    with exit_cleanly():
        if paired and as_csv:
            raise typer.BadParameter(
                "has no columns for --paired; use --json, or leave one of them out", None, None, "--csv"
            )
        runs = ranking.find_runs(folders)
        tables.note_unranked(runs)
        rows = ranking.rank(runs, sort)
        beside_best = compare_with_best(rows) if paired else None
        if as_json:
            values = beside_best.to_dict() if beside_best else [row.to_dict() for row in rows]
            console.print_data(json.dumps(values, indent=2) + "\n")
        elif as_csv:
            console.print_data(ranking.to_csv(rows))
        else:
            tables.show_ranking(rows)
            if beside_best:
                show_paired(beside_best)


@app.command()
def report(
    folders: Folders,
    output: Annotated[Path, typer.Option("--output", "-o", help="the HTML file")] = Path("report.html"),
) -> None:
    """Write a page that compares runs.

    It has leaderboard, Pareto front, curves, effects and commands, and needs no network.
    Exit status: 2 for a directory without a run.
    """
    from lora_agnews.results.report import write_report

    with exit_cleanly():
        runs = ranking.find_runs(folders)
        tables.note_unranked(runs)
        rows = ranking.rank(runs)
        names = [folder.resolve().name for folder in folders]
        check_output(output)
        with checked_write(output):
            write_report(rows, output, ", ".join(names) if len(names) < 4 else f"{len(names)} directories")
    console.print_line(str(output))


@app.command()
def cache(
    action: Annotated[CacheAction, typer.Argument(help="list: show what is there; clear: delete all of it")],
    cache_dir: Annotated[str | None, typer.Option("--dir", metavar="DIR", help="data.cache_dir of the runs")] = None,
) -> None:
    """Show or empty the cache of tokens, hidden states and rows.

    Runs that need what is deleted compute it again.
    """
    with exit_cleanly():
        from lora_agnews.data.cache import clear_cache, default_cache, list_cache

        folder = Path(cache_dir).expanduser() if cache_dir else default_cache()
        if action == CacheAction.CLEAR:
            console.print_line(f"{folder}: {clear_cache(folder) / 1e9:.2f} GB deleted")
        else:
            tables.show_cache(folder, list_cache(folder))


for command in (evaluate, predict, export, demo):
    app.command()(command)


def _run_script(name: str, arguments: list[str]) -> None:
    """Run a script as `python NAME ARGUMENTS` does. Hydra reads its arguments from sys.argv."""
    script = str(SCRIPTS / name)
    sys.argv = [script, *arguments]
    runpy.run_path(script, run_name="__main__")


def _show_budget(config: TrainConfig, as_json: bool) -> bool:
    predicted, ranks = planning.predict(config), planning.ranks(config)
    for text in planning.notes(config):
        console.note(text)
    if as_json:
        values = {"model": config.model.name} | predicted.to_dict() | {"largest_r": ranks}
        console.print_data(json.dumps(values) + "\n")
    else:
        tables.show_budget(predicted, config.model.name)
        tables.show_layers(predicted)
        tables.show_ranks(ranks)
    return predicted.fits


def _show_plan(points: Points, as_json: bool) -> bool:
    budgets = planning.plan(config for _, config in points)
    if as_json:
        found = [each.to_dict() if isinstance(each, Budget) else {"error": str(each)} for each in budgets]
        values = [{"overrides": point} | each for (point, _), each in zip(points, found, strict=True)]
        console.print_data(json.dumps(values) + "\n")
    else:
        fitting = tables.show_plan([(point, each) for (point, _), each in zip(points, budgets, strict=True)])
        console.print_line(f"points: {len(points)}, within the budget: {fitting}")
    return any(isinstance(each, Budget) and each.fits for each in budgets)


if __name__ == "__main__":
    app()
