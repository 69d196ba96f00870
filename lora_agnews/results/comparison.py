"""Compare each configuration of a leaderboard with the best one, row by row: `compare --paired` and the report.

What is tied is decided in paired.py, whose error also covers the seeds.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lora_agnews.errors import UserError
from lora_agnews.results.estimates import LEVEL, RESAMPLES, SEED, Estimate
from lora_agnews.results.predictions import (
    PREDICTIONS_FILE,
    TEST_PREDICTIONS_FILE,
    is_correct,
    load_predictions,
    same_rows,
)
from lora_agnews.results.row import TEST, Row, best_row

Pair = tuple[np.ndarray, np.ndarray]  # predictions of two runs for the same rows
EXPLANATION = (
    "difference: accuracy minus that of the best configuration on the same rows, with the 95% interval of a bootstrap "
    "over these rows. p: exact McNemar test of each seed, not corrected for the number of configurations"
)


@dataclass(frozen=True)
class Difference:
    """Accuracy of a configuration minus that of the best one, and an exact McNemar test for each seed.

    The interval is that of new rows for the same seeds.
    """

    accuracy: Estimate
    p_values: dict[int, float]  # by seed

    def __str__(self) -> str:
        return f"{self.accuracy.value:+.4f} ({self.accuracy.low:+.4f} to {self.accuracy.high:+.4f})"

    @property
    def p_by_seed(self) -> str:
        """The p-values in words: "0: 0.031, 1: 0.5"."""
        return ", ".join(f"{seed}: {value:.2g}" for seed, value in self.p_values.items())


@dataclass(frozen=True)
class Comparison:
    """A configuration beside the best one.

    `test` is None unless both have a run with the same seed that stored test predictions.
    """

    row: Row
    validation: Difference
    test: Difference | None

    @property
    def by_split(self) -> dict[str, Difference]:
        """Name of a split -> difference on its rows."""
        return {"val": self.validation} | ({"test": self.test} if self.test else {})


@dataclass(frozen=True)
class BesideBest:
    """The best configuration by validation, and each other one beside it."""

    best: Row
    others: list[Comparison]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        others = [
            {"configuration": each.row.values} | {split: asdict(found) for split, found in each.by_split.items()}
            for each in self.others
        ]
        return {"best": self.best.values, "others": others}


def compare_with_best(rows: Sequence[Row]) -> BesideBest:
    """Compare the rows that have a counted run, in their order, with the best of them by validation.

    Raises: UserError, if there is nothing to compare, or as `compare`.
    """
    counted = [row for row in rows if row.n]
    if len(counted) < 2:
        found = "only one" if counted else "none"
        raise UserError(f"--paired: compares configurations that have a finished run; there is {found}")
    best = best_row(counted)
    return BesideBest(best, [compare(row, best) for row in counted if row is not best])


def compare(row: Row, best: Row) -> Comparison:
    """Compare the runs of a row with those of the best row, seed by seed.

    Raises: UserError, if they have no seed in common, or if two runs with the same seed have no predictions of the same
    rows.
    """
    validation = _difference(row, best, tested=False)
    if validation is None:
        folders = f"{row.counted[0][0]} and {best.counted[0][0]}"
        raise UserError(
            f"--paired: the configurations of {folders} have no seed in common; train both with the same seed"
        )
    return Comparison(row, validation, _difference(row, best, tested=True))


def _difference(row: Row, best: Row, tested: bool) -> Difference | None:
    file = TEST_PREDICTIONS_FILE if tested else PREDICTIONS_FILE
    ours, others = (
        {
            result.seed: folder
            for folder, result in each.counted
            if not tested or (TEST in result.metrics and (folder / file).exists())  # earlier versions stored none
        }
        for each in (row, best)
    )
    pairs = {seed: _pair(ours[seed], others[seed], file) for seed in sorted(ours.keys() & others.keys())}
    if not pairs:
        return None
    p_values = {seed: mcnemar(*pair) for seed, pair in pairs.items()}
    return Difference(bootstrap(list(pairs.values())), p_values)


def _pair(folder: Path, other: Path, file: str) -> Pair:
    """Load the predictions of two runs. Raises: UserError, unless both have a file and the rows are the same."""
    found = []
    for each in (folder, other):
        predictions = load_predictions(each, file)
        if predictions is None:
            raise UserError(f"--paired: {each} has no {file} that can be read; leave this run out or train it again")
        found.append(predictions)
    if not same_rows(*found):
        raise UserError(
            f"--paired: the rows in {file} of {folder} and {other} differ; compare runs with the same rows: the same "
            "data files, data.val_fraction and data.split_seed"
        )
    return found[0], found[1]


def mcnemar(first: np.ndarray, second: np.ndarray) -> float:
    """Return the exact two-sided p-value of equal accuracy, from the rows that only one of two runs gets right.

    Source: McNemar 1947, Note on the Sampling Error of the Difference Between Correlated Proportions or Percentages.
    """
    only_first = int((is_correct(first) & ~is_correct(second)).sum())
    number = int((is_correct(first) ^ is_correct(second)).sum())
    ways = term = 1  # binomial coefficients and their sum, as exact integers
    for k in range(min(only_first, number - only_first)):
        term = term * (number - k) // (k + 1)
        ways += term
    return min(1.0, float(2 * ways / 2**number))


def bootstrap(pairs: Sequence[Pair]) -> Estimate:
    """Return the mean difference in accuracy over pairs of runs, first minus second, and its interval over rows.

    A row that several seeds validate is drawn once for all of them. Drawing rows with replacement is drawing how often
    each value of their deviations occurs, of which there are few, so that 1,000 resamples take a millisecond.
    """
    rows, means, deviations = [], [], []
    for first, second in pairs:
        difference = is_correct(first).astype(float) - is_correct(second)
        rows.append(first["row"])
        means.append(difference.mean())
        deviations.append((difference - means[-1]) / len(difference) / len(pairs))
    _, row_of = np.unique(np.concatenate(rows), return_inverse=True)
    per_row = np.bincount(row_of, np.concatenate(deviations))
    values, counts = np.unique(per_row.round(15), return_counts=True)
    drawn = np.random.default_rng(SEED).multinomial(len(per_row), counts / len(per_row), RESAMPLES)
    mean = float(np.mean(means))
    low, high = np.percentile(mean + drawn @ values, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    return Estimate(mean, float(low), float(high))
