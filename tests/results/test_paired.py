"""Paired differences equal counts by hand, and their standard error is the spread that a simulation finds."""

import math
from pathlib import Path

import numpy as np
import pytest

from lora_agnews.results.paired import Difference, Predictions, paired_difference, predictions_by_seed
from lora_agnews.results.predictions import RECORD
from lora_agnews.results.record import RunResult
from tests.records import save_record, save_scored


def predictions(rows: np.ndarray, correct: np.ndarray) -> np.ndarray:
    found = np.zeros(len(rows), RECORD)
    found["row"], found["text"], found["predicted"] = rows, rows, np.where(correct, 0, 1)
    return found


def pair(seed: int, first: str, second: str, start: int = 0) -> tuple[Predictions, Predictions]:
    """Return the predictions of two runs on the same rows; a 1 stands for a correct one."""
    rows = np.arange(start, start + len(first))
    found = (predictions(rows, np.array(list(text)) == "1") for text in (first, second))
    one, two = ({seed: each} for each in found)
    return one, two


def compare(*pairs: tuple[Predictions, Predictions]) -> Difference:
    """Compare two configurations that have at least one pair of runs."""
    first = {seed: found for one, _ in pairs for seed, found in one.items()}
    second = {seed: found for _, two in pairs for seed, found in two.items()}
    found = paired_difference(first, second)
    assert found is not None
    return found


def test_with_one_seed_the_error_is_that_of_a_paired_sample_of_rows() -> None:
    found = compare(pair(0, "1111100000", "1100010000"))
    differences = [0, 0, 1, 1, 1, -1, 0, 0, 0, 0]
    assert found.mean == pytest.approx(0.2)
    assert found.standard_error == pytest.approx(np.std(differences, ddof=1) / math.sqrt(10))
    assert found.pairs == 1


def test_rows_that_both_get_right_or_wrong_do_not_add_to_the_error() -> None:
    """One row differs in 400: the binomial error of either accuracy would be six times as large."""
    found = compare(pair(0, "1" * 360 + "0" * 40, "1" * 359 + "0" * 41))
    assert (found.mean, found.standard_error) == (pytest.approx(1 / 400), pytest.approx(1 / 400))
    assert math.sqrt(0.9 * 0.1 / 400) / found.standard_error == pytest.approx(6)


def test_seeds_that_vary_more_than_their_rows_explain_make_the_error_larger() -> None:
    found = compare(pair(0, "1111111111", "0000000011"), pair(1, "0000000011", "1111111111", start=10))
    assert found.mean == pytest.approx(0.0)
    assert found.standard_error == pytest.approx(np.std([0.8, -0.8], ddof=1) / math.sqrt(2))


def test_seeds_that_agree_by_chance_do_not_hide_the_error_of_the_rows() -> None:
    pairs = [pair(seed, "1111100000", "1100010000", start=10 * seed) for seed in (0, 1)]
    assert compare(*pairs).standard_error == pytest.approx(compare(pairs[0]).standard_error / math.sqrt(2))


def test_a_row_that_two_seeds_validate_counts_once() -> None:
    pairs = [pair(seed, "1111100000", "1100010000") for seed in (0, 1)]
    found, single = compare(*pairs), compare(pairs[0])
    assert (found.mean, found.pairs) == (pytest.approx(single.mean), 2)
    assert found.standard_error == pytest.approx(single.standard_error)


def test_only_seeds_that_both_have_on_the_same_rows_are_pairs() -> None:
    first, second = pair(0, "110", "100")
    assert paired_difference(first, {1: second[0]}) is None
    assert paired_difference(first, {0: second[0][:2]}) is None
    assert paired_difference({}, {}) is None
    assert compare((first | {5: first[0]}, second | {6: second[0]})).pairs == 1


@pytest.mark.parametrize(("seed_spread", "share"), [(0.0, 0.1), (0.04, 0.1), (0.04, 0.5)])
def test_the_standard_error_is_the_spread_over_new_rows_and_new_seeds(seed_spread: float, share: float) -> None:
    """Two configurations with the same accuracy; each seed validates on its own share of the training rows."""
    rng = np.random.default_rng(0)
    size, seeds, means, variances = 800, 4, [], []
    for _ in range(600):
        hard = rng.beta(4, 1, size)  # how often a row of these training rows is predicted correctly
        lean = rng.normal(0, 0.1, size)  # which of the two configurations a row is easier for
        runs: tuple[Predictions, Predictions] = {}, {}
        for seed in range(seeds):
            rows = np.sort(rng.permutation(size)[: int(share * size)])
            for sign, found in zip((1, -1), runs, strict=True):
                chance = hard[rows] + sign * lean[rows] + rng.normal(0, seed_spread)
                found[seed] = predictions(rows, rng.random(len(rows)) < chance)
        difference = compare(runs)
        means.append(difference.mean)
        variances.append(difference.standard_error**2)
    assert 0.9 < math.sqrt(np.mean(variances)) / np.std(means) < 1.25


def test_runs_are_read_by_seed_and_those_without_predictions_are_left_out(tmp_path: Path) -> None:
    save_scored(tmp_path / "a", [True, False], "seed=3")
    save_record(tmp_path / "b", 0.5, "seed=4")
    runs = [(tmp_path / name, RunResult.load(tmp_path / name)) for name in ("a", "b")]
    assert {seed: len(found) for seed, found in predictions_by_seed(runs).items()} == {3: 2}
