"""python -m lora_agnews COMMAND: what one does beside training."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from lora_agnews import console, ranking
from lora_agnews import plan as planning
from lora_agnews.budget import Budget
from lora_agnews.config import TrainConfig, UserError
from lora_agnews.launch import Points, fail, load_space

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


@app.callback()
def commands() -> None:
    """LoRA on AG News under a budget of 1,000,000 trainable parameters."""


@app.command()
def budget(
    overrides: Annotated[list[str] | None, typer.Argument(help="overrides of train.py: model=tiny lora.r=4")] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="a row for each point; several values (lora.r=1,2,4) imply it")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="for scripts")] = False,
) -> None:
    """What `python train.py OVERRIDES` would train, part by part, and the largest r that fits. Loads no weights.

    Exit status: 0 if the run, or at least one point of the plan, fits; 1 if not; 2 if it can't be built.
    """
    try:
        points = load_space(overrides or [])
        fits = _plan(points, as_json) if plan or points[0][0] else _budget(points[0][1], as_json)
    except UserError as error:
        fail(str(error), status=2)
    except RuntimeError as error:
        fail(str(error), status=1)
    raise typer.Exit(0 if fits else 1)


@app.command()
def compare(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="runs, sweeps, studies, in any mix")],
    sort: Annotated[
        str, typer.Option(help="val/accuracy, test/accuracy, parameters, seconds, or a key that varies")
    ] = (ranking.CHOSEN_BY),
    as_csv: Annotated[bool, typer.Option("--csv", help="for spreadsheets")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="for scripts")] = False,
) -> None:
    """Leaderboard of runs: those that differ only by seed are one row, mean ± std, chosen by validation.

    Failed, partial and over-budget runs are listed and never counted. Exit status: 2 for a directory without a run.
    """
    try:
        rows = ranking.rank(ranking.find_runs(folders), sort)
    except UserError as error:
        fail(str(error), status=2)
    if as_json:
        print(json.dumps([row.to_dict() for row in rows], indent=2))
    elif as_csv:
        sys.stdout.write(ranking.to_csv(rows))
    else:
        console.show_ranking(rows)


@app.command()
def report(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="runs, sweeps, studies, in any mix")],
    output: Annotated[Path, typer.Option("--output", "-o", help="the page")] = Path("report.html"),
) -> None:
    """One self-contained page of runs: leaderboard, Pareto front, curves, effects, commands. No network to read it.

    Exit status: 2 for a directory without a run.
    """
    from lora_agnews.report import write_report

    try:
        rows = ranking.rank(ranking.find_runs(folders))
    except UserError as error:
        fail(str(error), status=2)
    names = [folder.resolve().name for folder in folders]
    try:
        write_report(rows, output, ", ".join(names) if len(names) < 4 else f"{len(names)} directories")
    except OSError as error:
        fail(f"--output={output}: can't be written ({error.strerror})", status=2)
    console.say(str(output))


def _budget(config: TrainConfig, as_json: bool) -> bool:
    predicted, ranks = planning.predict(config), planning.ranks(config)
    for note in planning.notes(config):
        console.notice(note)
    if as_json:
        print(json.dumps({"model": config.model.name} | predicted.to_dict() | {"largest_r": ranks}))
    else:
        console.show_budget(predicted, config.model.name)
        console.show_layers(predicted)
        console.show_ranks(ranks)
    return predicted.fits


def _plan(points: Points, as_json: bool) -> bool:
    budgets = planning.plan(config for _, config in points)
    if as_json:
        found = [b.to_dict() if isinstance(b, Budget) else {"error": str(b)} for b in budgets]
        print(json.dumps([{"overrides": point} | each for (point, _), each in zip(points, found, strict=True)]))
    else:
        fitting = console.show_plan([(point, b) for (point, _), b in zip(points, budgets, strict=True)])
        console.out.print(f"{len(points)} points, {fitting} fit", highlight=False)
    return any(isinstance(b, Budget) and b.fits for b in budgets)


if __name__ == "__main__":
    app()
