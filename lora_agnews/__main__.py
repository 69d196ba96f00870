"""The commands beside training: python -m lora_agnews COMMAND."""

import json
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from lora_agnews.budget import Budget
from lora_agnews.config.choices import ExportFormat
from lora_agnews.config.points import Points, expand_points
from lora_agnews.config.schema import TrainConfig
from lora_agnews.errors import UserError
from lora_agnews.files.atomic import check_output, checked_write, output_file
from lora_agnews.model import plan as planning
from lora_agnews.results import ranking
from lora_agnews.results.monitor import MONITOR
from lora_agnews.terminal import console, tables
from lora_agnews.terminal.console import exit_cleanly

FORMATS = ".csv, .tsv, .json, .jsonl, .parquet, .txt, .pkl"
RunDir = Annotated[Path, typer.Argument(metavar="RUN_DIR", help="a finished run")]
RunDirs = Annotated[list[Path], typer.Argument(metavar="RUN_DIR", help="finished runs; several are averaged")]
Folders = Annotated[list[Path], typer.Argument(metavar="DIR", help="runs, sweeps and studies, in any mix")]
Base = Annotated[str | None, typer.Option(metavar="FOLDER", help="local copy of the run's base model")]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON for scripts")]

app = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False)


def _show_version(wanted: bool) -> None:
    if wanted:
        console.print_line(f"lora_agnews {version('lora_agnews')}")
        raise typer.Exit


@app.callback()
def commands(
    wanted: Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True, help="show it")] = False,
) -> None:
    """LoRA on AG News under a budget of 1,000,000 trainable parameters."""


