"""The estimated duration of a training, said after 20 batches or 30 seconds."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lora_agnews.config.compose import compose_config
from lora_agnews.training import estimate
from lora_agnews.training.callbacks import Stopwatch
from lora_agnews.training.estimate import DurationEstimate, batches_left, note_slow_bf16
from lora_agnews.training.in_sweep import InSweep
from lora_agnews.training.run import ALONE


class Clock:
    """Replaces `time`: it stands still until a test advances it."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(estimate, "time", clock)
    monkeypatch.setattr(estimate, "finished_at", lambda device: clock.now)
    return clock


def a_trainer(batches: int, done: int = 0, precision: str = "32-true", accumulate: int = 1, device: str = "cpu") -> Any:
    progress = SimpleNamespace(total=SimpleNamespace(ready=done))
    return SimpleNamespace(
        callbacks=[Stopwatch(0.0, 0.0)],
        strategy=SimpleNamespace(root_device=torch.device(device)),
        precision=precision,
        accumulate_grad_batches=accumulate,
        estimated_stepping_batches=batches // accumulate,
        fit_loop=SimpleNamespace(epoch_loop=SimpleNamespace(batch_progress=progress)),
        datamodule=SimpleNamespace(val_rows=[0] * 320, batch_size=32, states={}),
        val_check_interval=100,
    )


def task(width: int) -> Any:
    return SimpleNamespace(model=SimpleNamespace(config=SimpleNamespace(hidden_size=width)))


def train(
    trainer: Any,
    clock: Clock,
    seconds: float,
    batches: int,
    width: int = 768,
    in_sweep: InSweep = ALONE,
    compiling: float = 0.0,
) -> None:
    """Let the callback see batches that take `seconds` each, of which compilation takes `compiling`."""
    callback = DurationEstimate(in_sweep)
    callback.on_train_start(trainer, task(width))
    for number in range(batches):
        callback.on_train_batch_start(trainer, task(width), {}, number)
        clock.now += seconds * (10 if number == 0 else 1)
        trainer.callbacks[0].compile_seconds += compiling
        trainer.fit_loop.epoch_loop.batch_progress.total.ready += 1
        callback.on_train_batch_end(trainer, task(width), None, {}, number)


def capabilities(monkeypatch: pytest.MonkeyPatch, **found: bool) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found)


def test_validations_count_half_as_much_as_training_rows() -> None:
    assert batches_left(a_trainer(1000, done=200)) == 800 * (1 + 320 / 32 / 2 / 100)
    assert batches_left(a_trainer(1000, done=200, accumulate=4)) == batches_left(a_trainer(1000, done=200))


def test_the_first_batch_does_not_count_and_the_estimate_is_said_once(
    clock: Clock, capfd: pytest.CaptureFixture[str]
) -> None:
    train(a_trainer(1021), clock, 1.0, 20)
    assert capfd.readouterr().out == ""
    train(a_trainer(1021), clock, 1.0, 60)
    assert capfd.readouterr().out == "training will take about 18 min on this CPU\n"


def test_compilation_does_not_count(clock: Clock, capfd: pytest.CaptureFixture[str]) -> None:
    train(a_trainer(1021), clock, 2.0, 60, compiling=1.0)
    assert capfd.readouterr().out == "training will take about 18 min on this CPU\n"


def test_a_slow_device_says_it_after_30_seconds(clock: Clock, capfd: pytest.CaptureFixture[str]) -> None:
    train(a_trainer(103), clock, 16.0, 3)
    assert capfd.readouterr().out == "training will take about 28 min on this CPU\n"


@pytest.mark.parametrize(
    ("units", "precision", "width", "advised"),
    [
        ({"avx512_bf16": True}, "32-true", 768, "trainer.precision=bf16-mixed"),
        ({"amx_bf16": True}, "32-true", 768, "trainer.precision=bf16-mixed"),
        ({"amx_bf16": True}, "32-true", 384, "trainer.matmul_precision=medium"),
        ({"avx2": True, "amx_bf16": False}, "32-true", 768, ""),
        ({"amx_bf16": True}, "bf16-mixed", 768, ""),
        ({"avx512_bf16": True}, "32-true", 256, ""),
    ],
)
def test_a_long_training_names_the_ways_to_shorten_it(
    clock: Clock,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    units: dict[str, bool],
    precision: str,
    width: int,
    advised: str,
) -> None:
    capabilities(monkeypatch, **units)
    train(a_trainer(10_000, precision=precision), clock, 4.0, 30, width)
    out, err = capfd.readouterr()
    assert out == ""
    assert "note: training will take about 11.7 hours on this CPU" in err
    assert "experiment=laptop, data.train_rows=NUMBER, or a GPU" in err
    assert advised in err
    assert ("; with trainer" in err) == bool(advised)


def test_with_a_cached_prefix_the_recipe_for_a_laptop_is_not_advised(
    clock: Clock, capfd: pytest.CaptureFixture[str]
) -> None:
    trainer = a_trainer(10_000)
    trainer.datamodule.states = {"train": object()}
    train(trainer, clock, 4.0, 30)
    assert "To shorten it: data.train_rows=NUMBER, or a GPU" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("workers", "whole"),
    [(1, "the 9 runs of the sweep about 13 min, one after another"), (3, "about 4 min, with 3 workers")],
)
def test_the_first_run_of_a_sweep_estimates_the_whole_sweep(
    clock: Clock, capfd: pytest.CaptureFixture[str], workers: int, whole: str
) -> None:
    train(a_trainer(101), clock, 1.0, 30, in_sweep=InSweep(runs=9, workers=workers))
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("note: training will take about ")
    assert whole in err
    train(a_trainer(1_010), clock, 1.0, 30, in_sweep=InSweep(runs=9))
    assert "2.6 hours, one after another. To shorten it: experiment=laptop" in capfd.readouterr().err


def test_on_a_gpu_nothing_is_advised(clock: Clock, capfd: pytest.CaptureFixture[str]) -> None:
    train(a_trainer(10_000, device="cuda"), clock, 4.0, 30)
    out, err = capfd.readouterr()
    assert out == "training will take about 11.7 hours on this device\n"
    assert err == ""


@pytest.mark.parametrize(
    ("units", "width", "why"),
    [({"avx2": True}, 768, "this CPU emulates bfloat16"), ({"avx512_bf16": True}, 256, "this encoder is too narrow")],
)
def test_bfloat16_that_does_not_pay_is_noted(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, units: dict[str, bool], width: int, why: str
) -> None:
    capabilities(monkeypatch, **units)
    note_slow_bf16(task(width).model, a_trainer(10, precision="bf16-mixed"))
    assert f"trainer.precision=bf16-mixed is slower here than 32-true: {why}" in capfd.readouterr().err
    note_slow_bf16(task(width).model, a_trainer(10))
    note_slow_bf16(task(width).model, a_trainer(10, precision="bf16-mixed", device="cuda"))
    capabilities(monkeypatch, amx_bf16=True)
    note_slow_bf16(task(width).model, a_trainer(10, precision="bf16-mixed"))
    assert capfd.readouterr().err == ""


def test_an_older_pytorch_that_does_not_describe_the_cpu_gives_no_advice(
    clock: Clock, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    train(a_trainer(10_000, precision="bf16-mixed"), clock, 4.0, 30)
    train(a_trainer(10_000), clock, 4.0, 30)
    assert "trainer.precision" not in capfd.readouterr().err


def test_the_experiment_that_is_named_exists() -> None:
    assert compose_config(["experiment=laptop"]).model.prefix == "cached"
