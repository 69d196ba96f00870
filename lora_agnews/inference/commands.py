"""The commands that use finished runs: evaluate, predict, export and demo of python -m lora_agnews."""

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from lora_agnews.config.choices import Engine, ExportFormat, Prior, Weights
from lora_agnews.errors import UserError
from lora_agnews.files.atomic import output_file
from lora_agnews.inference.calibration import CALIBRATION_FILE
from lora_agnews.terminal import console
from lora_agnews.terminal.console import exit_cleanly
from lora_agnews.terminal.evaluation_table import show_evaluation

FORMATS = ".csv, .tsv, .json, .jsonl, .parquet, .txt, .pkl"
RunDir = Annotated[Path, typer.Argument(metavar="RUN_DIR", help="a finished run")]
RunDirs = Annotated[list[Path], typer.Argument(metavar="RUN_DIR", help="finished runs; several are averaged")]
Base = Annotated[str | None, typer.Option(metavar="FOLDER", help="local copy of the run's base model")]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON for scripts")]


def evaluate(
    run_dir: RunDir,
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="labelled file; default: test split")] = None,
    text_column: Annotated[str, typer.Option(help="column of FILE with the texts")] = "text",
    label_column: Annotated[str, typer.Option(help="column of FILE with the labels")] = "label",
    errors: Annotated[Path | None, typer.Option(metavar="FILE", help="write misclassified rows to this CSV")] = None,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="first fit a temperature on the validation rows, and keep it")
    ] = False,
    weights: Annotated[
        Weights, typer.Option("--checkpoint", help="of the best validation, or the last ones that were saved")
    ] = Weights.BEST,
    base: Base = None,
    as_json: AsJson = False,
) -> None:
    """Show the metrics of a finished run, with 95% intervals.

    Accuracy, F1, confusion matrix and calibration, also as pictures. On the run's own test split the numbers are those
    of its result.json. The pictures go to RUN_DIR/figures. With --calibrate, RUN_DIR/calibration.json has a temperature
    for the probabilities that predict, load_run, demo and export give from then on. The labels of a single run stay the
    same, unless predict has --prior.
    """
    with exit_cleanly(), ExitStack() as files:
        from lora_agnews.inference import evaluation
        from lora_agnews.inference.classifier import open_run
        from lora_agnews.inference.submission import write_errors
        from lora_agnews.inference.training_rows import read_split

        is_best = weights == Weights.BEST
        if calibrate and not is_best:
            raise UserError("--calibrate: fits the temperature of the best weights; leave out --checkpoint last")
        run = open_run(run_dir, base, calibrated=is_best and not calibrate)
        rows = evaluation.rows_to_evaluate(run, file, (text_column, label_column))
        validation = read_split(run, "--calibrate").validation if calibrate else None
        if errors and errors.resolve() == Path(rows.origin).resolve():
            raise UserError(f"--errors={errors}: would overwrite the labelled file; choose another")
        errors_stream = files.enter_context(output_file(errors)) if errors else None  # checked before the work begins
        model = evaluation.load_in_run_precision(run, weights)
        if validation:
            with console.progress_bar("calibrating", len(validation)) as done:
                evaluation.calibrate(model, validation, done)
        with console.progress_bar("evaluating", len(rows)) as done:
            found, probabilities = evaluation.evaluate(model, rows, done)
        if file is None and is_best:
            for difference in evaluation.differences(found.metrics, run.result):
                console.note(difference)
        if as_json:
            console.print_data(json.dumps(found.to_dict(), indent=2) + "\n")
        else:
            what = run_dir if is_best else f"{run_dir}, last checkpoint,"
            console.print_line(f"{what} on {len(rows):,} rows of {rows.origin}\n")
            show_evaluation(found)
        name = "-".join(([] if is_best else [weights.value]) + ([file.name] if file else []))
        written = evaluation.draw(found, probabilities, rows.labels, run_dir / "figures", name)
        if validation:
            written.append(f"{run_dir / CALIBRATION_FILE} (from {len(validation):,} validation rows)")
        if errors_stream:
            written.append(f"{errors} ({write_errors(errors_stream, rows, probabilities):,} rows)")
    if not as_json:
        console.print_line("\n".join(written))