@app.command()
def budget(
    overrides: Annotated[list[str] | None, typer.Argument(help="overrides of train.py: model=tiny lora.r=4")] = None,
    plan: Annotated[bool, typer.Option("--plan", help="one row per point; implied by lora.r=1,2,4")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what `python train.py OVERRIDES` would train, part by part, and the largest r that fits. Loads no weights.

    Exit status: 0 if the run, or at least one point of the plan, fits; 1 if not; 2 if it can't be built.
    """
    with exit_cleanly():
        points = expand_points(overrides or [])
        fits = _show_plan(points, as_json) if plan or points[0][0] else _show_budget(points[0][1], as_json)
    raise typer.Exit(0 if fits else 1)


@app.command()
def compare(
    folders: Folders,
    sort: Annotated[str, typer.Option(help=f"{', '.join(ranking.SORT_KEYS)}, or a key that varies")] = MONITOR.key,
    as_csv: Annotated[bool, typer.Option("--csv", help="print CSV for spreadsheets")] = False,
    as_json: AsJson = False,
) -> None:
    """Show a leaderboard of runs. Runs that differ only by seed are one row, mean ± std, ranked by validation.

    Failed, partial and over-budget runs are listed and never counted. Exit status: 2 for a directory without a run.
    """
    with exit_cleanly():
        runs = ranking.find_runs(folders)
        tables.note_damaged(runs)
        rows = ranking.rank(runs, sort)
        if as_json:
            console.print_data(json.dumps([row.to_dict() for row in rows], indent=2) + "\n")
        elif as_csv:
            console.print_data(ranking.to_csv(rows))
        else:
            tables.show_ranking(rows)


@app.command()
def report(
    folders: Folders,
    output: Annotated[Path, typer.Option("--output", "-o", help="the HTML file")] = Path("report.html"),
) -> None:
    """Write one self-contained page: leaderboard, Pareto front, curves, effects, commands. Reading it needs no network.

    Exit status: 2 for a directory without a run.
    """
    from lora_agnews.results.report import write_report

    with exit_cleanly():
        runs = ranking.find_runs(folders)
        tables.note_damaged(runs)
        rows = ranking.rank(runs)
        names = [folder.resolve().name for folder in folders]
        check_output(output)
        with checked_write(output):
            write_report(rows, output, ", ".join(names) if len(names) < 4 else f"{len(names)} directories")
    console.print_line(str(output))


@app.command()
def evaluate(
    run_dir: RunDir,
    file: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="labelled file; default: test split")] = None,
    errors: Annotated[Path | None, typer.Option(metavar="FILE", help="write misclassified rows to this CSV")] = None,
    base: Base = None,
    as_json: AsJson = False,
) -> None:
    """Show accuracy, F1, confusion matrix and calibration of a finished run with 95% intervals, and draw pictures.

    On the run's own test split the numbers are those of its result.json. The pictures go to RUN_DIR/figures.
    """
    with exit_cleanly(), ExitStack() as files:
        from lora_agnews.inference import evaluation
        from lora_agnews.inference.classifier import open_run
        from lora_agnews.inference.submission import write_errors

        run = open_run(run_dir, base)
        rows = evaluation.rows_to_evaluate(run, file)
        if errors and errors.resolve() == Path(rows.origin).resolve():
            raise UserError(f"--errors={errors}: would overwrite the labelled file; choose another")
        errors_stream = files.enter_context(output_file(errors)) if errors else None  # checked before the work begins
        model = evaluation.load_in_run_precision(run)
        with console.progress_bar("evaluating", len(rows)) as done:
            found, probabilities = evaluation.evaluate(model, rows, done)
        if file is None:
            for difference in evaluation.differences(found.metrics, run.result):
                console.note(difference)
        if as_json:
            console.print_data(json.dumps(found.to_dict(), indent=2) + "\n")
        else:
            console.print_line(f"{run_dir} on {len(rows):,} rows of {rows.origin}\n")
            tables.show_evaluation(found)
        written = evaluation.draw(found, probabilities, rows.labels, run_dir / "figures", file.name if file else "")
        if errors_stream:
            written.append(f"{errors} ({write_errors(errors_stream, rows, probabilities):,} rows)")
    if not as_json:
        console.print_line("\n".join(written))


@app.command()
def predict(
    run_dirs: RunDirs,
    file: Annotated[str, typer.Argument(metavar="FILE", help=f"{FORMATS}; - reads lines from stdin")],
    output: Annotated[str, typer.Option("--output", "-o", metavar="OUT.csv", help="- writes to stdout")] = "-",
    text_column: Annotated[str, typer.Option(help="column with the texts, if the file has columns")] = "text",
    full: Annotated[bool, typer.Option("--full", help="also write text, label name and probabilities")] = False,
    half: Annotated[bool, typer.Option("--half", help="faster on a GPU; probabilities to two digits only")] = False,
    base: Base = None,
) -> None:
    """Classify the texts of a file: a CSV with the header ID,Label, IDs from 0 in the file's order, labels 0 to 3.

    Files of any size and texts of any length are accepted. OUT.csv appears when it is complete.
    """
    with exit_cleanly():
        from lora_agnews.inference.submission import predict_file

        number = predict_file(run_dirs, file, output, text_column, full, half, base)
    if output != "-":
        console.print_line(f"{output}: {number:,} rows")


@app.command()
def export(
    run_dir: RunDir,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="a new folder")],
    kind: Annotated[
        ExportFormat, typer.Option("--format", help="PEFT adapter, transformers model without PEFT, or ONNX")
    ] = ExportFormat.MERGED,
    force: Annotated[bool, typer.Option("--force", help="replace an earlier export")] = False,
    repo: Annotated[
        str | None, typer.Option("--push-to-hub", metavar="OWNER/NAME", help="upload it with your Hugging Face token")
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="make a new repository private")] = False,
    base: Base = None,
) -> None:
    """Export a finished run as a folder with a model card. Its logits are compared with the run's on real rows first.

    The format onnx needs more packages: pip install -e ".[onnx]". An export that fails leaves nothing behind.
    """
    with exit_cleanly():
        from lora_agnews.hub import push
        from lora_agnews.inference import export as exporting
        from lora_agnews.inference.classifier import open_run

        if private and not repo:
            raise UserError("--private: is for a repository; give --push-to-hub OWNER/NAME too")
        difference = exporting.export(open_run(run_dir, base), kind, output, force)
        rows = exporting.CHECKED_ROWS
        console.print_line(f"{output}: {kind}, logits within {difference:.1e} of the run's on {rows} rows")
        if repo:
            console.print_line(push(output, repo, private, exporting.MARK))


@app.command()
def demo(
    run_dirs: RunDirs,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="default: the first free one from 7860", show_default=False)
    ] = None,
    base: Base = None,
) -> None:
    """Serve a page to try headlines on a run, on this machine's loopback address only. Ctrl-C ends it.

    Needs one more package: pip install -e ".[demo]".
    """
    with exit_cleanly():
        from lora_agnews.inference.classifier import load_classifier, open_run
        from lora_agnews.inference.demo import serve

        classifier = load_classifier([open_run(run_dir, base) for run_dir in run_dirs])
        serve(classifier, ", ".join(run_dir.resolve().name for run_dir in run_dirs), port)


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
