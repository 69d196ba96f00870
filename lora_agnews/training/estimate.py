"""How long the training will take on its device, said once after the first steps, with the ways to shorten it."""

import time
from collections.abc import Mapping
from typing import Any

import lightning as L
import torch
from torch import nn

from lora_agnews.config.choices import MatmulPrecision, Precision
from lora_agnews.terminal import console
from lora_agnews.training.callbacks import Stopwatch, finished_at
from lora_agnews.training.in_sweep import InSweep

BATCHES, SECONDS = 20, 30.0  # the estimate is made after so many batches or seconds
SHORT = 5  # seconds below which nothing is said
LONG = 30 * 60  # seconds on a CPU from which on a message names the ways to shorten the training or the prefix
EVALUATED = 0.5  # time of a validation row, measured in training rows: it has no backward pass
# Hidden sizes from which on these options pay on a CPU with bfloat16 units, and the gain that was measured at 768 and
# 384; see benchmarks/README.md, "Precision on a CPU".
WIDE, WIDE_REMEDY = 512, "trainer.precision=bf16-mixed it is 1.7 to 2.8 times as fast on this kind of CPU"
NARROW, NARROW_REMEDY = 384, "trainer.matmul_precision=medium it is about 1.3 times as fast on this kind of CPU"
BF16_UNITS = ("amx_bf16", "avx512_bf16", "bf16")  # as torch.cpu.get_capabilities() calls them


class DurationEstimate(L.Callback):
    """Says once how long the training will take and, in the first run of a sweep, how long the sweep will."""

    def __init__(self, in_sweep: InSweep) -> None:
        self.in_sweep = in_sweep
        self.width = 0  # of the encoder
        self.batches = -1  # the first one is not timed: memory is allocated, and kernels are chosen
        self.began_at = self.validation_began_at = self.compiled_before = 0.0
        self.is_said = False

    def on_train_start(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        self.width = task.model.config.hidden_size  # type: ignore[union-attr, assignment]

    def on_train_batch_start(self, trainer: L.Trainer, task: L.LightningModule, batch: Any, batch_idx: int) -> None:
        if self.batches == 0:
            self.began_at = finished_at(trainer.strategy.root_device)
            self.compiled_before = Stopwatch.of(trainer).compile_seconds

    def on_train_batch_end(
        self, trainer: L.Trainer, task: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.batches += 1
        if self.is_said or self.batches < 1:
            return
        compiling = Stopwatch.of(trainer).compile_seconds - self.compiled_before
        if self.batches < BATCHES and time.perf_counter() - self.began_at - compiling < SECONDS:
            return
        self.is_said = True
        seconds = finished_at(trainer.strategy.root_device) - self.began_at - compiling
        self._say(seconds / self.batches * batches_left(trainer), trainer)

    def on_validation_start(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        self.validation_began_at = finished_at(trainer.strategy.root_device)

    def on_validation_end(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        self.began_at += time.perf_counter() - self.validation_began_at

    def _say(self, seconds: float, trainer: L.Trainer) -> None:
        runs, workers = self.in_sweep.runs, self.in_sweep.workers
        whole = seconds * runs / workers
        if whole < SHORT:
            return
        device = trainer.strategy.root_device.type
        text = f"training will take about {console.duration(seconds)} on this {'CPU' if device == 'cpu' else 'device'}"
        if runs > 1:
            how = "one after another" if workers == 1 else f"with {workers} workers"
            text += f", and the {runs} runs of the sweep about {console.duration(whole)}, {how}"
        if device != "cpu" or whole < LONG:
            with console.best_effort():
                (console.print_line if runs == 1 else console.note)(text)
            return
        ways = ways_to_shorten(str(trainer.precision), self.width)
        if not trainer.datamodule.states:  # type: ignore[attr-defined]
            ways = f"experiment=laptop, {ways}"
        console.note(f"{text}. To shorten it: {ways}")


def ways_to_shorten(precision: str, width: int) -> str:
    """List what shortens any computation of an encoder with this hidden size on this CPU."""
    ways = "data.train_rows=NUMBER, or a GPU"
    highest = torch.get_float32_matmul_precision() == MatmulPrecision.HIGHEST
    if precision == Precision.FP32 and highest and has_bf16_units() and width >= NARROW:
        ways += f"; with {WIDE_REMEDY if width >= WIDE else NARROW_REMEDY}"
    return ways


def note_slow_bf16(model: nn.Module, trainer: L.Trainer) -> None:
    """Say it if bf16-mixed was asked for on a CPU where it is slower than float32."""
    why = slowness_of_bf16(model.config.hidden_size)  # type: ignore[union-attr, arg-type]
    if why and trainer.strategy.root_device.type == "cpu" and str(trainer.precision) == Precision.BF16:
        console.note(f"trainer.precision=bf16-mixed is slower here than 32-true: {why}")


def slowness_of_bf16(width: int) -> str:
    """Return why bf16-mixed is slower than float32 on this CPU at this hidden size; empty if it is not, or unknown."""
    if not cpu_capabilities():
        return ""
    if not has_bf16_units():
        return "this CPU emulates bfloat16"
    has_amx = cpu_capabilities().get("amx_bf16", False)  # with it, bf16 is as fast for narrow encoders too
    return "" if width >= WIDE or has_amx else "this encoder is too narrow for it"


def has_bf16_units() -> bool:
    """Whether this CPU is known to multiply bfloat16 numbers in hardware."""
    return any(cpu_capabilities().get(name, False) for name in BF16_UNITS)


def cpu_capabilities() -> Mapping[str, Any]:
    """Return what PyTorch knows about this CPU. Older versions know nothing."""
    return torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}


def batches_left(trainer: L.Trainer) -> float:
    """Return the time that is left, in training batches: the batches themselves, plus the validations between them."""
    done = trainer.fit_loop.epoch_loop.batch_progress.total.ready
    left = int(trainer.estimated_stepping_batches) * trainer.accumulate_grad_batches - done
    data: Any = trainer.datamodule  # type: ignore[attr-defined]
    validation = len(data.val_rows) / data.batch_size * EVALUATED
    return float(left * (1 + validation / int(trainer.val_check_interval)))
