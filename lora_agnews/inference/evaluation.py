"""Compare predictions with true labels: metrics with 95% intervals, and pictures of them."""

import re
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lora_agnews.config.choices import Weights
from lora_agnews.data.formats import AG_NEWS_COLUMNS
from lora_agnews.data.source import Rows, Source, load_test_rows, read_file
from lora_agnews.errors import UserError
from lora_agnews.inference.calibration import fit_temperature, save_temperature
from lora_agnews.inference.classifier import Model, Run, silence_transformers
from lora_agnews.labels import LABELS, label_key
from lora_agnews.model.build import build_model
from lora_agnews.model.encoder import weights_id
from lora_agnews.model.lora import LoraSpec
from lora_agnews.results.estimates import LEVEL, RESAMPLES, SEED, Calibrated, Estimate, Evaluation, wilson_interval
from lora_agnews.results.figures import draw_calibration, draw_confusion
from lora_agnews.results.record import RunResult
from lora_agnews.terminal.console import note
from lora_agnews.training.checkpoint import LAST, read_checkpoint
from lora_agnews.training.metrics import ClassificationMetrics

BINS = np.linspace(0, 1, 16)  # for the calibration error. Source: Guo et al. 2017, On Calibration, section 2


def rows_to_evaluate(run: Run, file: Path | None, columns: tuple[str, str] = AG_NEWS_COLUMNS) -> Rows:
    """Load the labelled rows of a file, or the run's test split. `columns` are those of the file.

    Raises: UserError, for bad rows or no test split.
    """
    if file:
        return read_file(file, every_class=False, columns=columns)
    if columns != AG_NEWS_COLUMNS:
        raise UserError("--text-column and --label-column are those of FILE; without it, leave them out")
    try:
        rows = load_test_rows(Source.of(asdict(run.config.data)))
    except UserError as error:
        raise UserError(f"the run's test split: {error}; give it, or another labelled one, as FILE") from error
    if rows is None:
        raise UserError(f"{run.folder}: the run has no test split; give a labelled FILE")
    return rows


def load_in_run_precision(run: Run, weights: str = Weights.BEST) -> Model:
    """Load the model on the device and in the precision of the run or, with a note, on the CPU in float32.

    Raises: UserError, as `load_last` and `Model`.
    """
    network = load_last(run) if weights == Weights.LAST else None
    device, precision = run.result.environment["device"], run.result.environment["precision"]
    kind = device.partition(":")[0]
    here = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not here.get(kind, False):
        note(f"the run used {device} in {precision}, which is not available here: this uses the CPU in 32-true")
        kind, precision = "cpu", "32-true"
    matmul = run.config.trainer.matmul_precision
    return Model(run, torch.device(kind), merged=False, precision=precision, matmul_precision=matmul, network=network)


def load_last(run: Run) -> nn.Module:
    """Build the model with the weights of last.ckpt. Raises: UserError, if it is missing, damaged or of another run."""
    path = run.folder / "checkpoints" / LAST
    if not path.is_file():
        raise UserError(f"--checkpoint last: {path} is missing; to evaluate the best weights, leave out --checkpoint")
    saved = read_checkpoint(path, {"model": weights_id(run.encoder)})["state_dict"]
    with silence_transformers():
        model: nn.Module = build_model(run.encoder, LoraSpec.of(run.config.model), run.config.seed)
    trained = {f"model.{name}" for name, parameter in model.named_parameters() if parameter.requires_grad}
    if trained != set(saved):
        raise UserError(f"--checkpoint last: {path} contains other weights than the run in {run.folder} trains")
    model.load_state_dict({name.removeprefix("model."): value for name, value in saved.items()}, strict=False)
    return model


def evaluate(
    model: Model, rows: Rows, done: Callable[[float], None] = lambda rows: None
) -> tuple[Evaluation, np.ndarray]:
    """Return the metrics, and the probabilities (rows, 4) that `predict` would give: calibrated, if the run is."""
    labels = np.asarray(rows.labels)
    metrics, counts, logits = _measure(model, rows, "test", done)
    probabilities = logits.softmax(1).numpy()
    found = with_intervals(rows.origin, metrics, counts, labels, probabilities)
    if model.run.temperature is None:
        return found, probabilities
    scaled = logits / model.run.temperature
    probabilities = scaled.softmax(1).numpy()
    loss = float(nn.functional.cross_entropy(scaled, torch.from_numpy(labels)))
    calibrated = Calibrated(model.run.temperature, loss, _calibration_error(labels, probabilities))
    return replace(found, calibrated=calibrated), probabilities


def calibrate(model: Model, rows: Rows, done: Callable[[float], None] = lambda rows: None) -> None:
    """Fit the temperature of a run on its validation rows, store it in the run directory, and let the model use it.

    Raises: UserError, as `fit_temperature` and `save_temperature`.
    """
    metrics, _, logits = _measure(model, rows, "val", done)
    for difference in differences(metrics, model.run.result):
        note(difference)
    temperature = fit_temperature(logits.numpy(), np.asarray(rows.labels))
    save_temperature(model.run.folder, temperature, len(rows))
    model.run = replace(model.run, temperature=temperature)


