"""The tables of `benchmarks.gpu` in Markdown, from the numbers of gpu.json."""

import statistics
from collections.abc import Iterator
from math import nan
from pathlib import Path
from typing import Any

from benchmarks.contestants import CONTESTANTS, Found
from benchmarks.train import mean_and_deviation, peak_share, reached, table

Measured = dict[str, Found]
VERSIONS = ("torch", "lightning", "transformers", "peft")


def page(record: dict[str, Any], failed: list[str], peak_tflops: float, toy: bool) -> str:
    """Return the whole page."""
    settings, measured = record["settings"], record["measured"]
    lines = ["# On a GPU", "", *origin(record), ""]
    lines += ["**These are toy figures: they show that the measurements work, and no speed.**", ""] if toy else []
    lines += ["## The reference recipe", "", *recipe_table(measured, settings), ""]
    lines += ["## Beside `transformers.Trainer` with PEFT", "", *peer_table(measured, settings, peak_tflops), ""]
    lines += ["## Batch sizes, and `trainer.compile`", "", *batch_table(measured, settings, peak_tflops), ""]
    lines += [f"Failed: {', '.join(failed)}.", ""] if failed else []
    return "\n".join(lines)


def origin(record: dict[str, Any]) -> Iterator[str]:
    """Say where and with what the numbers were measured."""
    found, settings = record["environment"], record["settings"]["setup"]
    device = next((each["device"] for each in record["measured"].values() if "device" in each), "no device")
    versions = ", ".join(f"{name} {found['versions'][name]}" for name in VERSIONS)
    yield f"{device}; {found['processor']}, {found['cores']} cores; Python {found['python']}, {versions};"
    changed = " with changes" if found["git_dirty"] else ""
    yield f"commit {str(found['git_commit'])[:12]}{changed}; {record['date']}. {settings['precision']}."


def recipe_table(measured: Measured, settings: dict[str, Any]) -> Iterator[str]:
    """Yield one line for all seeds and one for the compiled run. Accuracies are means and standard deviations."""
    eager = [f"recipe, seed {seed}" for seed in range(settings["seeds"])]
    yield "| `experiment=seed` | trained | validation | test | training | samples/s | steps/s | memory |"
    yield "|---|---:|---:|---:|---:|---:|---:|---:|"
    for caption, names in (("seeds", eager), ("compiled, seed", ["recipe, compiled, seed 0"])):
        runs = {name.split()[-1]: measured[name] for name in names if name in measured}
        if runs:
            yield f"| {caption} {', '.join(runs)} | {recipe_cells(list(runs.values()))} |"
    for each in measured.values():
        if "data" in each:
            rows, compiled = each["data"], measured.get("recipe, compiled, seed 0")
            yield ""
            yield f"{rows['train']:,} training, {rows['val']:,} validation and {rows['test']:,} test rows."
            if compiled:
                yield f"The compilation took {compiled['seconds']['compile']:.0f} s of the training."
            return


def recipe_cells(runs: list[Found]) -> str:
    keys = ("val/accuracy", "test/accuracy")  # without test rows, the second is nan
    accuracies = [mean_and_deviation([run["metrics"].get(key, nan) for run in runs]) for key in keys]
    speed = {key: statistics.median(run["throughput"][key] for run in runs) for key in runs[0]["throughput"]}
    seconds = statistics.median(run["seconds"]["train"] for run in runs)
    cells = [f"{runs[0]['budget']['trainable']:,}", *accuracies, f"{seconds:,.0f} s"]
    cells += [f"{speed['samples_per_second']:,.0f}", f"{speed['steps_per_second']:.1f}"]
    return " | ".join([*cells, gib(speed["peak_memory_bytes"])])


def peer_table(measured: Measured, settings: dict[str, Any], peak_tflops: float) -> Iterator[str]:
    """Yield the table of `benchmarks.train` for the rounds in which every contestant came to its end."""
    names = [{name: f"{name}, seed {seed}" for name in CONTESTANTS} for seed in range(settings["seeds"])]
    complete = [each for each in names if measured.keys() >= set(each.values())]
    if not complete:
        yield "Not measured."
        return
    rounds, setup = [{name: measured[key] for name, key in each.items()} for each in complete], settings["setup"]
    caption = f"{Path(setup['model']).name}, batch size {setup['batch_size']}, steps {setup['warm_up'] + 1} to"
    yield from table(rounds, f"{caption} {setup['steps']}")
    yield ""
    for each in rounds:
        yield f"- {reached(each, setup['steps'])}"
    yield f"- {peak_share(rounds, peak_tflops)}"


def batch_table(measured: Measured, settings: dict[str, Any], peak_tflops: float) -> Iterator[str]:
    """Yield one line per batch size, compiled and not."""
    yield "| batch size | samples/s | real tokens/s | of the peak | memory | compilation |"
    yield "|---|---:|---:|---:|---:|---:|"
    for size in settings["batch_sizes"]:
        for name in (f"{size}", f"{size}, compiled"):
            found = measured.get(f"batch size {name}")
            if found is None:
                yield f"| {name} | failed | | | | |"
                continue
            share = f"{found['flops_per_second'] / peak_tflops / 1e12:.1%}" if peak_tflops else ""
            compilation = f"{found['compile_seconds']:.0f} s" if found["compile_seconds"] else ""
            speed = f"{found['samples_per_second']:,.0f} | {found['tokens_per_second']:,.0f}"
            yield f"| {name} | {speed} | {share} | {gib(found['peak_memory_bytes'])} | {compilation} |"


def gib(size: float) -> str:
    return f"{size / 2**30:.2f} GiB"