def predict(
    run_dirs: RunDirs,
    file: Annotated[str, typer.Argument(metavar="FILE", help=f"{FORMATS}; - reads lines from stdin")],
    output: Annotated[str, typer.Option("--output", "-o", metavar="OUT.csv", help="- writes to stdout")] = "-",
    text_column: Annotated[str, typer.Option(help="column with the texts, if the file has columns")] = "text",
    prior: Annotated[
        Prior | None, typer.Option(help="shares of the classes among the texts, if they differ from the training rows")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="also write text, label name and probabilities")] = False,
    half: Annotated[bool, typer.Option("--half", help="for GPUs; probabilities to two digits only")] = False,
    base: Base = None,
    engine: Annotated[Engine, typer.Option(help="ray: many .parquet files at once, see above")] = Engine.LOCAL,
    workers: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="of --engine ray; default: one per GPU, or one")
    ] = None,
) -> None:
    """Classify the texts of a file and write a submission.

    The output is a CSV with the header ID,Label. IDs count from 0 in the order of the file, labels are 0 to 3. Files
    may have any number of rows. OUT.csv appears when it is complete.

    With --engine ray, FILE is a pattern in quotes such as "news/*.parquet", and -o names a directory, which gets one
    .parquet file for each input. The same command again classifies the files that are missing there. It needs the
    extra ray.
    """
    if engine == Engine.RAY:
        with exit_cleanly():
            if output == "-":
                raise UserError("--engine ray: writes files; name a directory with -o")
            if prior:
                raise UserError(f"--prior {prior}: is not for --engine ray; leave one of them out")
            from lora_agnews.inference.ray_pool import predict_files

            rows, written, there = predict_files(run_dirs, file, Path(output), text_column, full, half, base, workers)
        before = f", files done before: {there}" if there else ""
        console.print_line(f"{output}: files written: {written}, rows: {rows:,}{before}")
        return
    with exit_cleanly():
        if workers:
            raise UserError("--workers: is for --engine ray; leave it out")
        from lora_agnews.inference.submission import predict_file

        number = predict_file(run_dirs, file, output, text_column, full, half, base, prior)
    if output != "-":
        console.print_line(f"{output}: {number:,} rows")


def export(
    run_dir: RunDir,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="a new folder")],
    kind: Annotated[
        ExportFormat, typer.Option("--format", help="PEFT adapter, transformers model without PEFT, or ONNX")
    ] = ExportFormat.MERGED,
    quantize: Annotated[
        bool, typer.Option("--quantize", help="int8 weights, only for onnx: smaller and less exact")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="replace an earlier export")] = False,
    repo: Annotated[str | None, typer.Option("--push-to-hub", metavar="OWNER/NAME", help="upload it, too")] = None,
    private: Annotated[bool, typer.Option("--private", help="make a new repository private")] = False,
    base: Base = None,
) -> None:
    """Export a finished run as a folder with a model card.

    Its logits, or with --quantize its labels, are compared with the run's on real rows first. The format onnx needs
    the extra onnx. An export that fails leaves nothing behind.
    """
    with exit_cleanly():
        from lora_agnews.hub import push
        from lora_agnews.inference import export as exporting
        from lora_agnews.inference.classifier import open_run

        if private and not repo:
            raise UserError("--private: is for a repository; give --push-to-hub OWNER/NAME too")
        agreement = exporting.export(open_run(run_dir, base), kind, output, force, quantize)
        console.print_line(f"{output}: {kind}{' in int8' if quantize else ''}, {agreement}")
        if repo:
            console.print_line(push(output, repo, private, exporting.MARK))


def demo(
    run_dirs: RunDirs,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="default: a free one from 7860")] = None,
    base: Base = None,
) -> None:
    """Serve a page to try headlines on a run.

    Only on this machine's loopback address; Ctrl-C ends it. It needs the extra demo.
    """
    with exit_cleanly():
        from lora_agnews.inference.classifier import load_classifier, open_run
        from lora_agnews.inference.demo import serve

        classifier = load_classifier([open_run(run_dir, base) for run_dir in run_dirs])
        serve(classifier, ", ".join(run_dir.resolve().name for run_dir in run_dirs), port)
