"""python -m lora_agnews COMMAND: what one does beside training."""

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from lora_agnews import console, ranking
from lora_agnews import plan as planning
from lora_agnews.budget import Budget
from lora_agnews.config import TrainConfig, UserError
from lora_agnews.launch import Points, fail, load_space
from lora_agnews.output import whole_file, writable, writing

FORMATS = ".csv, .tsv, .json, .jsonl, .parquet, .txt, .pkl"
RunDir = Annotated[Path, typer.Argument(metavar="RUN_DIR", help="of a finished run")]
RunDirs = Annotated[
    list[Path], typer.Argument(metavar="RUN_DIR...", help="of finished runs; several: their mean probability")
]
Base = Annotated[
    str | None, typer.Option(metavar="FOLDER", help="a local copy of the base model, if the run's is out of reach")
]
AsJson = Annotated[bool, typer.Option("--json", help="for scripts")]


class Format(StrEnum):
    """Of an export."""

    adapter = "adapter"
    merged = "merged"
    onnx = "onnx"


app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


@app.callback()
def commands() -> None:
    """LoRA on AG News under a budget of 1,000,000 trainable parameters."""


@contextmanager
def told() -> Iterator[None]:
    """Ends with one message: status 2 for what the user gave, 1 for what went wrong, 130 for Ctrl-C.

    SIGTERM ends it as Ctrl-C does, so that nothing half written stays.
    """
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read the output has enough: `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except (UserError, RuntimeError, OSError) as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        fail(str(error), status=2 if isinstance(error, UserError) else 1)
    except KeyboardInterrupt:
        fail("interrupted", status=130)
    finally:
        signal.signal(signal.SIGTERM, before)


@app.command()
def budget(
    overrides: Annotated[list[str] | None, typer.Argument(help="overrides of train.py: model=tiny lora.r=4")] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="a row for each point; several values (lora.r=1,2,4) imply it")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """What `python train.py OVERRIDES` would train, part by part, and the largest r that fits. Loads no weights.

    Exit status: 0 if the run, or at least one point of the plan, fits; 1 if not; 2 if it can't be built.
    """
    with told():
        points = load_space(overrides or [])
        fits = _plan(points, as_json) if plan or points[0][0] else _budget(points[0][1], as_json)
    raise typer.Exit(0 if fits else 1)


@app.command()
def compare(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="runs, sweeps, studies, in any mix")],
    sort: Annotated[
        str, typer.Option(help="val/accuracy, test/accuracy, parameters, seconds, or a key that varies")
    ] = (ranking.CHOSEN_BY),
    as_csv: Annotated[bool, typer.Option("--csv", help="for spreadsheets")] = False,
    as_json: AsJson = False,
) -> None:
    """Leaderboard of runs: those that differ only by seed are one row, mean ± std, chosen by validation.

    Failed, partial and over-budget runs are listed and never counted. Exit status: 2 for a directory without a run.
    """
    with told():
        rows = ranking.rank(ranking.find_runs(folders), sort)
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

    with told():
        rows = ranking.rank(ranking.find_runs(folders))
        names = [folder.resolve().name for folder in folders]
        with writable(output):
            write_report(rows, output, ", ".join(names) if len(names) < 4 else f"{len(names)} directories")
    console.say(str(output))


@app.command()
def evaluate(
    run_dir: RunDir,
    file: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="labelled; else the run's test split")] = None,
    errors: Annotated[Path | None, typer.Option(metavar="FILE", help="a CSV of the rows that were missed")] = None,
    base: Base = None,
    as_json: AsJson = False,
) -> None:
    """Accuracy, F1, confusion and calibration of a finished run, each with a 95% interval, and pictures of them.

    On the run's own test split the numbers are those of its result.json. The pictures go to RUN_DIR/figures.
    """
    with told(), ExitStack() as files:
        from lora_agnews import evaluation
        from lora_agnews.inference import open_run
        from lora_agnews.submission import write_errors

        run = open_run(run_dir, base)
        rows = evaluation.rows_to_evaluate(run, file)
        if errors and errors.resolve() == Path(rows.origin).resolve():
            raise UserError(f"--errors={errors}: is the labelled file")
        missed = files.enter_context(whole_file(errors)) if errors else None  # before the work begins
        model = evaluation.load_as_it_ran(run)
        with console.counting("evaluating", len(rows)) as done:
            found, probabilities = evaluation.evaluate(model, rows, done)
        if file is None:
            for difference in evaluation.differences(found.metrics, run.result):
                console.notice(difference)
        if as_json:
            print(json.dumps(found.to_dict(), indent=2))
        else:
            console.say(f"{run_dir} on {len(rows):,} rows of {rows.origin}\n")
            console.show_evaluation(found)
        written = list[str]()
        try:
            name = file.name if file else ""
            pictures = evaluation.draw(found, probabilities, rows.labels, run_dir / "figures", name)
            written += map(str, pictures)
        except OSError as error:
            console.notice(f"no pictures: {run_dir / 'figures'} can't be written ({error.strerror})")
        if missed:
            written.append(f"{errors} ({write_errors(missed, rows, probabilities):,} rows)")
    if not as_json:
        console.say("\n" + "\n".join(written))


@app.command()
def predict(
    run_dirs: RunDirs,
    file: Annotated[str, typer.Argument(metavar="FILE", help=f"{FORMATS}; - reads lines from stdin")],
    output: Annotated[str, typer.Option("--output", "-o", metavar="OUT.csv", help="- is stdout")] = "-",
    text_column: Annotated[str, typer.Option(help="of a file that has columns")] = "text",
    full: Annotated[bool, typer.Option("--full", help="text, label name and probabilities besides")] = False,
    half: Annotated[bool, typer.Option("--half", help="faster on a GPU; probabilities to two digits only")] = False,
    base: Base = None,
) -> None:
    """Labels for the texts of a file: a CSV with the header ID,Label, IDs from 0 in the file's order, labels 0 to 3.

    Rows may be many, empty or long. OUT.csv appears when it is whole.
    """
    with told():
        from lora_agnews.data.files import whole_lines
        from lora_agnews.data.source import read_texts
        from lora_agnews.inference import load_classifier, open_run
        from lora_agnews.submission import write_predictions

        runs = [open_run(run_dir, base) for run_dir in run_dirs]
        if file == "-":
            if sys.stdin is None:
                raise UserError("-: stdin is closed")
            texts, rows = whole_lines(sys.stdin.buffer, "stdin"), None
        else:
            if output != "-" and Path(output).resolve() == Path(file).resolve():
                raise UserError(f"--output={output}: is the file with the texts")
            rows = sum(1 for _ in read_texts(Path(file), text_column))  # a bad row is told before the work begins
            if rows == 0:
                raise UserError(f"{file}: no rows")
            texts = read_texts(Path(file), text_column)
        with writing(output) as stream:
            classifier = load_classifier(runs, half)
            with console.counting("predicting", rows) as done:
                number = write_predictions(stream, classifier.stream(texts, done), full)
    if output != "-":
        console.say(f"{output}: {number:,} rows")


@app.command()
def export(
    run_dir: RunDir,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="a new folder")],
    kind: Annotated[
        Format, typer.Option("--format", help="PEFT adapter, transformers model without PEFT, or ONNX")
    ] = Format.merged,
    force: Annotated[bool, typer.Option("--force", help="replace an export that lies there")] = False,
    repo: Annotated[
        str | None, typer.Option("--push-to-hub", metavar="OWNER/NAME", help="upload it, with your Hugging Face token")
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="the repository, if it is a new one")] = False,
    base: Base = None,
) -> None:
    """A finished run as a folder for others, with a model card; its logits are checked on real rows first.

    onnx needs more packages: pip install -e ".[onnx]". Nothing is left of an export that fails.
    """
    with told():
        from lora_agnews import export as exporting
        from lora_agnews.hub import push
        from lora_agnews.inference import open_run

        if private and not repo:
            raise UserError("--private: is for a repository; give --push-to-hub OWNER/NAME too")
        difference = exporting.export(open_run(run_dir, base), kind.value, output, force)
        console.say(
            f"{output}: {kind.value}, logits within {difference:.1e} of the run's on {exporting.CHECKED_ROWS} rows"
        )
        if repo:
            console.say(push(output, repo, private, exporting.MARK))


@app.command()
def demo(
    run_dirs: RunDirs,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="else the first free one from 7860 on", show_default=False)
    ] = None,
    base: Base = None,
) -> None:
    """A page to try headlines on a run, on this machine's loopback address alone; Ctrl-C ends it.

    Needs one more package: pip install -e ".[demo]".
    """
    with told():
        if find_spec("gradio") is None:
            raise RuntimeError('demo needs one more package: pip install -e ".[demo]"')
        from lora_agnews.demo import serve
        from lora_agnews.inference import load_classifier, open_run

        classifier = load_classifier([open_run(run_dir, base) for run_dir in run_dirs])
        serve(classifier, ", ".join(run_dir.resolve().name for run_dir in run_dirs), port)


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
