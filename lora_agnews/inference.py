"""A finished run -> a classifier: texts in, probabilities out, from its directory alone."""

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

from lora_agnews.config import LABELS, TrainConfig, UserError
from lora_agnews.data.batches import collate, in_order
from lora_agnews.data.tokens import tokenise
from lora_agnews.hub import Unfetched
from lora_agnews.launch import load_saved
from lora_agnews.model.adapter import load_adapter, read_base
from lora_agnews.model.build import HALF, compute_only_first_token_in_last_layer, hold_frozen_layers_in, load_tokenizer
from lora_agnews.model.encoder import Encoder, locate
from lora_agnews.model.shape import read_folder
from lora_agnews.result import FILE, RunResult

# Of a window, the rows that are sorted by length together and held in memory.
ROWS_AT_ONCE, CHARACTERS_AT_ONCE = 4096, 1 << 24
BATCH_SIZE = 32
LOCAL_COPY = "With a copy of it on this machine: --base FOLDER, in Python load_run(..., base=FOLDER)"


class Prediction(NamedTuple):
    """Of one text: the name of its class, and the probability of each."""

    label: str
    probabilities: dict[str, float]


@dataclass(frozen=True)
class Run:
    """A finished run, as its directory tells it, and where its base model lies."""

    folder: Path
    config: TrainConfig
    result: RunResult
    encoder: Encoder


def open_run(run_dir: Path, base: str | None = None) -> Run:
    """Reads a run directory; `base`: where its base model lies, if not where the run had it from.

    Raises: UserError, if there is no finished run or no such base; RuntimeError, if the hub has to give it and can't.
    """
    if not (run_dir / FILE).is_file():
        raise UserError(f"{run_dir}: no run lies there (no {FILE}); give a run directory such as runs/NAME")
    try:
        result = RunResult.load(run_dir)
    except (ValueError, TypeError) as error:
        raise UserError(f"{run_dir / FILE}: no record of a run of this version: {error}") from error
    if not (result.succeeded and (run_dir / "adapter").is_dir()):
        status = result.status.replace("_", " ")
        raise UserError(
            f"{run_dir}: its status is {status}, so it left no adapter; to finish it: python train.py resume={run_dir}"
        )
    name, revision = (base, None) if base else read_base(run_dir / "adapter")
    try:
        encoder = locate(name, revision)
    except Unfetched as error:
        raise RuntimeError(f"{run_dir} needs its base model: {error.what}.\n{LOCAL_COPY}") from error
    except UserError as error:
        raise UserError(f"{run_dir} needs its base model: {error}.\n{LOCAL_COPY}") from error
    return Run(run_dir, load_saved(run_dir / "config.yaml"), result, encoder)


class Model:
    """A run's network and tokenizer on a device."""

    def __init__(
        self, run: Run, device: torch.device, *, merged: bool = True, half: bool = False, precision: str = "32-true"
    ) -> None:
        """For speed, adapters are merged and all of it may be held in half. Not merged and in the run's own precision,
        it computes the run's own bits.

        Raises: UserError, if the base is not the run's; RuntimeError, if its weights can't be had.
        """
        self.run, self.device = run, device
        with no_load_report():
            network: nn.Module = load_adapter(run.folder / "adapter", run.encoder)
        self.autocast = HALF.get(precision)
        if self.autocast:
            hold_frozen_layers_in(self.autocast, network)
        if merged:
            network = network.merge_and_unload()  # type: ignore[operator]
        if half:
            network = network.to(torch.float16 if device.type == "cuda" else torch.bfloat16)
        compute_only_first_token_in_last_layer(network, read_folder(run.encoder.name, run.encoder.folder))
        self.network = network.to(device).eval()
        self.tokenizer: PreTrainedTokenizerBase = load_tokenizer(run.encoder, run.config.data.max_length)

    def batches(self, texts: list[str], batch_size: int = BATCH_SIZE) -> Iterator[tuple[list[int], Tensor]]:
        """Which rows, alike in length and the longest first, and their logits (rows, 4) on the device."""
        tokens = tokenise(texts, self.tokenizer, self.run.config.data.max_length, bar=False)
        labels = np.zeros(len(texts), dtype=np.int64)
        for rows in in_order(tokens.lengths, batch_size):
            batch = collate(rows, tokens, labels, self.tokenizer.pad_token_id)
            inputs = {name: batch[name].to(self.device) for name in ("input_ids", "attention_mask")}
            autocast = torch.autocast(self.device.type, self.autocast) if self.autocast else nullcontext()
            with torch.inference_mode(), autocast:
                logits = self.network(**inputs).logits
            yield rows, logits


class Classifier:
    """One run, or several whose probabilities are averaged."""

    def __init__(self, models: Sequence[Model]) -> None:
        self.models = models

    def __call__(self, texts: Iterable[str]) -> list[Prediction]:
        """A prediction for each text, in their order. Raises: TypeError for anything but a list of texts."""
        given = [texts] if isinstance(texts, str) else list(texts)
        if isinstance(texts, str) or not all(isinstance(text, str) for text in given):
            raise TypeError('classify takes a list of texts: classify(["Oil prices rise"])')
        return [
            Prediction(LABELS[int(row.argmax())], dict(zip(LABELS, row.tolist(), strict=True)))
            for row in self.probabilities(given)
        ]

    def probabilities(self, texts: list[str], done: Callable[[float], None] = lambda rows: None) -> np.ndarray:
        """(texts, 4) float32, rows in the order of the texts, each the same to 1e-5 whatever stands beside it
        (not in half).

        `done` is told of rows as they are through; of a part of each, where there are several models.
        """
        mean = torch.zeros(len(texts), len(LABELS))
        for model in self.models:
            for rows, logits in model.batches(texts):
                mean[rows] += logits.float().softmax(1).cpu() / len(self.models)
                done(len(rows) / len(self.models))
        return mean.numpy()

    def stream(
        self, texts: Iterable[str], done: Callable[[float], None] = lambda rows: None
    ) -> Iterator[tuple[list[str], np.ndarray]]:
        """Texts and their probabilities, window by window: constant memory, however many there are."""
        window: list[str] = []
        characters = 0
        for text in texts:
            window.append(text)
            characters += len(text)
            if len(window) == ROWS_AT_ONCE or characters > CHARACTERS_AT_ONCE:
                yield window, self.probabilities(window, done)
                window, characters = [], 0
        if window:
            yield window, self.probabilities(window, done)


@contextmanager
def no_load_report() -> Iterator[None]:
    """Transformers tells which weights of the head are new; the adapter has all of them."""
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
    """One run, or the mean of several; on an NVIDIA GPU, if there is one. Raises: as `Model`."""
    if not runs:
        raise UserError("load_run needs at least one run directory")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return Classifier([Model(run, device, half=half) for run in runs])
