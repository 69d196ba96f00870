"""What `predict --prior estimate` gains if the classes of the texts have other shares, and what it costs if they don't.

    python -m benchmarks.prior RUN_DIR [--file labelled.csv]    # default: the run's test split

The labelled rows are drawn again with other shares of the classes: --draws times --rows rows for each shift. The gain
is a difference in accuracy on the same rows, mean and standard deviation over the draws. "known" corrects with the true
shares, which nobody has. If the run is calibrated, there is a second table with its calibrated probabilities.
"""

import argparse
from pathlib import Path

import numpy as np

from lora_agnews.inference.classifier import load_classifier, open_run
from lora_agnews.inference.evaluation import rows_to_evaluate
from lora_agnews.inference.prior import estimate_shares, reweight
from lora_agnews.inference.training_rows import training_prior

SHIFTS = {"no shift": 0.25, "one class 40%": 0.4, "one class 55%": 0.55, "one class 70%": 0.7, "one class 85%": 0.85}


def draw(labels: np.ndarray, shares: np.ndarray, rows: int, rng: np.random.Generator) -> np.ndarray:
    """Return indices of rows whose classes have these shares, with replacement."""
    classes = rng.choice(len(shares), size=rows, p=shares)
    members = [np.flatnonzero(labels == label) for label in range(len(shares))]
    return np.array([rng.choice(members[label]) for label in classes])


def gains(
    probabilities: np.ndarray, labels: np.ndarray, trained: np.ndarray, largest: float, draws: int, rows: int
) -> np.ndarray:
    """Return accuracy as it is, gain with estimated and with known shares for each draw, (draws, 3).

    The class with the share `largest` is another one in each draw; the others share the rest.
    """
    rng, found = np.random.default_rng(0), []
    for number in range(draws):
        shares = np.full(len(trained), (1 - largest) / (len(trained) - 1))
        shares[number % len(trained)] = largest
        chosen = draw(labels, shares, rows, rng)
        given, true = probabilities[chosen], labels[chosen]
        corrected = [reweight(given, trained, each) for each in (estimate_shares(given, trained), shares)]
        before, *after = [(each.argmax(1) == true).mean() for each in (given, *corrected)]
        found.append([before, *(each - before for each in after)])
    return np.array(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--file", type=Path)
    parser.add_argument("--draws", type=int, default=48)
    parser.add_argument("--rows", type=int, default=1000)
    args = parser.parse_args()
    run = open_run(args.run)
    rows, trained = rows_to_evaluate(run, args.file), training_prior(run, "benchmarks.prior")
    labels = np.asarray(rows.labels)
    for run_as_given in [run] if run.temperature is None else [open_run(args.run, calibrated=False), run]:
        probabilities = load_classifier([run_as_given]).probabilities(rows.texts)
        print(f"temperature {run_as_given.temperature or 1:.3f}, {len(rows):,} rows of {rows.origin}")
        print("| shares | accuracy | gain with estimated shares | with known shares |\n|---|---|---|---|")
        for name, largest in SHIFTS.items():
            found = gains(probabilities, labels, trained, largest, args.draws, args.rows)
            cells = [f"{mean:+.4f} ± {std:.4f}" for mean, std in zip(found.mean(0), found.std(0, ddof=1), strict=True)]
            print(f"| {name} | {' | '.join([cells[0].lstrip('+'), *cells[1:]])} |")


if __name__ == "__main__":
    main()
