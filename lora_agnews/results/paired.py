"""Compare two configurations by the paired predictions of their runs on the same validation rows."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lora_agnews.results.predictions import is_correct, load_predictions, same_rows
from lora_agnews.results.row import Run

Predictions = dict[int, np.ndarray]  # seed -> predictions of the run with this seed


@dataclass(frozen=True)
class Difference:
    """Mean difference in accuracy between two configurations, first minus second, over pairs of runs."""

    mean: float
    standard_error: float
    pairs: int

    @property
    def is_tie(self) -> bool:
        """Whether the first is at most one standard error ahead of the second."""
        return self.mean <= self.standard_error + 1e-9  # a difference in one row equals its error up to rounding


def predictions_by_seed(runs: Sequence[Run]) -> Predictions:
    """Read the predictions of the runs of a configuration. Runs without any are left out."""
    found = {result.seed: load_predictions(folder) for folder, result in runs}
    return {seed: predictions for seed, predictions in found.items() if predictions is not None}


def paired_difference(first: Predictions, second: Predictions) -> Difference | None:
    """Return the difference over the seeds that both have with the same rows; None if there is no such seed.

    The error covers two sources: the rows, and the part of the variance between seeds that the rows do not explain:
    variance(rows) + max(0, variance(seeds) - variance(rows within seeds)). A row that several seeds validate
    is one row. Source: two-way clustering, Cameron, Gelbach and Miller 2011, Robust Inference with Multiway Clustering;
    paired differences between models, E. Miller 2024, Adding Error Bars to Evals, arXiv 2411.00640.
    """
    seeds = [seed for seed in first if seed in second and same_rows(first[seed], second[seed])]
    if not seeds:
        return None
    rows, deviations, means = [], [], []
    for seed in seeds:
        difference = is_correct(first[seed]).astype(float) - is_correct(second[seed])
        number = len(difference)
        means.append(difference.mean())
        rows.append(first[seed]["row"])
        deviations.append((difference - means[-1]) / math.sqrt(number * max(1, number - 1)) / len(seeds))
    per_run = np.concatenate(deviations)
    _, row_of = np.unique(np.concatenate(rows), return_inverse=True)
    over_rows = float((np.bincount(row_of, per_run) ** 2).sum())
    over_seeds = float(np.var(means, ddof=1)) / len(seeds) if len(seeds) > 1 else 0.0
    variance = over_rows + max(0.0, over_seeds - float((per_run**2).sum()))
    return Difference(float(np.mean(means)), math.sqrt(variance), len(seeds))
