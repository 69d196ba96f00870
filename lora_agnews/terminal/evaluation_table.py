"""The tables of `evaluate`: metrics, classes and confusion matrix."""

from lora_agnews.labels import LABELS
from lora_agnews.results.estimates import Estimate, Evaluation
from lora_agnews.terminal.console import print_line, print_table
from lora_agnews.terminal.tables import borderless_table


def show_evaluation(found: Evaluation) -> None:
    """Show metrics, classes and confusion matrix with their 95% intervals."""
    table = borderless_table("", "value", "95% interval", "")
    table.columns[-1].justify = "left"
    estimates = {"accuracy": found.accuracy, "macro-F1": found.macro_f1}
    losses = {"loss": found.metrics["test/loss"]}
    estimates["expected calibration error"] = found.calibration_error
    if found.calibrated:
        estimates["the same, calibrated"] = found.calibrated.calibration_error
        losses["the same, calibrated"] = found.calibrated.loss
    for name, each in estimates.items():
        method = "Wilson" if name == "accuracy" else "bootstrap"
        table.add_row(name, f"{each.value:.4f}", f"{each.low:.4f} to {each.high:.4f}", method)
    for name, loss in losses.items():
        table.add_row(name, f"{loss:.4f}")
    print_table(table)
    if found.calibrated:
        print_line(f"calibrated with temperature {found.calibrated.temperature:.4f}", style="dim")
    table = borderless_table("class", "precision (Wilson)", "recall (Wilson)", "F1 (bootstrap)")
    for name, scores in found.classes.items():
        table.add_row(name, *map(_interval, scores.values()))
    print_table(table)
    table = borderless_table("true \\ predicted", *LABELS)
    for name, counts, shares in zip(LABELS, found.counts, found.shares, strict=True):
        cells = [(f"{number:,}", *_interval(share).split()) for number, share in zip(counts, shares, strict=True)]
        table.add_row(name, *(f"{number}  {share}\n{' '.join(interval)}" for number, share, *interval in cells))
    print_table(table)


def _interval(each: Estimate) -> str:
    if each.value is None or each.low is None or each.high is None:
        return "-"
    return f"{each.value:.3f} ({each.low:.3f}-{each.high:.3f})"