def _measure(
    model: Model, rows: Rows, split: str, done: Callable[[float], None]
) -> tuple[dict[str, float], np.ndarray, Tensor]:
    """Return metrics, confusion matrix, and logits (rows, 4) float32 on the CPU."""
    labels, every = torch.tensor(rows.labels), torch.zeros(len(rows), len(LABELS))
    scores = ClassificationMetrics().to(model.device)
    for chosen, logits in model.batches(rows.texts, model.run.config.data.eval_batch_size):
        scores.update(logits, labels[chosen].to(model.device))
        every[chosen] = logits.float().cpu()
        done(len(chosen))
    metrics = scores.compute(split)
    return metrics, scores.confusion.numpy(), every


def differences(found: dict[str, float], result: RunResult) -> list[str]:
    """List differences from result.json. There should be none on the run's own rows."""
    differing = {key: value for key, value in result.metrics.items() if key in found and found[key] != value}
    return [f"{key} is {found[key]}, result.json has {value}" for key, value in differing.items()]


def draw(evaluation: Evaluation, probabilities: np.ndarray, labels: list[int], folder: Path, name: str) -> list[str]:
    """Draw confusion.png and calibration.png or, with a `name`, confusion-NAME.png and so on. Return their paths.

    A folder that can't be written gives a note and no pictures.
    """
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", name)
    ending = f"-{name}.png" if name else ".png"
    subject, correct = name or "Test", probabilities.argmax(1) == np.asarray(labels)
    shown = evaluation.calibrated or evaluation
    title = f"{subject}: expected calibration error {shown.calibration_error.value:.4f}"
    title += ", calibrated" if evaluation.calibrated else ""
    confusion, calibration = (folder / f"{picture}{ending}" for picture in ("confusion", "calibration"))
    try:
        draw_confusion(np.asarray(evaluation.counts), subject, confusion)
        draw_calibration(probabilities.max(1), correct, BINS, title, calibration)
    except OSError as error:
        note(f"no pictures: {folder} can't be written ({error.strerror})")
        return []
    return [str(confusion), str(calibration)]


def with_intervals(
    origin: str, metrics: dict[str, float], counts: np.ndarray, labels: np.ndarray, probabilities: np.ndarray
) -> Evaluation:
    """Add intervals to metrics and confusion matrix. Shapes: labels (rows,) int64, probabilities (rows, 4)."""
    predicted = probabilities.argmax(1)
    cells = labels * len(LABELS) + predicted
    rng = np.random.default_rng(SEED)
    f1s = []
    for _ in range(RESAMPLES):
        drawn = rng.integers(len(labels), size=len(labels))
        f1s.append(_f1(np.bincount(cells[drawn], minlength=len(LABELS) ** 2).reshape(len(LABELS), -1)))
    each, macro = np.array([f1 for f1, _ in f1s]), np.array([macro for _, macro in f1s])
    classes = {
        name: {
            "precision": wilson_interval(int(counts[i, i]), int(counts[:, i].sum())),
            "recall": wilson_interval(int(counts[i, i]), int(counts[i].sum())),
            "f1": _percentiles(metrics[f"test/f1_{label_key(name)}"], each[:, i])
            if counts[i].any() or counts[:, i].any()
            else Estimate(None, None, None),
        }
        for i, name in enumerate(LABELS)
    }
    return Evaluation(
        origin=origin,
        rows=len(labels),
        metrics=metrics,
        accuracy=wilson_interval(int(np.trace(counts)), len(labels)),
        macro_f1=_percentiles(metrics["test/macro_f1"], macro),
        calibration_error=_calibration_error(labels, probabilities),
        classes=classes,
        counts=counts.tolist(),
        shares=[[wilson_interval(int(cell), int(row.sum())) for cell in row] for row in counts],
        calibrated=None,
    )


def _f1(counts: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the F1 of each class, and the mean over the classes that occur.

    A class that is neither true nor predicted has F1 0 and is not in the mean.
    """
    right, either = np.diag(counts), counts.sum(0) + counts.sum(1)
    f1 = 2 * right / np.maximum(either, 1)
    return f1, float(f1[either > 0].mean())


def _calibration_error(labels: np.ndarray, probabilities: np.ndarray) -> Estimate:
    """Return the expected calibration error and its interval.

    Noise alone makes the error of a resample larger than that of the rows, so its percentiles are mirrored at the
    estimate (basic bootstrap). For a well calibrated model both limits could then lie below the estimate, so the upper
    one is at least the estimate.
    """
    gaps = probabilities.max(1).astype(np.float64) - (probabilities.argmax(1) == labels)
    bins = np.digitize(probabilities.max(1), BINS[1:-1])

    def of(rows: np.ndarray | slice) -> float:
        return float(np.abs(np.bincount(bins[rows], gaps[rows])).sum() / len(labels))

    rng, error = np.random.default_rng(SEED), of(slice(None))
    errors = [of(rng.integers(len(labels), size=len(labels))) for _ in range(RESAMPLES)]
    lower, upper = np.percentile(errors, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    return Estimate(error, min(error, max(0.0, 2 * error - upper)), max(error, 2 * error - lower))


def _percentiles(value: float, drawn: np.ndarray) -> Estimate:
    low, high = np.percentile(drawn, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    return Estimate(value, float(low), float(high))
