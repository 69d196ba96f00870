"""Correct probabilities for texts whose classes have other shares than the training rows.

Source: Saerens, Latinne and Decaestecker 2002, Adjusting the Outputs of a Classifier to New a Priori Probabilities.
Shapes: probabilities (rows, 4) float32, shares of the classes (4,) float64.
"""

import numpy as np

MOST_STEPS, CONVERGED = 1000, 1e-6


def reweight(probabilities: np.ndarray, trained: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return the probabilities under the shares `wanted` of a model that was trained under the shares `trained`."""
    weighted = probabilities * (wanted / trained).astype(np.float32)
    return np.asarray(weighted / weighted.sum(1, keepdims=True))


def estimate_shares(probabilities: np.ndarray, trained: np.ndarray) -> np.ndarray:
    """Return the most likely shares of the classes among the rows: expectation maximisation, from the training shares.

    The mean of the corrected probabilities becomes the next estimate, until no share changes by more than 1e-6.
    """
    shares = trained
    for _ in range(MOST_STEPS):
        weights = shares / trained
        found = weights * (probabilities.T @ (1 / (probabilities @ weights))) / len(probabilities)
        if np.abs(found - shares).max() < CONVERGED:
            return np.asarray(found / found.sum())
        shares = found
    return np.asarray(shares / shares.sum())
