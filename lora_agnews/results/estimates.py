"""The result of an evaluation: metrics with their 95% intervals."""

from dataclasses import asdict, dataclass
from typing import Any

from lora_agnews.labels import LABELS

LEVEL, Z = 0.95, 1.959964
RESAMPLES, SEED = 1000, 0
METHODS = {
    "wilson": ["accuracy", "precision", "recall", "shares"],
    "bootstrap, percentiles": ["macro_f1", "f1"],
    "bootstrap, basic": ["calibration_error"],
}


@dataclass(frozen=True)
class Estimate:
    """A value with its interval. All are None if there is nothing to count."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Calibrated:
    """The loss and the calibration error after the logits are divided by the temperature."""

    temperature: float
    loss: float
    calibration_error: Estimate


@dataclass(frozen=True)
class Evaluation:
    """How a model does on labelled rows. `metrics` have the names and digits of result.json."""

    origin: str
    rows: int
    metrics: dict[str, float]
    accuracy: Estimate
    macro_f1: Estimate
    calibration_error: Estimate
    classes: dict[str, dict[str, Estimate]]  # class -> precision, recall, f1
    counts: list[list[int]]  # rows: true classes
    shares: list[list[Estimate]]  # of the true class
    calibrated: Calibrated | None  # if the run has a temperature; all else is without it

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for --json, with the names of the interval methods."""
        intervals = {"level": LEVEL, **METHODS, "resamples": RESAMPLES, "seed": SEED}
        return asdict(self) | {"labels": LABELS, "intervals": intervals}


def wilson_interval(right: int, number: int) -> Estimate:
    """Return a share and its Wilson score interval. Source: Wilson 1927, Probable Inference, the Law of Succession."""
    if not number:
        return Estimate(None, None, None)
    share, spread = right / number, Z * Z / number
    middle, half = share + spread / 2, Z * (share * (1 - share) / number + spread / (4 * number)) ** 0.5
    return Estimate(share, max(0.0, (middle - half) / (1 + spread)), min(1.0, (middle + half) / (1 + spread)))
