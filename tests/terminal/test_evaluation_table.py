"""The tables of an evaluation show what was measured, its intervals, and nothing for a class without rows."""

import dataclasses

import pytest

from lora_agnews.labels import LABELS
from lora_agnews.results.estimates import Calibrated, Estimate, Evaluation, wilson_interval
from lora_agnews.terminal.evaluation_table import show_evaluation

NOTHING = Estimate(None, None, None)
SHARE = wilson_interval(9, 10)
EVALUATION = Evaluation(
    origin="rows.csv",
    rows=30,
    metrics={"test/loss": 0.5},
    accuracy=SHARE,
    macro_f1=SHARE,
    calibration_error=Estimate(0.1, 0.05, 0.15),
    classes={name: dict.fromkeys(("precision", "recall", "f1"), SHARE) for name in LABELS[:3]}
    | {LABELS[3]: dict.fromkeys(("precision", "recall", "f1"), NOTHING)},
    counts=[[9, 1, 0, 0]] * 3 + [[0, 0, 0, 0]],
    shares=[[SHARE] * 4] * 3 + [[NOTHING] * 4],
    calibrated=None,
)


def test_values_have_their_intervals(capsys: pytest.CaptureFixture[str]) -> None:
    show_evaluation(EVALUATION)
    shown = capsys.readouterr().out
    assert "0.9000" in shown
    assert f"{SHARE.low:.4f} to {SHARE.high:.4f}" in shown
    without_rows = next(line for line in shown.splitlines() if line.startswith("Sci/Tech"))
    assert without_rows.split() == ["Sci/Tech", "-", "-", "-"]
    assert "calibrated" not in shown


def test_a_calibrated_run_shows_both_errors(capsys: pytest.CaptureFixture[str]) -> None:
    show_evaluation(dataclasses.replace(EVALUATION, calibrated=Calibrated(1.5, 0.4, Estimate(0.02, 0.01, 0.03))))
    shown = capsys.readouterr().out
    assert "calibrated with temperature 1.5000" in shown
    assert "0.1000" in shown
    assert "0.0200" in shown
