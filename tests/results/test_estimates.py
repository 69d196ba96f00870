"""Intervals of shares are those of the literature."""

import pytest

from lora_agnews.results.estimates import Estimate, wilson_interval


@pytest.mark.parametrize(
    ("right", "number", "low", "high"),
    # Newcombe 1998, Two-sided confidence intervals for the single proportion, table I, method 3
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilsons_interval_is_that_of_the_literature(right: int, number: int, low: float, high: float) -> None:
    found = wilson_interval(right, number)
    assert found.value == right / number
    assert (found.low, found.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))
    mirrored = wilson_interval(number - right, number)
    assert mirrored.high == pytest.approx(1 - (found.low or 0))
    assert wilson_interval(0, 0) == Estimate(None, None, None)
