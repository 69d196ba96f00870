"""The monitored metric: its direction decides what is better, best and first."""

import math

import pytest

from lora_agnews.results.monitor import MONITOR, Monitor


def test_the_metric_that_decides_is_accuracy_on_the_validation_rows() -> None:
    assert (MONITOR.key, MONITOR.mode, MONITOR.label) == ("val/accuracy", "max", "val accuracy")


@pytest.mark.parametrize(
    ("mode", "best", "worst", "ordered"),
    [("max", 0.9, -math.inf, [0.9, 0.5, 0.1]), ("min", 0.1, math.inf, [0.1, 0.5, 0.9])],
)
def test_the_mode_decides_what_is_best(mode: str, best: float, worst: float, ordered: list[float]) -> None:
    monitor, values = Monitor("val/macro_f1", mode), [0.5, 0.9, 0.1]
    assert monitor.best(values) == best
    assert monitor.worst == worst
    assert sorted(values, key=monitor.cost) == ordered
    assert all(monitor.is_better(value, monitor.worst) for value in values)
    assert monitor.is_better(ordered[0], ordered[1])
    assert not monitor.is_better(ordered[1], ordered[0])
    assert not monitor.is_better(0.5, 0.5)
    assert monitor.label == "val macro f1"
