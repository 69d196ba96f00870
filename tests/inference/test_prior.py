"""Corrected probabilities are those of Bayes' rule, and the estimated shares are the true ones."""

import numpy as np
import pytest

from lora_agnews.inference.prior import estimate_shares, reweight

EQUAL = np.full(4, 0.25)


def posteriors(shares: np.ndarray, rows: int, spread: float = 1.5) -> tuple[np.ndarray, np.ndarray]:
    """Rows of these shares, and what a model gives them that was trained on equal shares: Gaussian classes."""
    rng = np.random.default_rng(0)
    labels = rng.choice(4, size=rows, p=shares)
    points = spread * np.eye(4)[labels] + rng.normal(size=(rows, 4))
    likelihoods = np.exp(spread * points)  # up to a factor that all classes share
    return labels, (likelihoods / likelihoods.sum(1, keepdims=True)).astype(np.float32)


def test_reweighting_is_bayes_rule() -> None:
    found = reweight(np.array([[0.5, 0.3, 0.1, 0.1]], np.float32), EQUAL, np.array([0.1, 0.6, 0.2, 0.1]))
    expected = np.array([0.5 * 0.1, 0.3 * 0.6, 0.1 * 0.2, 0.1 * 0.1])
    assert found[0] == pytest.approx(expected / expected.sum())
    assert found.dtype == np.float32
    probabilities = posteriors(EQUAL, 50)[1]
    assert reweight(probabilities, EQUAL, EQUAL) == pytest.approx(probabilities, abs=1e-6)


@pytest.mark.parametrize("shares", [EQUAL, np.array([0.6, 0.2, 0.15, 0.05])])
def test_the_estimate_finds_the_shares_and_corrects_the_labels(shares: np.ndarray) -> None:
    labels, probabilities = posteriors(shares, 8000)
    found = estimate_shares(probabilities, EQUAL)
    assert found == pytest.approx(shares, abs=0.02)
    assert found.sum() == pytest.approx(1)
    accuracies = [(each.argmax(1) == labels).mean() for each in (reweight(probabilities, EQUAL, found), probabilities)]
    assert accuracies[0] > accuracies[1] + (0.03 if shares[0] > 0.5 else -0.005)


def test_a_class_that_does_not_occur_gets_next_to_nothing() -> None:
    probabilities = posteriors(np.array([0.5, 0.5, 0.0, 0.0]), 4000, spread=3)[1]
    assert estimate_shares(probabilities, EQUAL)[2:].max() < 0.01


def test_unequal_training_shares_are_taken_out_first() -> None:
    """The same rows, seen by a model that was trained on other shares."""
    shares, trained = np.array([0.4, 0.3, 0.2, 0.1]), np.array([0.1, 0.2, 0.3, 0.4])
    probabilities = reweight(posteriors(shares, 8000)[1], EQUAL, trained)
    assert estimate_shares(probabilities, trained) == pytest.approx(shares, abs=0.02)
