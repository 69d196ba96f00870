"""model.prefix=cached: the output of the frozen layers below the lowest adapter, computed once for all runs."""

import hashlib
import shutil
import time
from functools import partial

import lightning as L
import numpy as np
import torch
from torch import nn

from lora_agnews.config.choices import MatmulPrecision
from lora_agnews.data.batches import collate
from lora_agnews.data.datamodule import AGNewsDataModule
from lora_agnews.data.states import States, cached_layers, sorted_batches
from lora_agnews.data.tokens import Tokens
from lora_agnews.model.architecture import Architecture
from lora_agnews.model.encoder import Encoder, weights_id
from lora_agnews.model.prefix import PartOfEncoder, keep_layers
from lora_agnews.terminal import console
from lora_agnews.training.estimate import LONG, ways_to_shorten

VECTORS_PER_BATCH = 4096  # with padding, of the computation
PROBE_ROWS = 32  # whose time gives the estimate
GB = 10**9


class CachedPrefix:
    """The prefix of an encoder that ends before layer `end`."""

    def __init__(self, encoder: Encoder, shape: Architecture, end: int) -> None:
        self.encoder, self.shape, self.end = encoder, shape, end

    def use(self, model: nn.Module, data: AGNewsDataModule, trainer: L.Trainer, is_tested: bool) -> float:
        """Let the data module give states instead of token ids, and leave the prefix out of the model.

        The states of test rows are computed only for a run that is tested when it ends; see `add_test` for later ones.
        Returns the seconds that computing the states took, 0 if they were there. Raises: RuntimeError, under the
        conditions of `PrefixCache.complete`.
        """
        cache = PrefixCache(self.encoder, self.shape, data, trainer.strategy.root_device, str(trainer.precision))
        used = data.used_tokens(with_test=is_tested)
        states = {split: cache.states(tokens, self.end) for split, tokens in used.items()}
        seconds = cache.complete(list(zip(used.values(), states.values(), strict=True)), self.end)
        data.use_states(states)
        keep_layers(model, self.shape, self.end, self.shape.num_layers)
        return seconds


class PrefixCache:
    """Hidden states of an encoder in data.cache_dir, float16.

    An entry belongs to weights, config.json, precision, type of device, tokens and layer.
    """

    def __init__(
        self, encoder: Encoder, shape: Architecture, data: AGNewsDataModule, device: torch.device, precision: str
    ) -> None:
        self.encoder, self.shape, self.data, self.device, self.precision = encoder, shape, data, device, precision
        products = torch.get_float32_matmul_precision()
        how = f"{precision} {device.type}" + ("" if products == MatmulPrecision.HIGHEST else f" {products}")
        if encoder.origin.startswith("folder:"):  # elsewhere the weights belong to one config.json
            how += (encoder.folder / "config.json").read_text(encoding="utf-8")
        key = hashlib.blake2b(f"{weights_id(encoder)} {how}".encode(), digest_size=8).hexdigest()
        self.folder = data.cache_dir / "prefix" / key
        self.width = shape.parameters[f"{shape.last_attention_norm}.weight"][0]
        self.part: tuple[tuple[int, int], PartOfEncoder] | None = None  # the layers that were used last

    def states(self, tokens: Tokens, end: int) -> States:
        """Return the states before layer `end`, of which some may still be missing.

        They are computed from the deepest layer below that is cached or, without one, from the tokens. After the last
        layer, a row has the state of its first token only, because the head reads no other.
        """
        folder = self.folder / tokens.fingerprint()
        first = max((layer for layer in cached_layers(folder, len(tokens)) if layer < end), default=0)
        compute = partial(self._compute, tokens, first, end, self.states(tokens, first) if first else None)
        vectors = np.ones_like(tokens.lengths) if end == self.shape.num_layers else tokens.lengths
        return States(folder / f"layer-{end}", vectors, self.width, compute)

    def complete(self, pairs: list[tuple[Tokens, States]], end: int) -> float:
        """Compute what is missing, after saying how much that is, and return the seconds that it took.

        Raises: RuntimeError, if the disk is too small or a state is outside the range of float16.
        """
        every = [states for _, states in pairs]
        began, needed = time.perf_counter(), sum(states.missing_bytes for states in every)
        if not needed:
            return 0.0
        rows = sum(states.missing_rows for states in every)
        self._check_disk(needed)
        seconds = self._probe(*next(pair for pair in pairs if pair[1].missing)) * rows
        advice = ""
        if self.device.type == "cpu" and seconds >= LONG:
            advice = f". To shorten it: {ways_to_shorten(self.precision, self.width)}"
        console.note(
            f"computing the prefix (layers below {end}) of {rows:,} rows: {needed / GB:.2f} GB in {self.folder}, "
            f"about {console.duration(seconds)}; later runs find it there{advice}"
        )
        about = {"encoder": self.encoder.name, "layer": end, "precision": self.precision}
        with console.progress_bar("prefix", rows) as done:
            for states in every:
                states.complete(about | {"rows": len(states.vectors)}, done)
        self.part = None  # frees its memory
        return time.perf_counter() - began

    def _compute(
        self, tokens: Tokens, first: int, end: int, earlier: States | None, rows: np.ndarray
    ) -> list[np.ndarray]:
        """Compute the states of rows, each (vectors, width) float16."""
        if self.part is None or self.part[0] != (first, end):
            part = PartOfEncoder(self.encoder, self.shape, first, end, self.device, self.precision)
            self.part = ((first, end), part)
        lengths, labels, pad = tokens.lengths[rows], np.zeros(len(tokens), np.int64), self.data.tokenizer.pad_token_id
        found: list[np.ndarray] = [np.empty(0)] * len(rows)
        for batch in sorted_batches(lengths, VECTORS_PER_BATCH):
            states = self.part[1](collate(rows[batch], tokens, labels, pad, states=earlier)).numpy()
            for at, each in zip(batch, states, strict=True):
                found[at] = each[: lengths[at]]
        return found

    def _probe(self, tokens: Tokens, states: States) -> float:
        """Return the seconds that a row takes, measured on rows of average length: few of their vectors are padding."""
        rows = np.abs(tokens.lengths - tokens.lengths.mean()).argsort(kind="stable")[:PROBE_ROWS]
        states.compute(rows)  # loads the weights, and chooses the kernels for batches of this size
        began = time.perf_counter()
        states.compute(rows)
        return (time.perf_counter() - began) / len(rows)

    def _check_disk(self, needed: int) -> None:
        existing = next(folder for folder in (self.folder, *self.folder.parents) if folder.exists())
        free = shutil.disk_usage(existing).free
        if free < needed:
            raise RuntimeError(
                f"model.prefix=cached needs {needed / GB:.2f} GB in {self.folder}, where {free / GB:.2f} GB are free; "
                f"make room (lora-agnews cache clear --dir {self.data.cache_dir}), or name another place: "
                "data.cache_dir=DIRECTORY"
            )
