"""A finished run as a classifier: texts in, probabilities out. It needs the run directory and the base model."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from lora_agnews.config.choices import MatmulPrecision, Precision
from lora_agnews.config.compose import load_config_file
from lora_agnews.config.messages import resume_override
from lora_agnews.config.schema import TrainConfig
from lora_agnews.config.scripts import TRAIN
from lora_agnews.data.batches import collate, evaluation_batches
from lora_agnews.data.tokens import tokenise
from lora_agnews.errors import FetchError, UserError
from lora_agnews.inference.calibration import load_temperature
from lora_agnews.labels import LABELS
from lora_agnews.model.adapter import load_adapter, read_base
from lora_agnews.model.architecture import read_architecture_folder
from lora_agnews.model.build import AUTOCAST_DTYPES, cast_frozen_layers, load_tokenizer, speed_up_encoder
from lora_agnews.model.encoder import Encoder, find_encoder
from lora_agnews.results.record import CONFIG_FILE, RESULT_FILE, RunResult
from lora_agnews.results.record_check import check_needed

# Rows of a window, which are sorted by length together and held in memory.
WINDOW_ROWS, WINDOW_CHARACTERS = 4096, 1 << 24
BATCH_SIZE = 32
LOCAL_COPY = "With a copy of it on this machine: --base FOLDER, in Python load_run(..., base=FOLDER)"


class Prediction(NamedTuple):
    """The name of the predicted class, and the probability of each class."""

    label: str
    probabilities: dict[str, float]


@dataclass(frozen=True)
class Run:
    """A finished run, read from its directory, and its base model."""

    folder: Path
    config: TrainConfig
    result: RunResult
    encoder: Encoder
    temperature: float | None  # by which logits are divided for calibrated probabilities; None: not calibrated


def open_run(run_dir: Path, base: str | None = None, calibrated: bool = True) -> Run:
    """Read a run directory. `base` is a local copy of the base model, if the run's own source can't be used.

    With `calibrated` its calibration is read, too, if it has one. Raises: UserError, if there is no finished run or no
    such base, or as `load_temperature`; RuntimeError, if the base can't be fetched.
    """
    if not (run_dir / RESULT_FILE).is_file():
        raise UserError(f"{run_dir}: not a run directory (no {RESULT_FILE}); give a run directory such as runs/NAME")
    result = RunResult.load(run_dir)
    if result.succeeded and not (run_dir / "adapter").is_dir():
        raise UserError(f"{run_dir}: its folder adapter is missing; copy it from where the run was trained")
    if not result.succeeded:
        raise UserError(
            f"{run_dir}: its status is {result.status.label}, so it left no adapter (train.log may have the reason); "
            f"to continue it: {TRAIN} {resume_override(run_dir)}"
        )
    try:
        check_needed(result)
    except ValueError as error:
        raise UserError(f"{run_dir / RESULT_FILE}: not a record of this version: {error}") from error
    name, revision = (base, None) if base else read_base(run_dir / "adapter")
    try:
        encoder = find_encoder(name, revision)
    except FetchError as error:
        raise RuntimeError(f"{run_dir} needs its base model: {error.what}.\n{LOCAL_COPY}") from error
    except UserError as error:
        raise UserError(f"{run_dir} needs its base model: {error}.\n{LOCAL_COPY}") from error
    temperature = load_temperature(run_dir) if calibrated else None
    return Run(run_dir, load_config_file(run_dir / CONFIG_FILE), result, encoder, temperature)


class Model:
    """The network and the tokenizer of a run on a device."""

    def __init__(
        self,
        run: Run,
        device: torch.device,
        *,
        merged: bool = True,
        half: bool = False,
        precision: str = Precision.FP32,
        matmul_precision: str = MatmulPrecision.HIGHEST,
        network: nn.Module | None = None,
    ) -> None:
        """Load the model, or take the given `network` instead of that of the run's adapter.

        It is faster with merged adapters and in half precision; without merging and in the run's own precisions, it
        computes the same bits as the run. `matmul_precision` holds for the process, which may have trained with another
        one.

        Raises: UserError, if the base is not that of the run; RuntimeError, if it has no weights.
        """
        self.run, self.device = run, device
        torch.set_float32_matmul_precision(matmul_precision)
        if network is None:
            with silence_transformers():
                network = load_adapter(run.folder / "adapter", run.encoder)
        self.autocast = AUTOCAST_DTYPES.get(Precision(precision))
        if self.autocast:
            cast_frozen_layers(self.autocast, network)
        if merged:
            network = network.merge_and_unload()  # type: ignore[operator]
        if half:
            network = network.to(torch.float16 if device.type == "cuda" else torch.bfloat16)
        speed_up_encoder(network, read_architecture_folder(run.encoder.name, run.encoder.folder))
        self.network = network.to(device).eval()
        self.tokenizer: PreTrainedTokenizerBase = load_tokenizer(run.encoder, run.config.data.max_length)

    def batches(self, texts: list[str], batch_size: int = BATCH_SIZE) -> Iterator[tuple[list[int], Tensor]]:
        """Yield row numbers and their logits (rows, 4) on the device, batches of similar length, longest first."""
        tokens = tokenise(texts, self.tokenizer, self.run.config.data.max_length, bar=False)
        labels = np.zeros(len(texts), dtype=np.int64)
        for rows in evaluation_batches(tokens.lengths, batch_size):
            batch = collate(rows, tokens, labels, self.tokenizer.pad_token_id)
            inputs = {name: batch[name].to(self.device) for name in ("input_ids", "attention_mask") if name in batch}
            autocast = torch.autocast(self.device.type, self.autocast) if self.autocast else nullcontext()
            with torch.inference_mode(), autocast:
                logits = self.network(**inputs).logits
            yield rows, logits


class Classifier:
    """One run, or several runs whose probabilities are averaged."""

    def __init__(self, models: Sequence[Model]) -> None:
        self.models = models

    def __call__(self, texts: Iterable[str]) -> list[Prediction]:
        """Classify texts, in order. Raises: TypeError, for anything but a list of texts."""
        given = [texts] if isinstance(texts, str) else list(texts)
        if isinstance(texts, str) or not all(isinstance(text, str) for text in given):
            raise TypeError('classify takes a list of texts: classify(["Oil prices rise"])')
        return [
            Prediction(LABELS[int(row.argmax())], dict(zip(LABELS, row.tolist(), strict=True)))
            for row in self.probabilities(given)
        ]

    def probabilities(self, texts: list[str], done: Callable[[float], None] = lambda rows: None) -> np.ndarray:
        """Return the probabilities (texts, 4) float32, in the order of the texts, calibrated where a run is.

        Those of a text do not depend on the other texts, up to 1e-5 (more in half precision). `done` is called with the
        number of rows that are finished; each of several models counts as a part of a row. Raises: RuntimeError, if a
        probability is not finite.
        """
        mean = torch.zeros(len(texts), len(LABELS))
        for model in self.models:
            for rows, logits in model.batches(texts):
                scaled = logits.float() / (model.run.temperature or 1.0)
                mean[rows] += scaled.softmax(1).cpu() / len(self.models)
                done(len(rows) / len(self.models))
        if not mean.isfinite().all():
            raise RuntimeError("the model gives probabilities that are not finite; if you used --half, leave it out")
        return mean.numpy()

    def stream(
        self, texts: Iterable[str], done: Callable[[float], None] = lambda rows: None
    ) -> Iterator[tuple[list[str], np.ndarray]]:
        """Yield texts and their probabilities window by window, so that memory does not grow with their number."""
        window: list[str] = []
        characters = 0
        for text in texts:
            window.append(text)
            characters += len(text)
            if len(window) == WINDOW_ROWS or characters > WINDOW_CHARACTERS:
                yield window, self.probabilities(window, done)
                window, characters = [], 0
        if window:
            yield window, self.probabilities(window, done)


@contextmanager
def silence_transformers() -> Iterator[None]:
    """Suppress transformers' report of new weights in the head: the adapter contains all of them."""
    before, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)  # as in model/build.py
        try:
            yield
        finally:
            transformers_logging.set_verbosity(before)
            if bars:
                transformers_logging.enable_progress_bar()


def load_classifier(runs: Sequence[Run], half: bool = False) -> Classifier:
    """Load one run, or the mean of several, on an NVIDIA GPU if there is one. Raises: as `Model`."""
    if not runs:
        raise UserError("load_run needs at least one run directory")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return Classifier([Model(run, device, half=half) for run in runs])
