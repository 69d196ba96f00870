"""Averaging takes every choice of runs, and the mean of their probabilities."""

import numpy as np

from benchmarks.averaging import averaged


def test_each_choice_of_runs_is_averaged() -> None:
    probabilities = np.array([[[0.6, 0.4]], [[0.9, 0.1]], [[0.2, 0.8]]])  # three runs, one row of class 0
    labels = np.array([0])
    assert averaged(probabilities, labels, 1) == [1, 1, 0]
    assert averaged(probabilities, labels, 2) == [1, 0, 1]
    assert averaged(probabilities, labels, 3) == [1]
