"""Temperature scaling: one number that makes the probabilities of a run as large as its accuracy.

The temperature is fitted on the validation rows and stored as calibration.json in the run directory. It changes the
probabilities of a run, not its labels. Labels can change where the probabilities of several runs are averaged, or with
--prior. Source: Guo et al. 2017, On Calibration of Modern Neural Networks, section 4.2.
"""

import hashlib
import json
from pathlib import Path

import numpy as np

from lora_agnews.config.start_adapter import ADAPTER, WEIGHTS
from lora_agnews.errors import UserError
from lora_agnews.files.atomic import checked_write, write_atomically

CALIBRATION_FILE = "calibration.json"
LOWEST, HIGHEST = 0.01, 100.0  # temperatures
HALVINGS = 60


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the temperature with the smallest mean negative log-likelihood. Shapes: logits (rows, 4), labels (rows,).

    The likelihood is concave in 1 / temperature, so that bisection finds the zero of its derivative.
    Raises: UserError, if there is none between 0.01 and 100.
    """
    scores = logits.astype(np.float64)
    scores -= scores.max(1, keepdims=True)
    of_label = scores[np.arange(len(labels)), labels]

    def slope(inverse: float) -> float:
        """Return the derivative of the loss by 1 / temperature: expected minus true score."""
        weights = np.exp(inverse * scores)
        return float(((weights * scores).sum(1) / weights.sum(1) - of_label).mean())

    low, high = 1 / HIGHEST, 1 / LOWEST
    if slope(high) <= 0:
        raise UserError(f"--calibrate: no temperature fits, because all {len(labels):,} validation rows are correct")
    if slope(low) >= 0:
        raise UserError(f"--calibrate: no temperature fits the {len(labels):,} validation rows: the run has not learnt")
    for _ in range(HALVINGS):
        middle = (low * high) ** 0.5
        low, high = (low, middle) if slope(middle) > 0 else (middle, high)
    return 1 / low


def save_temperature(run_dir: Path, temperature: float, rows: int) -> None:
    """Write RUN_DIR/calibration.json, complete or not at all. Raises: UserError, if it can't be written."""
    values = {"temperature": temperature, "validation_rows": rows, "adapter": hash_adapter(run_dir)}
    with checked_write(run_dir / CALIBRATION_FILE):
        write_atomically(run_dir / CALIBRATION_FILE, json.dumps(values, indent=2) + "\n")


def load_temperature(run_dir: Path) -> float | None:
    """Return the temperature of a run, or None if it is not calibrated.

    Raises: UserError, if the file is damaged or belongs to another adapter.
    """
    path = run_dir / CALIBRATION_FILE
    if not path.exists():
        return None
    remedy = f"to fit it again: evaluate {run_dir} --calibrate; to do without: delete the file"
    try:
        if not path.is_file():  # a pipe would never end
            raise ValueError("not a file")
        ours = hash_adapter(run_dir)
        found = json.loads(path.read_text(encoding="utf-8"))
        temperature, adapter = float(found["temperature"]), found["adapter"]
        if not LOWEST <= temperature <= HIGHEST:
            raise ValueError(f"temperature {temperature}")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{path}: is damaged ({error}); {remedy}") from error
    if adapter != ours:
        raise UserError(f"{path}: belongs to another adapter than the one in {run_dir}; {remedy}")
    return temperature


def hash_adapter(run_dir: Path) -> str:
    """Return 16 hex digits of the file with the trained values of a run."""
    return hashlib.blake2b((run_dir / ADAPTER / WEIGHTS).read_bytes(), digest_size=8).hexdigest()
